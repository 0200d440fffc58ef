//! The instruction set, chosen at run time.
#![allow(unsafe_code)]

use super::{Kernel, gemm, lanes};
use std::sync::OnceLock;

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Plain Rust, no intrinsics: every machine.
    Scalar,
    /// AVX2 and FMA, 8 lanes.
    Avx2,
    /// AVX-512F, 16 lanes.
    Avx512,
    /// NEON, 4 lanes.
    Neon,
}

impl Tier {
    /// The best tier of this machine; asked once, logged once.
    pub fn best() -> Self {
        static BEST: OnceLock<Tier> = OnceLock::new();
        *BEST.get_or_init(|| {
            let best = Self::available()[0];
            tracing::info!(tier = best.name(), "kernels chosen");
            best
        })
    }

    /// Every tier this machine can run, best first; never empty.
    pub fn available() -> Vec<Self> {
        let tiers = [Self::Avx512, Self::Avx2, Self::Neon, Self::Scalar];
        tiers.into_iter().filter(|t| t.is_available()).collect()
    }

    /// Whether this machine can run the tier; the answer never changes.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f") && Self::Avx2.is_available(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// `avx2`, as logs and `s3router doctor` print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }

    /// Outputs in one weight panel of a tier that this machine has.
    pub(super) fn panel(self) -> usize {
        struct Cols;
        impl Kernel for Cols {
            type Out = usize;
            #[inline(always)]
            fn run<V: lanes::Lanes>(self) -> usize {
                V::COLS
            }
        }
        self.run(Cols)
    }

    /// Rows of a block of the matrix product, at most.
    pub(super) fn tall(self) -> usize {
        match self {
            Self::Avx512 => gemm::TALL_AVX512,
            _ => gemm::TALL,
        }
    }

    /// Runs `kernel` as compiled for this tier; a tier that this machine lacks runs as [`Tier::Scalar`].
    pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Out {
        match self {
            // SAFETY (each): the guard has just asked the machine; std caches the answer.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 if self.is_available() => unsafe { lanes::avx2::call(kernel) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 if self.is_available() => unsafe { lanes::avx512::call(kernel) },
            #[cfg(target_arch = "aarch64")]
            Self::Neon => unsafe { lanes::neon::call(kernel) },
            _ => kernel.run::<lanes::array::Array>(),
        }
    }
}
