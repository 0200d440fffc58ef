//! The arithmetic of the heavy products, as a user chooses it.

use crate::{Error, Result};
use candle_core::{DType, Device};
use std::{fmt, str::FromStr};

/// How weights are kept and multiplied in serving, and what learning rounds the factors of its products to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// bf16 where the machine has instructions for it, f16 on an older GPU, else f32.
    #[default]
    Auto,
    /// 32-bit floats everywhere.
    F32,
    /// bfloat16 weights and activations, sums, norms and residuals in f32: half the memory.
    Bf16,
    /// The same in IEEE half precision, on a GPU, in serving.
    F16,
}

impl Precision {
    /// What this comes to in serving on `device` of this machine: never [`Auto`](Self::Auto).
    ///
    /// # Errors
    /// bf16 where it has no kernel, f16 where there is no GPU.
    pub fn resolve(self, device: &Device) -> Result<Self> {
        let bf16 = has_bf16(device);
        match self {
            Self::Auto if bf16 => Ok(Self::Bf16),
            Self::Auto if device.is_cuda() => Ok(Self::F16),
            Self::Auto | Self::F32 => Ok(Self::F32),
            Self::Bf16 if bf16 => Ok(Self::Bf16),
            Self::F16 if device.is_cuda() => Ok(Self::F16),
            Self::Bf16 => Err(Error::Model(
                "precision bf16 needs a CPU with AMX or AVX-512 BF16 (Intel Xeon of 2023, AMD Zen 4 or later; Linux) or a GPU of compute capability 8.0: use --precision f32 or auto".into(),
            )),
            Self::F16 => Err(Error::Model(
                "precision f16 needs a GPU: on a CPU use --precision f32, bf16 or auto".into(),
            )),
        }
    }

    /// What this comes to in learning: as in serving, but for f16, in which small gradients would vanish.
    ///
    /// # Errors
    /// f16, and bf16 where it has no kernel.
    pub fn for_learning(self, device: &Device) -> Result<Self> {
        match (self, self.resolve(device)?) {
            (Self::Auto, Self::F16) => Ok(Self::F32),
            (_, Self::F16) => Err(Error::Model(
                "precision f16 is for serving, small gradients vanish in it: use --precision f32 or bf16"
                    .into(),
            )),
            (_, precision) => Ok(precision),
        }
    }

    /// The type of half precision that this is, if it is one.
    pub(crate) fn half(self) -> Option<DType> {
        match self {
            Self::Auto | Self::F32 => None,
            Self::Bf16 => Some(DType::BF16),
            Self::F16 => Some(DType::F16),
        }
    }
}

fn has_bf16(device: &Device) -> bool {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return crate::kernels::cuda::machine(device).is_ok_and(|machine| machine.fuses);
    }
    device.is_cpu() && crate::kernels::Unit::best().is_some()
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            _ => Err(format!("`{text}` is no precision: use auto, f32, bf16, or f16 on a GPU")),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precisions_parse_and_print_alike() {
        for text in ["auto", "f32", "bf16", "f16"] {
            assert_eq!(text.parse::<Precision>().unwrap().to_string(), text);
        }
        assert!("int8".parse::<Precision>().unwrap_err().contains("bf16"));
    }

    #[test]
    fn auto_comes_to_what_the_machine_has() {
        let auto = Precision::Auto.resolve(&Device::Cpu).unwrap();
        match Precision::Bf16.resolve(&Device::Cpu) {
            Ok(bf16) => assert_eq!((auto, bf16), (Precision::Bf16, Precision::Bf16)),
            Err(e) => {
                assert_eq!(auto, Precision::F32);
                assert!(e.to_string().contains("--precision f32"), "{e}");
            }
        }
        assert_eq!(Precision::F32.resolve(&Device::Cpu).unwrap(), Precision::F32);
    }

    #[test]
    fn f16_on_a_cpu_is_one_clear_line() {
        for error in [Precision::F16.resolve(&Device::Cpu), Precision::F16.for_learning(&Device::Cpu)] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains("needs a GPU") && error.contains("--precision f32"), "{error}");
            assert!(!error.contains('\n'));
        }
        let auto = Precision::Auto.for_learning(&Device::Cpu).unwrap();
        assert_eq!(auto, Precision::Auto.resolve(&Device::Cpu).unwrap());
    }
}
