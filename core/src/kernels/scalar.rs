//! The specification: what each kernel computes, in plain loops and f64 sums. Slow, and meant to be read.

use s3router_masks::BitMask;

/// `y[m][n] = Σ_k x[m][k] · W[n][k] · M[n][k] + b[n]`: x `(M, K)`, W `(N, K)`, b `(N,)` → `(M, N)`.
pub fn linear(x: &[f32], weight: &[f32], mask: Option<&BitMask>, bias: Option<&[f32]>, k: usize) -> Vec<f32> {
    let n = weight.len() / k;
    let mut y = Vec::with_capacity(x.len() / k * n);
    for x in x.chunks_exact(k) {
        for (row, w) in weight.chunks_exact(k).enumerate() {
            let kept = |(col, _): &(usize, _)| mask.is_none_or(|m| m.get(row, *col));
            let sum: f64 = x.iter().zip(w).enumerate().filter(kept).map(|(_, (x, w))| f64::from(x * w)).sum();
            y.push((sum + bias.map_or(0.0, |b| f64::from(b[row]))) as f32);
        }
    }
    y
}

/// `x/2 · (1 + erf(x / √2))`.
pub fn gelu(x: f32) -> f32 {
    let x = f64::from(x);
    (0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2))) as f32
}

/// The error function, as the integral's Taylor series (|x| < 4; ±1 beyond, where f32 cannot tell).
fn erf(x: f64) -> f64 {
    if x.abs() >= 4.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..120 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

/// `(x - mean) / √(var + eps) · gamma + beta` over each row; var is the biased one.
pub fn layer_norm(x: &[f32], gamma: &[f32], beta: &[f32], eps: f32) -> Vec<f32> {
    let c = gamma.len();
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks_exact(c) {
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / c as f64;
        let var = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / c as f64;
        let scale = 1.0 / (var + f64::from(eps)).sqrt();
        let norm =
            |(i, &x): (usize, &f32)| (f64::from(x) - mean) * scale * f64::from(gamma[i]) + f64::from(beta[i]);
        y.extend(row.iter().enumerate().map(norm).map(|y| y as f32));
    }
    y
}
