use crate::support::{Argument::*, EXPAND, Random, caught, kept, run};

/// Whether W ⊙ M comes out exactly, at sizes with and without tails, in more and fewer threads than bytes.
fn agrees(ptx: &str, width: usize) -> Result<(), String> {
    let name = format!("expand_b{}", 8 * width);
    let mut random = Random(1);
    for (rows, cols) in [(1, 1), (1, 8), (3, 7), (5, 9), (2, 16), (7, 24), (33, 40), (1, 0)] {
        let mask = random.bits(rows, cols);
        // Any words at all, NaNs included: they are chosen, never computed with.
        let w: Vec<u8> = (0..rows * cols * width).map(|_| (256.0 * random.next()) as u8).collect();
        for (blocks, threads) in [(1, 1), (1, 32), (3, 64)] {
            let out = vec![0xaa; w.len()];
            let (n, k) = (U32(rows as u32), U32(cols as u32));
            let arguments = [Buffer(&mask), Buffer(&w), Buffer(&out), n, k];
            let got = run(ptx, &name, [blocks, 1], threads, &arguments, 2)?;
            for (i, got) in got.chunks(width).enumerate() {
                let keep = kept(&mask, cols, i / cols, i % cols);
                let want = if keep { w[i * width..][..width].to_vec() } else { vec![0; width] };
                if got != want {
                    return Err(format!("{name} ({rows}, {cols}): element {i} is {got:?}, not {want:?}"));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_weight_is_kept_or_zero_bit_for_bit() {
    agrees(EXPAND, 2).unwrap();
    agrees(EXPAND, 4).unwrap();
}

#[test]
fn a_short_mask_is_an_access_out_of_bounds() {
    let (mask, w) = ([0xff; 3], [0; 128]);
    let arguments = [Buffer(&mask), Buffer(&w), Buffer(&w), U32(4), U32(8)];
    let error = run(EXPAND, "expand_b32", [1, 1], 32, &arguments, 2).unwrap_err();
    assert!(error.contains("of an allocation of 3"), "{error}");
}

#[test]
fn mutants_are_caught() {
    // The order of bits, kept and dropped exchanged, one byte too many, another row or column, half a word.
    for (width, change) in [
        (2, ("shr.u32", "shl.b32")),
        (2, ("setp.eq.s32", "setp.ne.s32")),
        (2, ("setp.ne.s32", "setp.eq.s32")),
        (2, ("setp.lt.u64", "setp.le.u64")),
        (2, (", 3;", ", 4;")),
        (2, (", 7;", ", 8;")),
        (4, ("and.b32", "or.b32")),
        (4, ("setp.eq.s32", "setp.ne.s32")),
        (4, ("st.global.u32", "st.global.u16")),
    ] {
        caught(EXPAND, &format!("expand_b{}", 8 * width), change, |ptx| agrees(ptx, width));
    }
}
