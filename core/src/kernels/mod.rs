//! Hot loops, the only home of `unsafe`: each kernel stands beside its scalar specification.
//!
//! # A tour
//! [`scalar`] says what every kernel computes, in plain loops; the tests hold all tiers to it.
//! [`Tier`] is the instruction set, asked of the machine once. The f32 kernels are written once over `lanes`
//! (a vector of f32), and `Tier::run` compiles them for each tier. `bf16` is a family of its own, over tiles that a
//! [`Unit`] multiplies: matrix units, or vectors of pairs.
//! [`Layout`] says which of the two a weight was packed for: f32 or bf16 is the user's choice
//! ([`Precision`](crate::Precision)), made when the weights are read, never per call.
//!
//! The heart is a matrix product with the mask for free. [`PackedWeight`] holds W in **panels**: a few
//! outputs side by side, all of K down, so that the inner loop reads it straight through. [`PanelMask`]
//! is the mask in the same order. `gemm` walks a block of the output:
//!
//! ```text
//! for each part of K (256 deep)
//!     copy the block's rows of x into tile order               (half an L2)
//!     for each panel of W
//!         open:   use the panel where it lies
//!         masked: copy it, each weight kept or zeroed by its bit  (16 or 32 KB, L1)
//!         for each group of ROWS rows: one register tile        (tile.rs)
//! ```
//! So masking costs one pass over a panel that dozens of tiles then read, and `W ⊙ M` never exists beyond
//! one panel per thread; `bf16` goes further and copies the next panel while the unit works on this one.
//!
//! [`linear()`] adds segments (rows of several languages, one call, one reading of W)
//! and threads; [`conv`] reads overlapping rows as a matrix without copying them; [`attention()`] and
//! `positional_conv` use the same block product; [`norm`] holds what works row by row; [`Stack`] takes
//! a batch through the transformer's layers.
//!
//! A register tile is as large as the registers allow: 12 × 32 sums on AVX-512 and 6 × 16 on NEON (24 of 32 registers),
//! 6 × 16 on AVX2 (12 of 16), 32 × 32 on AMX (4 of 8 tiles). A mask is turned into the panels' order when its pack is
//! loaded, never later.
//!
//! A row's result depends on nothing but that row: not on its neighbours, nor on how many there are. All work goes
//! to the current rayon pool, a few tasks a thread.
//!
//! Nothing here allocates from the second batch of a size on: a task is worked out from its number, not listed; a thread
//! keeps what one task needs (`scratch`), and whoever runs batches keeps what passes between kernels ([`Space`], [`Aligned`]).
//!
//! Tried and left: masking in the inner loop (7–12 % slower), materialising `W ⊙ M` (8–25 %).

pub mod attention;
pub mod backward;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod bf16;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "bf16/absent.rs"]
mod bf16;
pub mod blocks;
pub mod conv;
pub mod cuda;
mod gemm;
mod lanes;
mod layout;
pub mod linear;
mod mask;
mod math;
pub mod norm;
mod pack;
pub mod product;
pub mod scalar;
mod scratch;
mod stack;
pub mod tensor;
mod tier;
mod tile;
mod unit;

#[cfg(test)]
mod tests;

pub use attention::{Attention, attention};
pub use conv::{After, Conv, Positional};
pub use layout::Layout;
pub use linear::{Activation, Segment, linear};
pub use mask::PanelMask;
pub use norm::Norm;
pub use pack::PackedWeight;
pub use scratch::Aligned;
pub use stack::{Gated, Layer, Space, Stack};
pub use tier::Tier;
pub use unit::Unit;

use lanes::Lanes;

/// A computation that [`Tier::run`] can compile for any tier. Implement `run` with `#[inline(always)]`.
trait Kernel {
    type Out;
    fn run<V: Lanes>(self) -> Self::Out;
}

/// A shape that does not fit, as this crate's error.
fn misfit(what: String) -> crate::Error {
    crate::Error::Tensor(candle_core::Error::Msg(what))
}
