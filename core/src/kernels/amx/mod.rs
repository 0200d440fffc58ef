//! The bf16 tier: Intel's matrix units (AMX), AVX-512 around them.
//!
//! # A tour
//! `tile` drives the tile registers: 32 × 32 sums, four products of 16 × 32 by 32 × 16 a step. `product` walks
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
#![allow(unsafe_code)]

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

pub(super) use conv::{piece, positional};
pub(super) use linear::linear;
pub(super) use stack::{Space, enter, layer, leave};
use tile::TILE;

use std::{
    arch::{asm, x86_64::__cpuid_count},
    sync::OnceLock,
};

/// Whether this machine has AMX with bf16, and the kernel lets this process use it; asked once.
pub(super) fn available() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let vectors = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bf16");
        // Leaf 7: bit 22 of EDX is amx-bf16, bit 24 amx-tile.
        let tiles = vectors && __cpuid_count(7, 0).edx & (1 << 22 | 1 << 24) == (1 << 22 | 1 << 24);
        tiles && permitted()
    })
}

/// Asks the kernel for the tiles' 8 KB of state: `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`.
/// Every thread of the process may use them then.
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XTILEDATA: u64 = 18;
    let answer: i64;
    // SAFETY: this call reads no memory of ours, and changes nothing but the permission.
    unsafe {
        asm!("syscall", inlateout("rax") ARCH_PRCTL => answer, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XTILEDATA,
            out("rcx") _, out("r11") _, options(nostack));
    }
    answer == 0
}
