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

/// `y[t][o] = Σ_{k,c} x[t · stride + k][c] · W[o][c][k] + b[o]`: x `(T, C)`, W `(O, C, kernel)` → `(T', O)`.
pub fn conv(x: &[f32], weight: &[f32], bias: &[f32], shape: [usize; 3], stride: usize) -> Vec<f32> {
    let [outputs, c, kernel] = shape;
    let frames = (x.len() / c).checked_sub(kernel).map_or(0, |rest| rest / stride + 1);
    let mut y = Vec::with_capacity(frames * outputs);
    for t in 0..frames {
        for o in 0..outputs {
            let term = |i: usize| x[(t * stride + i % kernel) * c + i / kernel] * weight[o * c * kernel + i];
            y.push(((0..c * kernel).map(|i| f64::from(term(i))).sum::<f64>() + f64::from(bias[o])) as f32);
        }
    }
    y
}

/// The positional convolution: x `(T, C)`, W `(C, C / groups, kernel)` → `(T, C)`, `kernel / 2` zeros on both sides.
pub fn positional(x: &[f32], weight: &[f32], bias: &[f32], groups: usize, kernel: usize) -> Vec<f32> {
    let (c, width) = (bias.len(), bias.len() / groups);
    let times = x.len() / c;
    let mut y = vec![0f32; x.len()];
    for t in 0..times {
        for o in 0..c {
            let mut sum = f64::from(bias[o]);
            for i in 0..width * kernel {
                let (channel, from) = (o / width * width + i / kernel, t + i % kernel);
                if from >= kernel / 2 && from - kernel / 2 < times {
                    sum += f64::from(x[(from - kernel / 2) * c + channel] * weight[o * width * kernel + i]);
                }
            }
            y[t * c + o] = sum as f32;
        }
    }
    y
}

/// `softmax(q kᵀ / √d) v` per head over the first `keys` frames: q, k, v `(T, H · d)` → `(T, H · d)`.
pub fn attention(q: &[f32], k: &[f32], v: &[f32], heads: usize, d: usize, keys: usize) -> Vec<f32> {
    let all = heads * d;
    let mut y = vec![0f32; q.len()];
    for (t, h) in (0..q.len() / all).flat_map(|t| (0..heads).map(move |h| (t, h))) {
        let dot = |s: usize| {
            (0..d).map(|i| f64::from(q[t * all + h * d + i] * k[s * all + h * d + i])).sum::<f64>()
        };
        let scores: Vec<f64> = (0..keys).map(|s| dot(s) / (d as f64).sqrt()).collect();
        let peak = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|s| (s - peak).exp()).sum();
        for i in 0..d {
            let part = |(s, p): (usize, &f64)| (p - peak).exp() / sum * f64::from(v[s * all + h * d + i]);
            y[t * all + h * d + i] = scores.iter().enumerate().map(part).sum::<f64>() as f32;
        }
    }
    y
}
