//! SHA-256 in the two lengths the format uses.

use sha2::{Digest, Sha256};

/// All 64 hexadecimal digits.
pub(crate) fn full(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The first 16 digits: against accidents, 64 bits are plenty and a header of 48 masks stays small.
pub(crate) fn short(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes)[..8])
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
