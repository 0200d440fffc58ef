//! Small packs made from a seed, and a way to write files that the library would refuse to.

use s3router_masks::{BitMask, Codec, Head, Kind, Meta, Pack, open_bytes, to_bytes};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// xorshift64*: the same numbers everywhere, for ever.
pub(crate) struct Seed(pub u64);

impl Seed {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }
}

/// Two masks, one of them 13 columns wide so that rows have a tail; about 8 % of the weights dropped.
pub(crate) fn pack(language: &str, seed: u64) -> Pack {
    let mut seed = Seed(seed * 2 + 1);
    let masks = BTreeMap::from([
        (WIDE.to_owned(), BitMask::from_fn(24, 16, |_, _| seed.below(100) >= 8)),
        (NARROW.to_owned(), BitMask::from_fn(16, 13, |_, _| seed.below(100) >= 8)),
    ]);
    let mut float = || seed.below(2000) as f32 / 1000.0 - 1.0;
    let head = Head {
        weight: (0..5 * 16).map(|_| float()).collect(),
        bias: (0..5).map(|_| float()).collect(),
        dim: 16,
    };
    let meta = Meta {
        language: language.into(),
        aliases: vec![format!("{language}-x-test")],
        kind: Kind::Ctc,
        backbone_sha256: Some("0123456789abcdef".repeat(4)),
        density: 0.0,
        covers: "ffn".into(),
        vocab: ["<pad>", "|", "a", "ə", "語"].map(String::from).to_vec(),
        word_separator: Some("|".into()),
        training: json!({"steps": 550, "cer": {"test": 12.5}, "audio": "none"}),
        license: Some("MIT OR Apache-2.0".into()),
    };
    let mut pack = Pack { meta, masks, head };
    pack.meta.density = pack.density();
    pack
}

pub(crate) const WIDE: &str = "encoder.layers.0.feed_forward.intermediate_dense.weight";
pub(crate) const NARROW: &str = "encoder.layers.0.feed_forward.output_dense.weight";

/// A pack file taken apart; put together again without any check.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) metadata: BTreeMap<String, String>,
    /// Name, dtype, shape, bytes.
    pub(crate) tensors: Vec<(String, &'static str, Vec<usize>, Vec<u8>)>,
}

impl Parts {
    pub(crate) fn of(pack: &Pack, codec: Codec) -> Self {
        let bytes = to_bytes(pack, codec).unwrap();
        assert_eq!(&open_bytes(&bytes).unwrap().pack, pack);
        let (header, data) = split(&bytes);
        let header: BTreeMap<String, Value> = serde_json::from_slice(header).unwrap();
        let metadata = serde_json::from_value(header["__metadata__"].clone()).unwrap();
        let mut tensors: Vec<_> = header.iter().filter(|(name, _)| *name != "__metadata__").collect();
        tensors.sort_by_key(|(_, info)| info["data_offsets"][0].as_u64());
        let tensors = tensors.into_iter().map(|(name, info)| {
            let at = |i: usize| info["data_offsets"][i].as_u64().unwrap() as usize;
            let dtype = if info["dtype"] == "F32" { "F32" } else { "U8" };
            let shape = serde_json::from_value(info["shape"].clone()).unwrap();
            (name.clone(), dtype, shape, data[at(0)..at(1)].to_vec())
        });
        Self { metadata, tensors: tensors.collect() }
    }

    /// Without checksums, so that the check behind them is reached.
    pub(crate) fn unsealed(pack: &Pack, codec: Codec) -> Self {
        let mut parts = Self::of(pack, codec);
        parts.metadata.remove("checksums");
        parts.metadata.remove("sealed_with");
        parts
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) -> &mut Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    pub(crate) fn tensor(&mut self, name: &str) -> &mut (String, &'static str, Vec<usize>, Vec<u8>) {
        self.tensors.iter_mut().find(|t| t.0 == name).unwrap()
    }

    /// The header's entries as JSON text, for attacks on the JSON itself.
    pub(crate) fn entries(&self) -> Vec<String> {
        let mut entries = vec![format!("\"__metadata__\":{}", json!(self.metadata))];
        let mut end = 0;
        for (name, dtype, shape, data) in &self.tensors {
            let offsets = [end, end + data.len()];
            end += data.len();
            entries.push(format!(
                "{}:{}",
                json!(name),
                json!({"dtype": dtype, "shape": shape, "data_offsets": offsets})
            ));
        }
        entries
    }

    pub(crate) fn data(&self) -> Vec<u8> {
        self.tensors.iter().flat_map(|t| t.3.clone()).collect()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        file(&format!("{{{}}}", self.entries().join(",")), &self.data())
    }
}

pub(crate) fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// Header JSON and data of a well-formed file.
pub(crate) fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8..].split_at(length)
}
