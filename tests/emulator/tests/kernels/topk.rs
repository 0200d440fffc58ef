use crate::support::{Argument::*, Random, TOPK, caught, run};

/// |S| above the index, as topk.cuh orders scores.
fn key(scores: &[f32], i: usize) -> u64 {
    u64::from(scores[i].to_bits() & 0x7fff_ffff) << 32 | i as u64
}

fn bytes(scores: &[f32]) -> Vec<u8> {
    scores.iter().flat_map(|s| s.to_le_bytes()).collect()
}

/// Scores of all magnitudes, some of them equal, some no numbers.
fn scores(n: usize) -> Vec<f32> {
    let mut random = Random(7);
    (0..n)
        .map(|i| match i % 5 {
            0 => 0.5,
            1 => -0.5,
            2 if i % 25 == 2 => f32::NAN,
            _ => 2.0 * random.next() - 1.0,
        })
        .collect()
}

/// Whether each part of the keys is counted exactly, and on top of what was there.
fn counts(ptx: &str) -> Result<(), String> {
    for n in [1, 31, 200] {
        let scores = scores(n);
        for (shift, bits, of) in [(52, 11, 0), (41, 11, 0), (32, 9, n - 1), (21, 11, 0), (0, 10, n - 1)] {
            let prefix = key(&scores, of) >> (shift + bits);
            let mut expected = vec![3u32; 1 << bits];
            for key in (0..n).map(|i| key(&scores, i)).filter(|key| key >> (shift + bits) == prefix) {
                expected[(key >> shift) as usize & ((1 << bits) - 1)] += 1;
            }
            let start: Vec<u8> = vec![3u32; 1 << bits].iter().flat_map(|v| v.to_le_bytes()).collect();
            for (blocks, threads) in [(1, 32), (3, 64)] {
                let given = bytes(&scores);
                let arguments =
                    [Buffer(&given), Buffer(&start), U32(n as u32), U32(shift), U32(bits), U64(prefix)];
                let found = run(ptx, "topk_count", [blocks, 1], threads, &arguments, 1)?;
                let found = found.chunks(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                if !found.eq(expected.iter().copied()) {
                    return Err(format!("{n} scores, {bits} bits above {shift} of {prefix:#x}"));
                }
            }
        }
    }
    Ok(())
}

/// Whether exactly the keys from the limit on are 1.
fn masks(ptx: &str) -> Result<(), String> {
    for n in [1, 33, 200] {
        let scores = scores(n);
        let limits = [0, u64::MAX, key(&scores, n / 2), key(&scores, n / 2) + 1, key(&scores, 0)];
        for limit in limits {
            let expected = (0..n).map(|i| if key(&scores, i) >= limit { 1f32 } else { 0.0 });
            for (blocks, threads) in [(1, 32), (3, 64)] {
                let (given, out) = (bytes(&scores), vec![0xaa; 4 * n]);
                let arguments = [Buffer(&given), Buffer(&out), U32(n as u32), U64(limit)];
                let found = run(ptx, "topk_mask", [blocks, 1], threads, &arguments, 1)?;
                let found = found.chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                if !found.eq(expected.clone()) {
                    return Err(format!("{n} scores, limit {limit:#x}"));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn keys_are_counted_part_by_part() {
    counts(TOPK).unwrap();
}

#[test]
fn the_largest_are_kept() {
    masks(TOPK).unwrap();
}

#[test]
fn mutants_are_caught() {
    // Signs that count, one value or score too many, threads that do not wait, others' keys counted, the limit itself.
    for change in [
        ("2147483647", "-1"),
        ("bar.sync 	0;", ""),
        ("atom.shared.add.u32", "atom.shared.max.u32"),
        ("atom.global.add.u32", "atom.global.max.u32"),
        ("setp.ne.s64", "setp.eq.s64"),
    ] {
        caught(TOPK, "topk_count", change, counts);
    }
    for change in [("2147483647", "-1"), ("setp.lt.u64", "setp.le.u64"), ("shl.b64", "shr.u64")] {
        caught(TOPK, "topk_mask", change, masks);
    }
}
