use crate::support::{Argument, Argument::*, MASKED_GEMM, Number, Random, caught, kept, run};

struct Case {
    number: Number,
    n: usize,
    k: usize,
    /// Rows of each segment, and whether it has a mask.
    segments: Vec<(usize, bool)>,
    bias: bool,
    gelu: bool,
}

fn gelu(x: f64) -> f64 {
    // erf by its series: exact enough where tests go.
    let z = x / 2f64.sqrt();
    let (mut term, mut erf) = (z, z);
    for n in 1..80 {
        term *= -z * z / f64::from(n);
        erf += term / f64::from(2 * n + 1);
    }
    x / 2.0 * (1.0 + erf * 2.0 / std::f64::consts::PI.sqrt())
}

/// Whether y = act(x (W ⊙ M)ᵀ + b) to the rounding of the result, each segment under its own mask.
fn agrees(ptx: &str, case: &Case) -> Result<(), String> {
    let Case { number, n, k, .. } = *case;
    let mut random = Random(7);
    let m: usize = case.segments.iter().map(|s| s.0).sum();
    let x = number.rounded(&random.values(m * k));
    let w = number.rounded(&random.values(n * k));
    let bias = random.values(n);
    let masks: Vec<Vec<u8>> = case.segments.iter().map(|_| random.bits(n, k)).collect();

    let (mut table, mut buffers, mut row, mut tiles) = (vec![0u8; 520], Vec::new(), 0, 0);
    for (i, ((rows, masked), mask)) in case.segments.iter().zip(&masks).enumerate() {
        table[16 * i..][..4].copy_from_slice(&(row as u32).to_le_bytes());
        table[16 * i + 4..][..4].copy_from_slice(&((row + rows) as u32).to_le_bytes());
        if *masked {
            buffers.push((16 * i + 8, mask.as_slice()));
        }
        row += rows;
        tiles += rows.div_ceil(64);
    }
    table[512..516].copy_from_slice(&(case.segments.len() as u32).to_le_bytes());
    let (x_bytes, w_bytes, y) = (number.bytes(&x), number.bytes(&w), vec![0xaa; m * n * 2]);
    let bias_bytes = Number::F32.bytes(&bias);
    let arguments = [
        Buffer(&x_bytes),
        Buffer(&w_bytes),
        if case.bias { Buffer(&bias_bytes) } else { Argument::Null },
        Buffer(&y),
        Struct(table, buffers),
        U32(n as u32),
        U32(k as u32),
        U32(u32::from(case.gelu)),
    ];
    let name = format!("masked_gemm_{}", number.name());
    let got = run(ptx, &name, [n.div_ceil(64) as u32, tiles as u32], 128, &arguments, 3)?;
    let got = number.values(&got);

    let mut row = 0;
    for ((rows, masked), mask) in case.segments.iter().zip(&masks) {
        for i in row..row + rows {
            for j in 0..n {
                let (mut sum, mut size) = (0.0, 0.0);
                for c in (0..k).filter(|c| !masked || kept(mask, k, j, *c)) {
                    let product = f64::from(x[i * k + c]) * f64::from(w[j * k + c]);
                    sum += product;
                    size += product.abs();
                }
                sum += if case.bias { f64::from(bias[j]) } else { 0.0 };
                let want = if case.gelu { gelu(sum) } else { sum };
                let allowed = f64::from(number.error()) * want.abs() * 1.01 + 1e-6 * size + 1e-6;
                let error = (f64::from(got[i * n + j]) - want).abs();
                if error.is_nan() || error > allowed {
                    return Err(format!("({i}, {j}): {} instead of {want}", got[i * n + j]));
                }
            }
        }
        row += rows;
    }
    Ok(())
}

fn case(number: Number, n: usize, k: usize, segments: &[(usize, bool)]) -> Case {
    Case { number, n, k, segments: segments.to_vec(), bias: true, gelu: false }
}

#[test]
fn one_tile_and_many_whole_and_ragged() {
    for number in [Number::F16, Number::BF16] {
        for (n, k, rows) in [(64, 32, 64), (2, 32, 1), (66, 64, 65), (130, 96, 67), (64, 256, 3)] {
            agrees(MASKED_GEMM, &case(number, n, k, &[(rows, true)])).unwrap();
        }
    }
}

#[test]
fn languages_side_by_side_see_their_own_masks() {
    let segments = [(5, true), (64, true), (1, false), (70, true), (3, true)];
    agrees(MASKED_GEMM, &case(Number::BF16, 72, 96, &segments)).unwrap();
    agrees(MASKED_GEMM, &case(Number::F16, 64, 64, &[(1, true); 32])).unwrap();
}

#[test]
fn bias_and_gelu_are_optional() {
    for (bias, gelu) in [(false, false), (false, true), (true, true)] {
        agrees(MASKED_GEMM, &Case { bias, gelu, ..case(Number::BF16, 66, 64, &[(20, true)]) }).unwrap();
    }
}

#[test]
fn mutants_are_caught() {
    // Five steps: the last lies in the stage that the result then overwrites, so that every barrier has a purpose.
    let ragged = case(Number::BF16, 66, 160, &[(65, true), (30, false), (3, true)]);
    agrees(MASKED_GEMM, &ragged).unwrap();
    // A barrier lost (a race, not a wrong number), a copy not waited for, the other format, zeros in place of a tile's
    // edge, the other two bits.
    for change in [
        ("bar.sync", "membar.cta; //"),
        ("wait_group 2", "wait_group 3"),
        ("bf16.bf16.f32", "f16.f16.f32"),
        ("cp.async.ca.shared.global", "membar.cta; //"),
        ("65535", "65534"),
    ] {
        caught(MASKED_GEMM, "masked_gemm_bf16", change, |ptx| agrees(ptx, &ragged));
    }
}
