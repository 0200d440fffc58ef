use crate::support::{Argument::*, Number, ROWS, Random, caught, run};

fn close(got: &[f32], want: &[f64], number: Number, noise: f64) -> Result<(), String> {
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*got) - want).abs();
        if error.is_nan() || error > 1.01 * f64::from(number.error()) * want.abs() + noise {
            return Err(format!("element {i} is {got}, not {want}"));
        }
    }
    if got.len() == want.len() { Ok(()) } else { Err("another length".into()) }
}

fn layer_norm(ptx: &str, input: Number, output: Number, shift: f32, noise: f64) -> Result<(), String> {
    let (rows, cols, eps) = (5usize, 70usize, 1e-5);
    let mut random = Random(3);
    let x: Vec<f32> = random.values(rows * cols).iter().map(|v| v + shift).collect();
    let x = input.rounded(&x);
    let (gamma, beta) = (random.values(cols), random.values(cols));
    let (x_bytes, g, b) = (input.bytes(&x), Number::F32.bytes(&gamma), Number::F32.bytes(&beta));
    let out = output.bytes(&vec![9.0; rows * cols]);
    let name = format!("layer_norm_{}_{}", input.name(), output.name());
    let sizes = [U32(rows as u32), U32(cols as u32), F32(eps), U32(0)];
    let [r, c, e, act] = sizes;
    let arguments = [Buffer(&x_bytes), Buffer(&g), Buffer(&b), Buffer(&out), r, c, e, act];
    let got = output.values(&run(ptx, &name, [2, 1], 128, &arguments, 3)?);
    let mut want = Vec::new();
    for row in x.chunks(cols) {
        let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / cols as f64;
        let variance = row.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / cols as f64;
        let scale = (variance + f64::from(eps)).sqrt().recip();
        let each = row.iter().zip(gamma.iter().zip(&beta));
        want.extend(each.map(|(v, (g, b))| (f64::from(*v) - mean) * scale * f64::from(*g) + f64::from(*b)));
    }
    close(&got, &want, output, noise)
}

#[test]
fn layer_norm_normalises_rows_of_any_type() {
    use Number::*;
    for (input, output) in [(F32, F32), (F32, F16), (F32, BF16), (F16, F16), (BF16, BF16)] {
        layer_norm(ROWS, input, output, 0.0, 3e-6).unwrap();
    }
}

#[test]
fn a_large_mean_does_not_cancel() {
    // E[x²] - E[x]² would be off by a per cent here; the mean itself has the error of f32 at 300.
    layer_norm(ROWS, Number::F32, Number::F32, 300.0, 1e-4).unwrap();
}

fn softmax(ptx: &str, number: Number) -> Result<(), String> {
    let (lengths, per, cols, scale) = ([40usize, 0, 1, 33], 6usize, 40usize, 0.125f32);
    let rows = lengths.len() * per;
    let x: Vec<f32> = Random(5).values(rows * cols).iter().map(|v| 80.0 * v).collect();
    let mut table = vec![0u8; 512];
    for (i, n) in lengths.iter().enumerate() {
        table[4 * i..][..4].copy_from_slice(&(*n as u32).to_le_bytes());
    }
    let (x_bytes, out) = (Number::F32.bytes(&x), number.bytes(&vec![9.0; rows * cols]));
    let name = format!("softmax_{}", number.name());
    let sizes = [U32(rows as u32), U32(cols as u32), U32(per as u32), F32(scale)];
    let [r, c, p, s] = sizes;
    let arguments = [Buffer(&x_bytes), Buffer(&out), Struct(table, vec![]), r, c, p, s];
    let got = number.values(&run(ptx, &name, [rows.div_ceil(4) as u32, 1], 128, &arguments, 1)?);
    let mut want = Vec::new();
    for (i, row) in x.chunks(cols).enumerate() {
        let n = lengths[i / per];
        let powers: Vec<f64> = row[..n].iter().map(|v| f64::from(scale * v).exp()).collect();
        let sum: f64 = powers.iter().sum();
        want.extend(powers.iter().map(|p| p / sum).chain(std::iter::repeat_n(0.0, cols - n)));
    }
    close(&got, &want, number, 3e-6)
}

#[test]
fn softmax_sees_a_rows_own_keys_only() {
    [Number::F32, Number::F16, Number::BF16].into_iter().for_each(|n| softmax(ROWS, n).unwrap());
}

#[test]
fn bias_and_gelu_in_place() {
    let (rows, cols) = (3usize, 50usize);
    let (y, bias) = (Random(9).values(rows * cols), Random(8).values(cols));
    let (bytes, b) = (Number::F32.bytes(&y), Number::F32.bytes(&bias));
    for gelu in [0, 1] {
        let arguments = [Buffer(&bytes), Buffer(&b), U32(3), U32(50), U32(gelu)];
        let got = Number::F32.values(&run(ROWS, "bias_act_f32", [1, 1], 64, &arguments, 0).unwrap());
        for (i, got) in got.iter().enumerate() {
            let x = y[i] + bias[i % cols];
            // Tables of the normal distribution at a few points would not do: the tanh form is within 1e-3.
            let near = 0.5 * x * (1.0 + (0.797_884_6 * (x + 0.044_715 * x * x * x)).tanh());
            let (want, allowed) = if gelu == 1 { (near, 1e-3) } else { (x, 1e-6) };
            assert!((got - want).abs() < allowed, "{got} {want}");
        }
    }
}

#[test]
fn mutants_are_caught() {
    for change in [("shfl.sync.bfly.b32", "shfl.sync.down.b32"), ("div.rn.f32", "mul.f32")] {
        let check = |ptx: &str| layer_norm(ptx, Number::F32, Number::F32, 0.3, 3e-6);
        caught(ROWS, "layer_norm_f32_f32", change, check);
    }
    for change in [("shfl.sync.bfly.b32", "shfl.sync.down.b32"), ("max.f32", "min.f32")] {
        caught(ROWS, "softmax_f32", change, |ptx| softmax(ptx, Number::F32));
    }
}
