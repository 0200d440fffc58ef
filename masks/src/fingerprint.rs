//! Which backbone a pack belongs to: a hash of the very weights that its mask covers.

use crate::{Error, Pack, Result, digest, open::without_model_prefix};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The maskable weights of one backbone, each known by its hash.
///
/// The hash of a weight is SHA-256 over its rank (u64), its dimensions (u64 each) and its values as f32,
/// all little-endian: f16, bf16 and f32 files of one checkpoint agree as far as their values do. The
/// fingerprint of a set of weights is SHA-256 over `name NUL hash` of each, ordered by name, where a name is
/// Hugging Face's without the model prefix (`wav2vec2.`). It is the `backbone_sha256` of a pack that
/// covers this set.
#[derive(Clone, Debug, Default)]
pub struct Backbone(BTreeMap<String, Weight>);

#[derive(Clone, Debug)]
struct Weight {
    shape: Vec<usize>,
    hash: [u8; 32],
}

/// What a successful [`Backbone::bind`] is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// The pack names this backbone's fingerprint.
    Proved,
    /// The pack names no backbone; its shapes fit.
    Unbound,
}

impl Backbone {
    /// No weight yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a weight of row-major `values`; any order, with or without the model prefix.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shape does not hold that many values.
    pub fn add(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Result<()> {
        if shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) != Some(values.len()) {
            let found = vec![values.len()];
            return Err(Error::Shape { name: name.into(), expected: shape.into(), found });
        }
        let mut hasher = Sha256::new();
        for number in std::iter::once(&shape.len()).chain(shape) {
            hasher.update((*number as u64).to_le_bytes());
        }
        let mut buffer = Vec::with_capacity(1 << 14);
        for block in values.chunks(1 << 12) {
            buffer.clear();
            buffer.extend(block.iter().flat_map(|v| v.to_le_bytes()));
            hasher.update(&buffer);
        }
        let weight = Weight { shape: shape.into(), hash: hasher.finalize().into() };
        self.0.insert(without_model_prefix(name).into(), weight);
        Ok(())
    }

    /// The fingerprint (64 hexadecimal digits) of the weights that `names` lists, in any order.
    ///
    /// # Errors
    /// [`Error::NotInBackbone`] for a weight that was not added.
    pub fn sha256<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let mut covered = BTreeMap::new();
        for name in names {
            let name = without_model_prefix(name);
            covered.insert(name, self.weight(name)?);
        }
        let mut hasher = Sha256::new();
        for (name, weight) in covered {
            hasher.update(name.as_bytes());
            hasher.update([0]);
            hasher.update(weight.hash);
        }
        Ok(digest::hex(&hasher.finalize()))
    }

    /// Checks that a pack fits this backbone: every mask has a weight of its shape, and the fingerprint,
    /// if the pack names one, is this backbone's. Masks whose width the file left open get the weight's.
    /// After an error the pack is of no further use.
    ///
    /// # Errors
    /// [`Error::NotInBackbone`], [`Error::Shape`], [`Error::TailBits`], [`Error::WrongBackbone`].
    pub fn bind(&self, pack: &mut Pack) -> Result<Binding> {
        for (name, mask) in &mut pack.masks {
            let expected = &self.weight(name)?.shape;
            let &[rows, cols] = expected.as_slice() else {
                let found = vec![mask.rows(), mask.cols()];
                return Err(Error::Shape { name: name.clone(), expected: expected.clone(), found });
            };
            mask.fit(name, rows, cols)?;
        }
        let found = self.sha256(pack.masks.keys().map(String::as_str))?;
        match &pack.meta.backbone_sha256 {
            None => Ok(Binding::Unbound),
            Some(expected) if *expected == found => Ok(Binding::Proved),
            Some(expected) => Err(Error::WrongBackbone {
                language: pack.meta.language.clone(),
                expected: expected.clone(),
                found,
            }),
        }
    }

    fn weight(&self, name: &str) -> Result<&Weight> {
        self.0.get(name).ok_or_else(|| Error::NotInBackbone { name: name.into(), weights: self.0.len() })
    }
}
