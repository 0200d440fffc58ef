//! The bf16 tier: products on tiles, AVX-512 around them.
//!
//! # A tour
//! `tile` holds 32 × 32 sums and adds four products of 16 × 32 by 32 × 16 a step, by either [`Unit`]: `amx` drives
//! Intel's tile registers, `vectors` does the same with AVX-512 BF16 (AMD since Zen 4). `product` walks
//! rows and panels with them and deals the vector work out between the steps; `sink` is where sums go.
//! Weights lie in [`Layout::Tiles`](super::Layout), 32 outputs a panel, each step's 32 inputs as two tiles of
//! pairs, rounded to bf16 once at load; masks lie in the same order, a bit per weight.
//!
//! Left-hand rows come in two orders. `rows` has whole tiles one after the other: what linears read and
//! write. `columns` has 32 channels of all of time, then the next 32: there 16 rows at any start and any
//! stride are a tile, which is what a convolution reads, tap by tap, without a copy.
//!
//! `stack` takes a batch through the transformer without leaving these orders: the residual stream in
//! f32, everything between two products in bf16. Rows are independent: a row's sums are added in the same
//! order whatever stands beside it, so a batch equals its rows alone bit for bit.
mod amx;
mod attention;
mod columns;
mod conv;
mod linear;
mod math;
mod norm;
mod product;
mod rows;
mod sink;
mod stack;
mod tile;
mod vectors;

pub(super) use conv::{piece, positional};
pub(super) use linear::linear;
pub(super) use stack::{Space, enter, layer, leave};
use tile::TILE;
pub(super) use tile::{Product, Tiles};

use super::Unit;
use std::sync::LazyLock;

/// Whether this machine has a unit, and the kernel lets this process use it; asked once.
pub(super) fn available(unit: Unit) -> bool {
    static VECTORS: LazyLock<bool> = LazyLock::new(|| {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bf16")
    });
    // Around the tiles both use the same vectors.
    static TILES: LazyLock<bool> = LazyLock::new(|| *VECTORS && amx::available());
    match unit {
        Unit::Amx => *TILES,
        Unit::Avx512Bf16 => *VECTORS,
    }
}
