//! The one resident copy of a weight: panels of outputs side by side, all of K down.

use super::{Aligned, Layout, Tier, misfit};
use crate::Result;
use half::bf16;
use rayon::prelude::*;

/// A weight W `(out, in)` in its [`Layout`]'s order, padded with 0 to whole panels.
///
/// In [`Layout::Panels`] element `(n, k)` lies at `[n / COLS][k][n % COLS]`; in [`Layout::Tiles`] as said there,
/// where each tap of a convolution takes whole steps of 32 inputs.
pub struct PackedWeight {
    layout: Layout,
    outputs: usize,
    inputs: usize,
    taps: usize,
    panels: Aligned,
}

impl PackedWeight {
    /// Packs row-major `weight` `(out, in)` in `layout` ([`Tier::Scalar`]'s where the machine lacks it).
    ///
    /// # Errors
    /// When the length is not `outputs × inputs`.
    pub fn new(layout: impl Into<Layout>, outputs: usize, inputs: usize, weight: &[f32]) -> Result<Self> {
        Self::with_taps(layout.into().or_scalar(), outputs, inputs, 1, weight)
    }

    /// Packs a convolution's `(out, in, kernel)` as a weight `(out, kernel · in)`: what overlapping
    /// time-major rows multiply with. With too few channels for tiles it lies in panels.
    ///
    /// # Errors
    /// When the length is not `out × in × kernel`.
    pub fn from_conv(layout: impl Into<Layout>, shape: [usize; 3], weight: &[f32]) -> Result<Self> {
        let [out, inputs, kernel] = shape;
        let layout = layout.into().or_scalar().for_channels(inputs);
        let mut turned = vec![0f32; weight.len()];
        if weight.len() == out * inputs * kernel && !weight.is_empty() {
            for (to, from) in
                turned.chunks_exact_mut(inputs * kernel).zip(weight.chunks_exact(inputs * kernel))
            {
                for (c, taps) in from.chunks_exact(kernel).enumerate() {
                    for (k, &w) in taps.iter().enumerate() {
                        to[k * inputs + c] = w;
                    }
                }
            }
        }
        Self::with_taps(layout, out, inputs * kernel, kernel, &turned)
    }

    fn with_taps(layout: Layout, outputs: usize, inputs: usize, taps: usize, weight: &[f32]) -> Result<Self> {
        if outputs.checked_mul(inputs) != Some(weight.len()) {
            let len = weight.len();
            return Err(misfit(format!("weight ({outputs}, {inputs}) has {len} elements")));
        }
        let mut packed = Self { layout, outputs, inputs, taps, panels: Aligned::default() };
        packed.panels = Aligned::zeros(outputs.div_ceil(layout.cols()) * packed.panel_floats());
        if inputs > 0 {
            match layout {
                Layout::Panels(_) => packed.fill_panels(weight),
                Layout::Tiles(_) => packed.fill_tiles(weight),
            }
        }
        Ok(packed)
    }

    fn fill_panels(&mut self, weight: &[f32]) {
        let (cols, inputs) = (self.layout.cols(), self.inputs);
        self.panels.par_chunks_mut(inputs * cols).enumerate().for_each(|(panel, to)| {
            let rows = weight[panel * cols * inputs..].chunks_exact(inputs).take(cols);
            for (j, row) in rows.enumerate() {
                for (to, &w) in to[j..].iter_mut().step_by(cols).zip(row) {
                    *to = w;
                }
            }
        });
    }

    fn fill_tiles(&mut self, weight: &[f32]) {
        let (inputs, channels, per_tap) = (self.inputs, self.inputs / self.taps, self.steps() / self.taps);
        let panel = self.panel_floats() * 2;
        self.panels.halves_mut().par_chunks_mut(panel).enumerate().for_each(|(panel, to)| {
            for (n, row) in weight[panel * 32 * inputs..].chunks_exact(inputs).take(32).enumerate() {
                for (tap, row) in row.chunks_exact(channels).enumerate() {
                    for (step, part) in row.chunks(32).enumerate() {
                        let to = &mut to[((tap * per_tap + step) * 2 + n / 16) * 512 + n % 16 * 2..];
                        for (k, &w) in part.iter().enumerate() {
                            to[k / 2 * 32 + k % 2] = bf16::from_f32(w).to_bits();
                        }
                    }
                }
            }
        });
    }

    /// The weight as it was given, row-major `(out, in)`; from tiles, as it was rounded.
    pub fn unpack(&self) -> Vec<f32> {
        let (cols, inputs) = (self.layout.cols(), self.inputs);
        let (channels, per_tap) = (inputs / self.taps.max(1), self.steps() / self.taps.max(1));
        let at = |n: usize, k: usize| match self.layout {
            Layout::Panels(_) => self.panels[(n / cols * inputs + k) * cols + n % cols],
            Layout::Tiles(_) => {
                let (step, k) = (k / channels * per_tap + k % channels / 32, k % channels % 32);
                let tile = (n / 32 * self.steps() + step) * 2 + n % 32 / 16;
                bf16::from_bits(self.panels.halves()[tile * 512 + k / 2 * 32 + n % 16 * 2 + k % 2]).to_f32()
            }
        };
        (0..self.outputs).flat_map(|n| (0..inputs).map(move |k| at(n, k))).collect()
    }

    /// The convolution that [`from_conv`](Self::from_conv) was given, `(out, in, kernel)`.
    pub fn unpack_conv(&self, kernel: usize) -> Vec<f32> {
        let channels = self.inputs / kernel;
        let rows = self.unpack();
        let row = |row: usize| (0..self.inputs).map(move |i| (row, i % kernel * channels + i / kernel));
        (0..self.outputs).flat_map(row).map(|(n, at)| rows[n * self.inputs + at]).collect()
    }

    /// The order of the elements.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The tier that computes with it, or, for tiles, around it.
    pub fn tier(&self) -> Tier {
        match self.layout {
            Layout::Panels(tier) => tier,
            Layout::Tiles(_) => Tier::best(),
        }
    }

    /// Output features.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Input features.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Resident bytes.
    pub fn bytes(&self) -> usize {
        self.panels.len() * size_of::<f32>()
    }

    /// All panels of f32, one after the other.
    pub(super) fn panels(&self) -> &[f32] {
        debug_assert!(!self.layout.is_tiles());
        &self.panels
    }

    /// All panels of tiles, one after the other, as bits of bf16.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn tiles(&self) -> &[u16] {
        debug_assert!(self.layout.is_tiles());
        self.panels.halves()
    }

    /// Width of a panel.
    pub(super) fn cols(&self) -> usize {
        self.layout.cols()
    }

    /// Steps of 32 inputs, each tap's channels in whole ones.
    fn steps(&self) -> usize {
        self.taps * (self.inputs / self.taps.max(1)).div_ceil(32)
    }

    fn panel_floats(&self) -> usize {
        match self.layout {
            Layout::Panels(_) => self.inputs * self.cols(),
            Layout::Tiles(_) => self.steps() * 512,
        }
    }
}

impl std::fmt::Debug for PackedWeight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedWeight(({}, {}), {})", self.outputs, self.inputs, self.layout.name())
    }
}
