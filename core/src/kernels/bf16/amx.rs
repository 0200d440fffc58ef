//! The tile registers: eight of 16 rows × 64 bytes, driven by inline assembly (the intrinsics are unstable).
//!
//! `tdpbf16ps C, A, B` adds to the 16 × 16 floats of C the product of A, 16 rows of 32 bf16, and B, 32 rows of
//! 16 bf16 stored as 16 rows of pairs: `B[k / 2][2 n + k % 2]`. It takes 16 cycles and a tile load from L1 takes 8,
//! so a step loads two tiles of A and two of B for four products: the 32 × 32 sums of tmm0–tmm3.
//!
//! The compiler never touches these registers, so what one block leaves in them the next one finds.
#![allow(unsafe_code)]

use super::tile::Product;
use std::{
    arch::{asm, x86_64::__cpuid_count},
    marker::PhantomData,
};

/// Whether this machine has AMX with bf16, and the kernel lets this process use it.
pub(super) fn available() -> bool {
    // Leaf 7: bit 22 of EDX is amx-bf16, bit 24 amx-tile.
    __cpuid_count(7, 0).edx & (1 << 22 | 1 << 24) == (1 << 22 | 1 << 24) && permitted()
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

/// While it lives, this thread's eight tile registers are configured, each 16 rows × 64 bytes.
pub(in crate::kernels) struct Registers(PhantomData<*mut ()>);

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

impl Registers {
    /// # Safety
    /// The machine has AMX and the kernel has permitted it: [`available`].
    pub(super) unsafe fn configure() -> Self {
        // SAFETY: the caller's; the operand is 64 readable bytes of a valid configuration.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly)) };
        Self(PhantomData)
    }
}

impl Drop for Registers {
    /// Empty tiles make the thread's context switches cheap again.
    fn drop(&mut self) {
        // SAFETY: configured, so the machine has the instruction.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// `C = 0`.
///
/// # Safety
/// [`Registers`] lives on this thread, here and in every function below.
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

/// 32 × 32 sums of `deep` steps on top of 32 rows of `from`: as [`Tiles::product`](super::tile::Tiles::product).
///
/// # Safety
/// As there; [`Registers`] lives on this thread.
#[inline]
pub(super) unsafe fn product(product: Product) {
    let Product { a, b, deep, from, to: (c, stride) } = product;
    let (bytes, row) = (size_of::<f32>(), 64usize);
    // SAFETY: the caller's; `deep` is not 0.
    unsafe {
        asm!(
            "tileloadd tmm0, [{s0} + {apart}]", "tileloadd tmm1, [{s0} + {apart} + 64]",
            "tileloadd tmm2, [{s1} + {apart}]", "tileloadd tmm3, [{s1} + {apart} + 64]",
            "2:",
            "tileloadd tmm4, [{a0} + {row}]", "tileloadd tmm6, [{b0} + {row}]",
            "tileloadd tmm5, [{a1} + {row}]", "tileloadd tmm7, [{b1} + {row}]",
            "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6", "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a0}, 1024", "add {a1}, 1024", "add {b0}, 1024", "add {b1}, 1024",
            "dec {n}", "jnz 2b",
            "tilestored [{c0} + {down}], tmm0", "tilestored [{c0} + {down} + 64], tmm1",
            "tilestored [{c1} + {down}], tmm2", "tilestored [{c1} + {down} + 64], tmm3",
            s0 = in(reg) from.0, s1 = in(reg) from.0.wrapping_add(16 * from.1), apart = in(reg) from.1 * bytes,
            a0 = inout(reg) a[0] => _, a1 = inout(reg) a[1] => _,
            b0 = inout(reg) b[0] => _, b1 = inout(reg) b[1] => _,
            n = inout(reg) deep => _, row = in(reg) row,
            c0 = in(reg) c, c1 = in(reg) c.wrapping_add(16 * stride), down = in(reg) stride * bytes,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
