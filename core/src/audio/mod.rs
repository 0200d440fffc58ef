//! Container bytes → 16 kHz mono samples. Filled in by decode, resample, sniff.

/// The sampling rate of every backbone, Hz.
pub const RATE_HZ: u32 = 16_000;
