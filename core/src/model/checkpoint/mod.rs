//! Checkpoints as people have them: every format ends as named byte ranges of a mapped file.

mod convert;
mod file;
mod head;
mod hub;
mod names;
mod pickle;
mod recognise;
mod safetensors;
mod source;
mod torch;

pub use convert::convert;
pub use head::OwnHead;
pub use hub::packs as hub_packs;
pub use source::Source;

use super::config::Config;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use file::{Bytes, Entry};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

/// The tensors of one checkpoint, by their canonical names, not yet read.
#[derive(Debug, Default)]
pub(crate) struct Checkpoint {
    files: Vec<Bytes>,
    tensors: BTreeMap<String, Stored>,
    config: Option<String>,
    preprocessor: Option<String>,
    vocab: Option<String>,
}

#[derive(Debug)]
enum Stored {
    InFile { file: usize, entry: Entry },
    InMemory(Tensor),
}

impl Stored {
    fn shape(&self) -> &[usize] {
        match self {
            Self::InFile { entry, .. } => &entry.shape,
            Self::InMemory(tensor) => tensor.dims(),
        }
    }
}

impl Checkpoint {
    pub(crate) fn from_tensors(tensors: HashMap<String, Tensor>) -> Self {
        let named = tensors.into_iter().map(|(name, t)| (names::canonical(&name), Stored::InMemory(t)));
        Self { tensors: named.collect(), ..Self::default() }
    }

    /// Adds a file of any known format, told by its first bytes.
    fn add(&mut self, bytes: Bytes, path: &Path) -> Result<()> {
        let entries = if torch::is_zip(&bytes) {
            torch::read_zip(&bytes)
        } else if torch::is_legacy(&bytes) {
            torch::read_legacy(&bytes)
        } else {
            safetensors::read(&bytes)
        };
        let entries = entries.map_err(|what| Error::Model(format!("{}: {what}", path.display())))?;
        let file = self.files.len();
        for (name, entry) in entries {
            self.tensors.insert(names::canonical(&name), Stored::InFile { file, entry });
        }
        self.files.push(bytes);
        Ok(())
    }

    /// The shape: from config.json, else recognised from the tensors.
    pub(crate) fn config(&self) -> Result<Config> {
        match &self.config {
            Some(config) => Config::from_json(config, self.preprocessor.as_deref()),
            None => recognise::config(|name| self.tensors.get(name).map(Stored::shape)),
        }
    }

    /// A parameter of the schema; the positional convolution's weight norm is folded on the way.
    pub(crate) fn parameter(&self, name: &str) -> Result<Option<Tensor>> {
        if let Some(tensor) = self.read(name)? {
            return Ok(Some(tensor));
        }
        let (g, v) = (self.read(&format!("{name}_g"))?, self.read(&format!("{name}_v"))?);
        match (g, v) {
            (Some(g), Some(v)) => Ok(Some(fold_weight_norm(&g, &v)?)),
            _ => Ok(None),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Tensor>> {
        match self.tensors.get(name) {
            None => Ok(None),
            Some(Stored::InMemory(tensor)) => Ok(Some(tensor.clone())),
            Some(Stored::InFile { file, entry }) => {
                let tensor = entry.read(&self.files[*file]);
                self.files[*file].release(entry);
                tensor.map(Some).map_err(|e| Error::Model(format!("tensor `{name}`: {e}")))
            }
        }
    }

    /// `lm_head` as it is stored, weight (V, D) and bias (V,), in f32.
    pub(crate) fn lm_head(&self, device: &Device) -> Result<Option<[Tensor; 2]>> {
        let (weight, bias) = (self.read("lm_head.weight")?, self.read("lm_head.bias")?);
        let f32 = |tensor: Tensor| tensor.to_dtype(DType::F32)?.to_device(device);
        Ok(match (weight, bias) {
            (Some(weight), Some(bias)) => Some([f32(weight)?, f32(bias)?]),
            _ => None,
        })
    }

    /// `lm_head` and `vocab.json`, when the checkpoint has both.
    pub(crate) fn own_head(&self, hidden: usize, device: &Device) -> Result<Option<OwnHead>> {
        match (self.lm_head(&Device::Cpu)?, &self.vocab) {
            (Some(head), Some(vocab)) => {
                OwnHead::new(head, vocab, self.config.as_deref(), hidden, device).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// `W[.., t] = g[t] · v[.., t] / ‖v[.., t]‖`, the norm over outputs and inputs of each tap (PyTorch's
/// `weight_norm(dim=2)`).
fn fold_weight_norm(g: &Tensor, v: &Tensor) -> Result<Tensor> {
    let (g, v) = (g.to_dtype(DType::F64)?, v.to_dtype(DType::F64)?);
    let norm = v.sqr()?.sum_keepdim((0, 1))?.sqrt()?;
    if g.dims() != norm.dims() {
        return Err(Error::Model(format!(
            "weight norm of the positional convolution: `weight_g` has shape {:?}, `weight_v` {:?} asks for {:?}",
            g.dims(),
            v.dims(),
            norm.dims()
        )));
    }
    Ok(v.broadcast_mul(&(g / norm)?)?.to_dtype(DType::F32)?)
}
