//! Packs bound to a backbone: checked, on its device, found by language.

use crate::{
    Error, Result,
    decode::{Lm, Vocab, confidence::Calibration},
    gate::{Gate, Gates},
    identify::Ear,
    model::{Backbone, Head, OwnHead},
    residency::Masks,
};
use candle_core::Tensor;
use s3router_masks::{Binding, BitMask, Meta, Opened, Pack, Registry, language, language::Names};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, path::Path, path::PathBuf, sync::Arc};

/// The id under which a checkpoint's own head is served.
pub const OWN_LANGUAGE: &str = "default";

/// A pack whose masks fit the resident backbone; immutable, shared by every request that leases it.
#[derive(Debug)]
pub struct LoadedPack {
    /// Language, provenance.
    pub meta: Meta,
    /// The symbols of its logits.
    pub vocab: Vocab,
    /// Rises by one whenever the language's pack is replaced; 1 at first.
    pub generation: u64,
    /// SHA-256 (hex) of the pack file.
    pub sha256: String,
    /// Resident bytes: mask bits and head.
    pub bytes: u64,
    /// Whether the file names this very backbone; else only its shapes fit.
    pub proved: bool,
    pub(crate) masks: Masks,
    /// What makes a word's confidence the probability that it is right, from `training.calibration`.
    pub calibration: Option<Calibration>,
    /// What makes its doubt comparable with other packs', from `training.identification`.
    pub ear: Option<Ear>,
    /// N-grams of the language's words, where a file lies beside the pack.
    pub lm: Option<Arc<Lm>>,
    head: Head,
}

impl LoadedPack {
    /// Checks a pack against the backbone and puts it on the backbone's device.
    ///
    /// # Errors
    /// Another backbone's fingerprint, a mask or head of another shape, a vocabulary without its separator.
    pub fn bind(opened: Opened, backbone: &Backbone, generation: u64) -> Result<Self> {
        let Opened { mut pack, sha256, .. } = opened;
        let proved = backbone.identity()?.bind(&mut pack)? == Binding::Proved;
        let Pack { meta, masks, head } = pack;
        let width = backbone.config().hidden;
        if head.dim != width {
            return Err(Error::Model(format!(
                "pack `{}` has a head for hidden width {}, the backbone's is {width}: it belongs to another backbone",
                meta.language, head.dim
            )));
        }
        let bytes = masks.values().map(|m| m.bytes().len()).sum::<usize>()
            + 4 * (head.weight.len() + head.bias.len());
        let symbols = head.bias.len();
        Ok(Self {
            vocab: Vocab::new(meta.vocab.clone(), meta.word_separator.as_deref())?,
            masks: Masks::new(gates(masks, backbone)),
            head: Head::new(
                Tensor::from_vec(head.weight, (symbols, width), backbone.device())?,
                Tensor::from_vec(head.bias, symbols, backbone.device())?,
            )
            .packed()?,
            bytes: bytes as u64,
            calibration: Calibration::from_training(&meta.training)?,
            ear: Ear::from_training(&meta.training)?,
            lm: None,
            meta,
            generation,
            sha256,
            proved,
        })
    }

    /// The head that a fine-tuned checkpoint brings, with every gate open: the checkpoint served as it is.
    ///
    /// # Errors
    /// A vocabulary without its separator.
    pub fn own(backbone: &Backbone) -> Result<Option<Self>> {
        let Some(head) = backbone.own_head() else { return Ok(None) };
        Ok(Some(Self {
            vocab: Vocab::new(head.vocab.clone(), head.word_separator.as_deref())?,
            masks: Masks::new(Gates::open()),
            calibration: None,
            ear: None,
            lm: None,
            head: Head::new(head.weight.clone(), head.bias.clone()).packed()?,
            bytes: 4 * (head.weight.elem_count() + head.bias.elem_count()) as u64,
            meta: Meta {
                language: OWN_LANGUAGE.into(),
                aliases: Vec::new(),
                kind: s3router_masks::Kind::Ctc,
                backbone_sha256: None,
                density: 1.0,
                covers: "none".into(),
                vocab: head.vocab.clone(),
                word_separator: head.word_separator.clone(),
                training: serde_json::Value::Null,
                license: None,
            },
            generation: 1,
            sha256: head_sha256(head)?,
            proved: true,
        }))
    }

    /// The same pack with n-grams for its beam search.
    #[must_use]
    pub fn with_lm(self, lm: Option<Arc<Lm>>) -> Self {
        Self { lm, ..self }
    }

    /// The same pack, whose masks may leave memory and be read again from its file.
    #[must_use]
    pub fn of_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.masks = self.masks.of_file(file.into());
        self
    }

    /// The masks as the model sees them; read again if they had left memory (see [`Residency`](crate::Residency)).
    ///
    /// # Errors
    /// A file that is missing, broken or another one by now.
    pub fn gates(&self, backbone: &Backbone) -> Result<Arc<Gates>> {
        self.masks.get(&self.sha256, backbone)
    }

    /// Whether the masks are in memory now.
    pub fn is_resident(&self) -> bool {
        self.masks.is_held()
    }

    /// The same pack for a copy of the backbone on another device; `gates` are its masks as they are here.
    ///
    /// # Errors
    /// That device's.
    pub(crate) fn copy_to(&self, gates: &Gates, backbone: &Backbone) -> Result<Self> {
        let gate = |name: &str| {
            let bits = gates.get(name).bits()?;
            Ok((name.to_owned(), bits.map_or(Gate::Open, |bits| backbone.gate(&bits))))
        };
        let gates = Gates::new(gates.names().map(gate).collect::<Result<_>>()?);
        Ok(Self {
            meta: self.meta.clone(),
            vocab: self.vocab.clone(),
            sha256: self.sha256.clone(),
            masks: self.masks.copy(gates),
            lm: self.lm.clone(),
            head: self.head.to_device(backbone.device())?,
            ..*self
        })
    }

    /// Hidden `(T, D)` → logits `(T, V)`.
    ///
    /// # Errors
    /// The device's.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.head.logits(hidden)
    }

    /// What makes logits.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }
}

/// Masks as this backbone reads them fastest.
pub(crate) fn gates(masks: BTreeMap<String, BitMask>, backbone: &Backbone) -> Gates {
    Gates::new(masks.into_iter().map(|(name, bits)| (name, backbone.gate(&bits))).collect())
}

/// A file that is no usable pack, and why: listed, never served, never fatal to the others.
#[derive(Clone, Debug)]
pub struct Quarantined {
    /// The file.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The packs at hand, ordered by canonical id.
#[derive(Clone, Debug, Default)]
pub struct Packs {
    loaded: Vec<Arc<LoadedPack>>,
    quarantined: Vec<Quarantined>,
}

impl Packs {
    /// Opens every `*.safetensors` of a directory and binds it to the backbone.
    ///
    /// # Errors
    /// A directory that cannot be read, or two files of one language. A broken pack is quarantined instead.
    pub fn open(directory: &Path, backbone: &Backbone) -> Result<Self> {
        Ok(Self::bind_all(Registry::open(directory)?, backbone))
    }

    /// Binds every pack of a registry to the backbone; one that does not fit is quarantined.
    pub fn bind_all(registry: Registry, backbone: &Backbone) -> Self {
        let mut packs = Self::default();
        for broken in registry.quarantined {
            packs.quarantine(&broken.path, broken.reason.cause());
        }
        for entry in registry.packs {
            match LoadedPack::bind(entry.opened, backbone, 1) {
                Ok(pack) => packs.insert(pack.of_file(entry.path)),
                Err(e) => packs.quarantine(&entry.path, &e),
            }
        }
        packs
    }

    /// Adds a pack, in the place of another of its language.
    pub fn insert(&mut self, pack: impl Into<Arc<LoadedPack>>) {
        let pack = pack.into();
        self.loaded.retain(|p| p.meta.language != pack.meta.language);
        let at = self.loaded.partition_point(|p| p.meta.language < pack.meta.language);
        self.loaded.insert(at, pack);
    }

    /// Takes a language out of service; requests that lease its pack keep it.
    pub fn remove(&mut self, id: &str) {
        self.loaded.retain(|p| p.meta.language != id);
    }

    /// The pack of exactly this language, in any spelling of its id.
    pub fn exact(&self, id: &str) -> Option<&Arc<LoadedPack>> {
        let id = language::canonical(id);
        self.loaded.iter().find(|p| language::canonical(&p.meta.language) == id)
    }

    /// Sets a file aside.
    pub fn quarantine(&mut self, path: &Path, reason: &dyn std::fmt::Display) {
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        tracing::warn!(file, %reason, "pack quarantined");
        self.quarantined.push(Quarantined { file, reason: reason.to_string() });
    }

    /// The pack of a language, under any of its names (`zh-TW`, `zh_tw`, ...).
    ///
    /// # Errors
    /// [`Error::LanguageNotFound`] lists what there is and suggests the nearest.
    pub fn get(&self, asked: &str) -> Result<Arc<LoadedPack>> {
        let names: Vec<_> =
            self.loaded.iter().map(|p| Names { id: &p.meta.language, aliases: &p.meta.aliases }).collect();
        match language::resolve(asked, &names) {
            Ok(i) => Ok(Arc::clone(&self.loaded[i])),
            Err(unknown) => Err(Error::LanguageNotFound {
                asked: asked.to_owned(),
                available: names.iter().map(|n| n.id).collect::<Vec<_>>().join(", "),
                suggestion: unknown.suggestion.map_or(String::new(), |n| format!("; did you mean `{n}`?")),
            }),
        }
    }

    /// Every usable pack, by canonical id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<LoadedPack>> {
        self.loaded.iter()
    }

    /// How many packs are usable.
    pub fn len(&self) -> usize {
        self.loaded.len()
    }

    /// Whether no pack is usable.
    pub fn is_empty(&self) -> bool {
        self.loaded.is_empty()
    }

    /// Forgets what is said of a file that was set aside.
    pub fn absolve(&mut self, file: &str) {
        self.quarantined.retain(|q| q.file != file);
    }

    /// The files set aside, and why.
    pub fn quarantined(&self) -> &[Quarantined] {
        &self.quarantined
    }
}

/// What a pack's `training` metadata says of `key`; `None` when it says nothing.
///
/// # Errors
/// It says something else than `expected`, or nothing `usable`.
pub(crate) fn learnt<T: serde::de::DeserializeOwned>(
    training: &serde_json::Value,
    key: &str,
    expected: &str,
    usable: impl FnOnce(&T) -> bool,
) -> Result<Option<T>> {
    let Some(value) = training.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
    let found = serde_json::from_value(value.clone()).ok().filter(usable);
    found.map(Some).ok_or_else(|| Error::Model(format!("training.{key} is {value}: expected {expected}")))
}

/// The proof of a checkpoint's own head: SHA-256 over its weight and bias as little-endian f32.
fn head_sha256(head: &OwnHead) -> Result<String> {
    let mut hasher = Sha256::new();
    for tensor in [&head.weight, &head.bias] {
        for value in tensor.flatten_all()?.to_vec1::<f32>()? {
            hasher.update(value.to_le_bytes());
        }
    }
    Ok(hasher.finalize().iter().map(|b| format!("{b:02x}")).collect())
}
