//! What multiplies bf16 tiles, chosen at run time as a [`Tier`](super::Tier) is.

use super::bf16;

/// A way of this machine to multiply bf16 numbers and sum in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Intel's matrix units: 16 × 16 sums an instruction.
    Amx,
    /// AVX-512 BF16, of AMD since Zen 4 and Intel since Cooper Lake: twice the products of f32 an instruction.
    Avx512Bf16,
}

impl Unit {
    /// The best of this machine.
    pub fn best() -> Option<Self> {
        Self::available().next()
    }

    /// Every unit of this machine, best first.
    pub fn available() -> impl Iterator<Item = Self> {
        [Self::Amx, Self::Avx512Bf16].into_iter().filter(|unit| unit.is_available())
    }

    /// Whether this machine has it; the answer never changes.
    pub fn is_available(self) -> bool {
        bf16::available(self)
    }

    /// `amx`, as logs and `s3router doctor` print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amx => "amx",
            Self::Avx512Bf16 => "avx512bf16",
        }
    }
}
