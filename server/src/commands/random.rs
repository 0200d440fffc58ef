//! Made-up packs and sound, equal for equal seeds: for measuring without anybody's data.

use s3router_core::model::Backbone;
use s3router_masks::{BitMask, Head, Kind, Meta, Pack};
use std::sync::Arc;

/// Symbols of a made-up language's head, about as many as a real one's letters.
const SYMBOLS: usize = 40;

/// The id of a made-up language.
pub(super) fn language(number: usize) -> String {
    format!("random{number}")
}

/// A pack whose masks keep the share `density` of every feed-forward weight, others for each number.
pub(super) fn pack(backbone: &Backbone, number: usize, density: f64) -> Pack {
    let feed_forward = backbone.maskable().into_iter().filter(|(name, _)| name.contains("feed_forward"));
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ number as u64);
    let mut mask =
        |(name, (rows, cols))| (name, BitMask::from_fn(rows, cols, |_, _| random.unit() < density));
    let masks = feed_forward.map(&mut mask).collect();
    let width = backbone.config().hidden;
    let mut pack = Pack {
        meta: Meta {
            language: language(number),
            aliases: Vec::new(),
            kind: Kind::Ctc,
            backbone_sha256: None,
            density,
            covers: "ffn".into(),
            vocab: std::iter::once("<pad>".to_owned()).chain((1..SYMBOLS).map(|i| format!("s{i}"))).collect(),
            word_separator: None,
            training: serde_json::Value::Null,
            license: None,
        },
        masks,
        head: Head { weight: noise(SYMBOLS * width).to_vec(), bias: vec![0.0; SYMBOLS], dim: width },
    };
    pack.meta.density = pack.density();
    pack
}

/// `n` numbers in -0.5..0.5, always the same.
pub(super) fn noise(n: usize) -> Arc<[f32]> {
    let mut random = Random(1);
    (0..n).map(|_| random.unit() as f32 - 0.5).collect()
}

/// Marsaglia's xorshift: good enough for masks and noise, and 200 million bits of it take a second.
struct Random(u64);

impl Random {
    /// In 0..1.
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}
