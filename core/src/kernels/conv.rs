//! Time-major convolutions as matrix products over rows of x where it lies.
//!
//! With x `(T, C)` row-major, the inputs of output t are the `kernel · C` floats from `t · stride · C` on:
//! consecutive, and overlapping the next row's. So a convolution is a product whose left rows overlap, and
//! no im2col copy is made. The first layer (C = 1) is the same with rows of `kernel` samples.
#![allow(unsafe_code)]

use super::{Norm, PackedWeight, gemm, linear::blocks, misfit, norm, scratch};
use crate::Result;
use rayon::prelude::*;

/// What follows a convolution.
#[derive(Clone, Copy, Debug)]
pub enum After<'a> {
    /// Nothing.
    None,
    /// GELU.
    Gelu,
    /// LayerNorm over the channels, then GELU.
    NormGelu(Norm<'a>),
}

/// A convolution over time without padding.
#[derive(Clone, Copy, Debug)]
pub struct Conv<'a> {
    /// [`PackedWeight::from_conv`], `(C_out, kernel · C_in)`.
    pub weight: &'a PackedWeight,
    /// `(C_out,)`.
    pub bias: Option<&'a [f32]>,
    /// Taps.
    pub kernel: usize,
    /// Step in time.
    pub stride: usize,
    /// What follows.
    pub after: After<'a>,
}

impl Conv<'_> {
    /// Frames that come of `times` inputs; 0 when there are fewer than the kernel's taps.
    pub fn frames(&self, times: usize) -> usize {
        times.checked_sub(self.kernel).map_or(0, |rest| rest / self.stride + 1)
    }
}

/// Rows of a block that is normalised afterwards: 120 × 512 floats stay in L2 until then.
const TALL: usize = 120;

/// Computes y `(B, T', C_out)` from x `(B, T, C_in)`, `T' = (T - kernel) / stride + 1`; see
/// [`scalar::conv`](super::scalar::conv).
///
/// # Errors
/// When a length does not fit.
pub fn conv(layer: &Conv<'_>, batch: usize, x: &[f32], y: &mut [f32]) -> Result<()> {
    let (n, k) = (layer.weight.outputs(), layer.weight.inputs());
    let c = k / layer.kernel.max(1);
    let times = x.len() / (batch * c).max(1);
    let frames = layer.frames(times);
    let bias = layer.bias.map_or(n, <[f32]>::len);
    let norm = match &layer.after {
        After::NormGelu(norm) => Some(norm),
        _ => None,
    };
    let width = norm.map_or(n, |norm| norm.gamma.len().min(norm.beta.len()));
    let fits = k == c * layer.kernel && layer.stride > 0 && bias == n && width == n;
    if !fits || x.len() != batch * times * c || y.len() != batch * frames * n {
        let (x, y) = (x.len(), y.len());
        return Err(misfit(format!("{layer:?} on batch {batch}: x has {x} elements, y has {y}")));
    }
    if frames == 0 {
        return Ok(());
    }
    // Enough blocks that every thread has several, none so low that reading W anew costs more than it computes.
    let tall = (frames * batch / (rayon::current_num_threads() * 4)).clamp(24, TALL);
    let rows = |b| blocks(0..frames, tall, 12).map(move |rows| (b, rows));
    let tasks: Vec<_> = (0..batch).flat_map(rows).collect();
    let out = scratch::Shared::new(y);
    let tier = layer.weight.tier();
    tasks.into_par_iter().with_max_len(1).for_each(|(b, rows)| {
        let first = (b * frames + rows.start) * n;
        let step = layer.stride * c;
        let block = gemm::Block {
            a: &x[b * times * c + rows.start * step..(b + 1) * times * c],
            stride: step,
            rows: rows.len(),
            // Rows a page apart would fight over the same lines of L1.
            copy: step >= 128,
            k,
            panels: layer.weight.panels(),
            mask: None,
            n,
            which: 0..n.div_ceil(layer.weight.cols()),
            c: out.at(first),
            ldc: n,
            add: false,
            bias: layer.bias,
            gelu: matches!(layer.after, After::Gelu),
        };
        // The blocks' rows are disjoint, which is `Run`'s condition.
        scratch::with(|s| tier.run(gemm::Run(&block, &mut s.pack)));
        if let Some(norm) = norm {
            // SAFETY: these rows are this task's alone, and within y: (b, rows) × n.
            let x = unsafe { std::slice::from_raw_parts_mut(out.at(first), rows.len() * n) };
            tier.run(norm::Rows { norm, gelu: true, x });
        }
    });
    Ok(())
}

/// The positional convolution: groups, padding kernel / 2 on both sides, an even kernel's extra last frame
/// dropped, then bias and GELU if asked.
#[derive(Clone, Copy, Debug)]
pub struct Positional<'a> {
    /// One weight per group: [`PackedWeight::from_conv`], `(C / groups, kernel · C / groups)`.
    pub weights: &'a [PackedWeight],
    /// `(C,)`.
    pub bias: Option<&'a [f32]>,
    /// Taps.
    pub kernel: usize,
    /// GELU after the bias.
    pub gelu: bool,
}

/// Computes y `(B, T, C)` from x `(B, T, C)`; see [`scalar::positional`](super::scalar::positional).
///
/// # Errors
/// When a length does not fit.
pub fn positional(layer: &Positional<'_>, batch: usize, x: &[f32], y: &mut [f32]) -> Result<()> {
    let groups = layer.weights.len();
    let width = layer.weights.first().map_or(0, PackedWeight::outputs);
    let (c, k) = (width * groups, width * layer.kernel);
    let times = x.len() / (batch * c).max(1);
    let even = layer.weights.iter().all(|w| (w.outputs(), w.inputs()) == (width, k));
    let bias = layer.bias.map_or(c, <[f32]>::len);
    if !even || c == 0 || bias != c || x.len() != batch * times * c || y.len() != x.len() {
        let (x, y) = (x.len(), y.len());
        return Err(misfit(format!("{layer:?} on batch {batch}: x has {x} elements, y has {y}")));
    }
    let out = scratch::Shared::new(y);
    let rows = |b, g| blocks(0..times, gemm::TALL, 12).map(move |rows| (b, g, rows));
    let tasks: Vec<_> =
        (0..batch).flat_map(|b| (0..groups).flat_map(move |g| rows(b, g))).filter(|t| !t.2.is_empty()).collect();
    tasks.into_par_iter().with_max_len(1).for_each(|(b, g, rows)| {
        scratch::with(|s| {
            // The group's channels of these rows and of half a kernel around them, zeros past the ends.
            let window = s.free[0].at_least((rows.len() + layer.kernel - 1) * width);
            for (i, to) in window.chunks_exact_mut(width).enumerate() {
                match (rows.start + i).checked_sub(layer.kernel / 2).filter(|t| *t < times) {
                    Some(t) => to.copy_from_slice(&x[(b * times + t) * c + g * width..][..width]),
                    None => to.fill(0.0),
                }
            }
            let weight = &layer.weights[g];
            let block = gemm::Block {
                a: window,
                stride: width,
                rows: rows.len(),
                copy: false,
                k,
                panels: weight.panels(),
                mask: None,
                n: width,
                which: 0..width.div_ceil(weight.cols()),
                c: out.at((b * times + rows.start) * c + g * width),
                ldc: c,
                add: false,
                bias: layer.bias.map(|b| &b[g * width..(g + 1) * width]),
                gelu: layer.gelu,
            };
            // The tasks differ in rows or in the group's channels, which is `Run`'s condition.
            weight.tier().run(gemm::Run(&block, &mut s.pack));
        });
    });
    Ok(())
}
