//! The one resident copy of a weight: panels of `COLS` outputs.

use super::{Aligned, Layout, Tier, misfit};
use crate::Result;
use rayon::prelude::*;

/// A weight W `(out, in)` in panel order: element `(n, k)` lies at `[n / COLS][k][n % COLS]`, outputs
/// past `out` are 0. `COLS` is the layout's.
pub struct PackedWeight {
    layout: Layout,
    outputs: usize,
    inputs: usize,
    panels: Aligned,
}

impl PackedWeight {
    /// Packs row-major `weight` `(out, in)` in `layout` ([`Tier::Scalar`]'s where the machine lacks it).
    ///
    /// # Errors
    /// When the length is not `outputs × inputs`.
    pub fn new(layout: impl Into<Layout>, outputs: usize, inputs: usize, weight: &[f32]) -> Result<Self> {
        if outputs.checked_mul(inputs) != Some(weight.len()) {
            let len = weight.len();
            return Err(misfit(format!("weight ({outputs}, {inputs}) has {len} elements")));
        }
        let mut packed = Self::zeros(layout.into(), outputs, inputs);
        let cols = packed.cols();
        if inputs > 0 {
            packed.panels.par_chunks_mut(inputs * cols).enumerate().for_each(|(panel, to)| {
                let rows = weight[panel * cols * inputs..].chunks_exact(inputs).take(cols);
                for (j, row) in rows.enumerate() {
                    for (to, &w) in to[j..].iter_mut().step_by(cols).zip(row) {
                        *to = w;
                    }
                }
            });
        }
        Ok(packed)
    }

    /// Packs a convolution's `(out, in, kernel)` as a weight `(out, kernel · in)`: what overlapping
    /// time-major rows multiply with.
    ///
    /// # Errors
    /// When the length is not `out × in × kernel`.
    pub fn from_conv(layout: impl Into<Layout>, shape: [usize; 3], weight: &[f32]) -> Result<Self> {
        let [out, inputs, kernel] = shape;
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
        Self::new(layout, out, inputs * kernel, &turned)
    }

    fn zeros(layout: Layout, outputs: usize, inputs: usize) -> Self {
        let layout = layout.or_scalar();
        let panels = Aligned::zeros(outputs.next_multiple_of(layout.cols()) * inputs);
        Self { layout, outputs, inputs, panels }
    }

    /// The weight as it was given, row-major `(out, in)`.
    pub fn unpack(&self) -> Vec<f32> {
        let (cols, inputs) = (self.cols(), self.inputs);
        let at = |n: usize, k: usize| self.panels[(n / cols * inputs + k) * cols + n % cols];
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

    /// The tier whose panels these are.
    pub fn tier(&self) -> Tier {
        let Layout::Panels(tier) = self.layout;
        tier
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

    /// All panels, one after the other.
    pub(super) fn panels(&self) -> &[f32] {
        &self.panels
    }

    /// Width of a panel.
    pub(super) fn cols(&self) -> usize {
        self.layout.cols()
    }
}

impl std::fmt::Debug for PackedWeight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedWeight(({}, {}), {})", self.outputs, self.inputs, self.layout.name())
    }
}
