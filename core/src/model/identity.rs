//! Which backbone this is: the hashes that packs are bound to.

use super::Backbone;
use crate::{Error, Result};
use candle_core::DType;

impl Backbone {
    /// The hash of every maskable weight, on f32 values: what [`s3router_masks::Backbone::bind`] holds a
    /// pack against. The first call reads all of them, later ones find them hashed.
    ///
    /// # Errors
    /// The device's.
    pub fn identity(&self) -> Result<&s3router_masks::Backbone> {
        if let Some(known) = self.identity.get() {
            return Ok(known);
        }
        let maskable = self.maskable();
        let hashes = self.hashes(maskable.iter().map(|(name, _)| name.as_str()))?;
        Ok(self.identity.get_or_init(|| hashes))
    }

    /// One hash over every maskable weight: the same backbone, wherever it lies.
    ///
    /// # Errors
    /// The device's.
    pub fn whole_fingerprint(&self) -> Result<String> {
        let maskable = self.maskable();
        Ok(self.identity()?.sha256(maskable.iter().map(|(name, _)| name.as_str()))?)
    }

    /// The `backbone_sha256` of a pack that covers the weights `names`, in any order.
    ///
    /// # Errors
    /// A name that is no parameter of this backbone.
    pub fn fingerprint<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let names: Vec<&str> = names.into_iter().collect();
        match self.identity.get() {
            Some(known) => Ok(known.sha256(names)?),
            None => Ok(self.hashes(names.iter().copied())?.sha256(names)?),
        }
    }

    /// A frozen parameter as f32 values in row-major order, wherever it lives; of a weight kept in bf16,
    /// the rounded values.
    ///
    /// # Errors
    /// A name that is no parameter of this backbone.
    pub fn values(&self, name: &str) -> Result<Vec<f32>> {
        if let Some(packed) = self.weights.packed(name) {
            return Ok(packed.unpack());
        }
        let weight = self.weight(name).ok_or_else(|| {
            Error::Model(format!("the backbone has no parameter `{name}`: is it of another size?"))
        })?;
        Ok(weight.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
    }

    fn hashes<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<s3router_masks::Backbone> {
        let mut hashes = s3router_masks::Backbone::new();
        for name in names {
            let values = self.values(name)?;
            match (self.weights.packed(name), self.weight(name)) {
                (Some(packed), _) => hashes.add(name, &[packed.outputs(), packed.inputs()], &values)?,
                (None, weight) => hashes.add(name, weight.map_or(&[], |weight| weight.dims()), &values)?,
            }
        }
        Ok(hashes)
    }
}
