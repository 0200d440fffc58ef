//! Where the backbone lives: `auto`, `cpu`, `cuda:0`.

use crate::{Error, Result};
use candle_core::Device;
use std::{fmt, str::FromStr};

/// A user's wish for a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU if this build and this machine have one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The n-th CUDA GPU, or an error.
    Cuda(usize),
}

impl DeviceChoice {
    /// Several, as `cuda:0,1` or `cuda:0,cuda:1` names them; the first is where packs are bound.
    ///
    /// # Errors
    /// A name that is none, or one twice.
    pub fn several(text: &str) -> Result<Vec<Self>, String> {
        let mut all: Vec<Self> = Vec::new();
        for name in text.split(',') {
            let one = match name.trim().parse::<usize>() {
                Ok(n) if !all.is_empty() => Self::Cuda(n),
                _ => name.trim().parse()?,
            };
            if all.contains(&one) || !all.is_empty() && [Self::Auto, Self::Cpu].contains(&one) {
                return Err(format!("`{text}`: several devices are GPUs, each named once: cuda:0,1"));
            }
            all.push(one);
        }
        if all.len() > 1 && [Self::Auto, Self::Cpu].contains(&all[0]) {
            return Err(format!("`{text}`: several devices are GPUs, each named once: cuda:0,1"));
        }
        Ok(all)
    }

    /// The device itself. `Auto` without a usable GPU is the CPU, with one log line that says why.
    ///
    /// # Errors
    /// A GPU that was asked for by number and cannot be had.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(n) => gpu(n).map_err(|e| {
                Error::Model(format!("device cuda:{n} is not usable: {}: try --device cpu", reason(&e)))
            }),
            Self::Auto if !candle_core::utils::cuda_is_available() => Ok(Device::Cpu),
            Self::Auto => Ok(gpu(0).unwrap_or_else(|e| {
                tracing::warn!(reason = %reason(&e), "no usable GPU: the CPU computes");
                Device::Cpu
            })),
        }
    }
}

/// A GPU with a stream of its own: candle's default one is another for every thread that asks.
fn gpu(ordinal: usize) -> candle_core::Result<Device> {
    Device::new_cuda_with_stream(ordinal)
}

/// A driver's message without its backtrace, and what it means.
fn reason(error: &candle_core::Error) -> String {
    let line = error.to_string().lines().next().unwrap_or_default().to_owned();
    match ["NO_DEVICE", "STUB_LIBRARY", "INVALID_DEVICE"].iter().find(|code| line.contains(*code)) {
        Some(&"INVALID_DEVICE") => "there is no GPU of that number (CUDA_ERROR_INVALID_DEVICE)".into(),
        Some(code) => format!("no NVIDIA driver, or no GPU (CUDA_ERROR_{code})"),
        None => line,
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|n| n.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| format!("`{text}` is no device: use auto, cpu or cuda:0")),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_parse_and_print_alike() {
        for text in ["auto", "cpu", "cuda:0", "cuda:3"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        assert!("gpu".parse::<DeviceChoice>().is_err() && "cuda:x".parse::<DeviceChoice>().is_err());
    }

    #[test]
    fn several_gpus_are_a_list() {
        use DeviceChoice::*;
        assert_eq!(DeviceChoice::several("auto").unwrap(), [Auto]);
        assert_eq!(DeviceChoice::several("cuda:0,2,cuda:1").unwrap(), [Cuda(0), Cuda(2), Cuda(1)]);
        for wrong in ["", "0", "cuda:0,0", "auto,cuda:1", "cuda:0,cpu", "cuda:0,"] {
            assert!(DeviceChoice::several(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_gpu_asked_for_by_number_is_an_error_where_there_is_none() {
        if !candle_core::utils::cuda_is_available() {
            let error = DeviceChoice::Cuda(0).open().unwrap_err().to_string();
            assert!(error.contains("cuda:0") && error.contains("--device cpu"), "{error}");
            assert!(matches!(DeviceChoice::Auto.open(), Ok(Device::Cpu)));
        }
    }
}
