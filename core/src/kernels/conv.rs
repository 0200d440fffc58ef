//! Time-major convolutions as matrix products over rows of x where it lies.
//!
//! With x `(T, C)` row-major, the inputs of output t are the `kernel · C` floats from `t · stride · C` on:
//! consecutive, and overlapping the next row's. So a convolution is a product whose left rows overlap, and
//! no im2col copy is made. The first layer (C = 1) is the same with rows of `kernel` samples.
#![allow(unsafe_code)]

use super::{Layout, Norm, PackedWeight, bf16, gemm, linear::blocks, misfit, norm, scratch};
use crate::Result;
use rayon::prelude::*;
use std::ops::Range;

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
    /// [`PackedWeight::from_conv`]: `(C_out, kernel · C_in)`, taps outermost.
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

impl Conv<'_> {
    /// Channels that go in.
    pub fn channels(&self) -> usize {
        self.weight.inputs() / self.kernel.max(1)
    }

    /// Whether the parts fit each other and inputs of `channels`.
    fn check(&self, channels: usize) -> Result<()> {
        let n = self.weight.outputs();
        let bias = self.bias.map_or(n, <[f32]>::len);
        let norm = match &self.after {
            After::NormGelu(norm) => norm.gamma.len().min(norm.beta.len()),
            _ => n,
        };
        let fits = self.weight.inputs() == channels * self.kernel && self.kernel * self.stride > 0;
        match fits && bias == n && norm == n {
            true => Ok(()),
            false => Err(misfit(format!(
                "{:?} with {} taps on {channels} channels, bias of {bias}, norm of {norm}",
                self.weight, self.kernel
            ))),
        }
    }

    /// All frames of x `(T, C_in)`, one utterance or a piece of one, on this thread.
    pub(super) fn run(&self, x: &[f32], y: &mut [f32], pack: &mut scratch::Pack) {
        let (n, k) = (self.weight.outputs(), self.weight.inputs());
        let step = self.stride * self.channels();
        assert!(y.len() == self.frames(x.len() / self.channels()) * n, "frames of a convolution");
        // Half a product's rows, normalised as soon as they are done: they and their inputs stay in L2 until then.
        for rows in blocks(0..y.len() / n, self.weight.tier().tall() / 2, 12) {
            let to = &mut y[rows.start * n..rows.end * n];
            let block = gemm::Block {
                a: &x[rows.start * step..],
                stride: step,
                rows: rows.len(),
                // Rows a page apart would fight over the same lines of L1.
                copy: step >= 128,
                k,
                panels: self.weight.panels(),
                mask: None,
                n,
                which: 0..n.div_ceil(self.weight.cols()),
                c: to.as_mut_ptr(),
                ldc: n,
                add: false,
                bias: self.bias,
                gelu: matches!(self.after, After::Gelu),
            };
            self.weight.tier().run(gemm::Run(&block, pack));
            if let After::NormGelu(norm) = &self.after {
                self.weight.tier().run(norm::Rows { norm, gelu: true, x: to });
            }
        }
    }
}

/// Computes y `(B, T', C_out)` from x `(B, T, C_in)` through a chain of convolutions, each as
/// [`scalar::conv`](super::scalar::conv).
///
/// Time is cut into pieces that pass the whole chain on one thread, so that no layer's output, the first
/// being 60 times the audio, ever exists at full length: a piece stays in L3. Pieces compute the frames at
/// their seams twice (half a frame in 100).
///
/// # Errors
/// When a length or a layer does not fit.
pub fn chain(layers: &[Conv<'_>], batch: usize, x: &[f32], y: &mut [f32]) -> Result<()> {
    chain_frames(layers, batch, x, y, 0..usize::MAX)
}

/// [`chain`], but only such frames of each utterance as lie in `some`; the others stay as they are.
///
/// # Errors
/// As [`chain`].
pub fn chain_frames(
    layers: &[Conv<'_>],
    batch: usize,
    x: &[f32],
    y: &mut [f32],
    some: Range<usize>,
) -> Result<()> {
    let Some((first, last)) = layers.first().zip(layers.last()) else {
        return Err(misfit("a chain of no convolutions".into()));
    };
    let mut channels = first.channels();
    let times = x.len() / (batch * channels).max(1);
    let frames = layers.iter().fold(times, |times, layer| layer.frames(times));
    for layer in layers {
        layer.check(channels)?;
        let early = std::ptr::eq(layer, first) && !layer.weight.layout().is_tiles();
        if !early && layer.weight.layout() != last.weight.layout() {
            return Err(misfit(format!("{:?} and {:?} in one chain", layer.weight, last.weight)));
        }
        channels = layer.weight.outputs();
    }
    if x.len() != batch * times * first.channels() || y.len() != batch * frames * channels {
        let (x, y, n) = (x.len(), y.len(), layers.len());
        return Err(misfit(format!("{n} convolutions on batch {batch}: x has {x} elements, y has {y}")));
    }
    let some = some.start..some.end.min(frames);
    if y.is_empty() || some.is_empty() {
        return Ok(());
    }
    // The inputs that `frames` outputs need, from the last layer back to the first.
    let need = |frames| layers.iter().rev().fold(frames, |f, layer| (f - 1) * layer.stride + layer.kernel);
    let hop: usize = layers.iter().map(|layer| layer.stride).product();
    // About 4,000 rows of the first layer at a time; more, smaller pieces where threads would idle.
    let piece = (4000 * first.stride / hop)
        .clamp(1, (some.len() * batch / (rayon::current_num_threads() * 4)).max(1));
    let (c, out) = (first.channels(), scratch::Shared::new(y));
    let pieces = blocks(some, piece, 1);
    (0..batch * pieces.len()).into_par_iter().with_max_len(1).for_each(|i| {
        let (b, piece) = (i / pieces.len(), pieces.part(i % pieces.len()));
        let from = (b * times + piece.start * hop) * c;
        // SAFETY: pieces are disjoint, and within y: (b, piece) × channels.
        let y = unsafe {
            let at = out.at((b * frames + piece.start) * channels);
            std::slice::from_raw_parts_mut(at, piece.len() * channels)
        };
        scratch::with(|s| {
            let mut x = &x[from..from + need(piece.len()) * c];
            if let Layout::Tiles(unit) = last.weight.layout() {
                return bf16::piece(unit, layers, x, y, s);
            }
            let [here, there, _] = &mut s.free;
            let mut times = need(piece.len());
            let (mut here, mut there) = (here, there);
            for layer in &layers[..layers.len() - 1] {
                times = layer.frames(times);
                let to = there.at_least(times * layer.weight.outputs());
                layer.run(x, to, &mut s.pack);
                std::mem::swap(&mut here, &mut there);
                x = &here[..times * layer.weight.outputs()];
            }
            last.run(x, y, &mut s.pack);
        });
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
    let parts = blocks(0..times, gemm::TALL, 12);
    (0..batch * groups * parts.len()).into_par_iter().with_max_len(1).for_each(|i| {
        let (group, rows) = (i / parts.len(), parts.part(i % parts.len()));
        let (b, g) = (group / groups, group % groups);
        scratch::with(|s| {
            // The group's channels of these rows and of half a kernel around them, zeros past the ends.
            let window = s.free[0].at_least((rows.len() + layer.kernel - 1) * width);
            for (i, to) in window.chunks_exact_mut(width).enumerate() {
                match (rows.start + i).checked_sub(layer.kernel / 2).filter(|t| *t < times) {
                    Some(t) => to.copy_from_slice(&x[(b * times + t) * c + g * width..][..width]),
                    None => to.fill(0.0),
                }
            }
            let (weight, y) = (&layer.weights[g], out.at((b * times + rows.start) * c + g * width));
            if let Layout::Tiles(unit) = weight.layout() {
                // SAFETY: the tasks differ in rows or in the group's channels.
                return unsafe { bf16::positional(unit, layer, g, window, y, &mut s.pack) };
            }
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
                c: y,
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
