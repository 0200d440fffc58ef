//! Packs bound to a backbone: checked, on its device, found by language.

use crate::{Result, gate::Gates};
use candle_core::Tensor;
use s3router_masks::Meta;
use std::sync::Arc;

/// A pack whose masks fit the resident backbone; immutable, shared by every request that leases it.
#[derive(Debug)]
pub struct LoadedPack {
    /// Language, vocabulary, provenance.
    pub meta: Meta,
    /// Rises by one whenever the language's pack is replaced; 1 at first.
    pub generation: u64,
    /// SHA-256 (hex) of the pack file.
    pub sha256: String,
    /// Resident bytes: mask bits and head.
    pub bytes: u64,
    /// The masks as the model sees them.
    pub gates: Arc<Gates>,
    /// `(V, D)`.
    pub head_weight: Tensor,
    /// `(V,)`.
    pub head_bias: Tensor,
}

/// The packs at hand, by canonical id and alias.
#[derive(Clone, Debug, Default)]
pub struct Packs(Vec<Arc<LoadedPack>>);

impl Packs {
    /// The pack of a language, under any of its names (`zh-TW`, `zh_tw`, ...).
    ///
    /// # Errors
    /// [`crate::Error::LanguageNotFound`] lists what there is and suggests the nearest.
    pub fn get(&self, _language: &str) -> Result<Arc<LoadedPack>> {
        unimplemented!("written with the engine")
    }

    /// Every pack, by canonical id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<LoadedPack>> {
        self.0.iter()
    }
}
