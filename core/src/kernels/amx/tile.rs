//! The tile registers: eight of 16 rows × 64 bytes, driven by inline assembly (the intrinsics are unstable).
//!
//! `tdpbf16ps C, A, B` adds to the 16 × 16 floats of C the product of A, 16 rows of 32 bf16, and B, 32 rows of
//! 16 bf16 stored as 16 rows of pairs: `B[k / 2][2 n + k % 2]`. It takes 16 cycles and a tile load from L1 takes 8,
//! so a step loads two tiles of A and two of B for four products: the 32 × 32 sums of tmm0–tmm3.
//!
//! The compiler never touches these registers, so what one block leaves in them the next one finds.
#![allow(unsafe_code)]

use std::{arch::asm, marker::PhantomData};

/// Bytes of a tile.
pub(super) const TILE: usize = 1024;

/// While it lives, this thread's eight tile registers are configured, each 16 rows × 64 bytes.
pub(super) struct Tiles(PhantomData<*mut ()>);

/// The operand of `ldtilecfg`: palette 1, then bytes per row (u16) from 16 on, rows (u8) from 48 on.
#[repr(C, align(64))]
struct Config([u8; 64]);

static CONFIG: Config = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = 16;
        tile += 1;
    }
    Config(bytes)
};

impl Tiles {
    /// # Safety
    /// The machine has AMX and the kernel has permitted it: [`super::available`].
    pub(super) unsafe fn configure() -> Self {
        // SAFETY: the caller's; the operand is 64 readable bytes of a valid configuration.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly)) };
        Self(PhantomData)
    }
}

impl Drop for Tiles {
    /// Empty tiles make the thread's context switches cheap again.
    fn drop(&mut self) {
        // SAFETY: configured, so the machine has the instruction.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// `C = 0`.
///
/// # Safety
/// [`Tiles`] lives on this thread, here and in every function below.
#[inline(always)]
pub(super) unsafe fn zero() {
    // SAFETY: touches tile registers only.
    unsafe {
        asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, options(nostack, nomem));
    }
}

/// `C = c`: upper left, upper right, lower left, lower right, one tile after the other.
///
/// # Safety
/// Four tiles are readable at `c`.
#[inline(always)]
pub(super) unsafe fn load(c: *const u8) {
    // SAFETY: reads what the caller vouches for.
    unsafe {
        asm!("tileloadd tmm0, [{c} + {s}]", "tileloadd tmm1, [{c} + {s} + 1024]",
            "tileloadd tmm2, [{c} + {s} + 2048]", "tileloadd tmm3, [{c} + {s} + 3072]",
            c = in(reg) c, s = in(reg) 64usize,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, options(nostack, readonly));
    }
}

/// `c = C`, in the order of [`load`].
///
/// # Safety
/// Four tiles are writable at `c`.
#[inline(always)]
pub(super) unsafe fn store(c: *mut u8) {
    // SAFETY: writes what the caller vouches for.
    unsafe {
        asm!("tilestored [{c} + {s}], tmm0", "tilestored [{c} + {s} + 1024], tmm1",
            "tilestored [{c} + {s} + 2048], tmm2", "tilestored [{c} + {s} + 3072], tmm3",
            c = in(reg) c, s = in(reg) 64usize, options(nostack));
    }
}

/// `C += A · B`, 32 deep: A's 16 rows at `a` and 16 more at `a + half`, `row` bytes apart; B's two tiles at `b`.
///
/// # Safety
/// All of that is readable.
#[inline(always)]
pub(super) unsafe fn step(a: *const u8, half: usize, row: usize, b: *const u8) {
    // SAFETY: reads what the caller vouches for.
    unsafe {
        asm!("tileloadd tmm6, [{b} + {s}]", "tileloadd tmm4, [{a} + {row}]", "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b} + {s} + 1024]", "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{low} + {row}]", "tdpbf16ps tmm2, tmm5, tmm6", "tdpbf16ps tmm3, tmm5, tmm7",
            a = in(reg) a, low = in(reg) a.wrapping_add(half), row = in(reg) row, b = in(reg) b,
            s = in(reg) 64usize,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _, options(nostack, readonly));
    }
}
