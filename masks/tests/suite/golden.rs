//! Committed files: what was written once opens for ever, and is written again byte for byte.
//!
//! `golden/python.safetensors` comes from `golden/make.py` (numpy and safetensors, none of our code); the
//! script also decodes `golden/rans.safetensors` on its own.

use s3router_masks::{BitMask, Codec, Kind, open_bytes, to_bytes};
use serde_json::json;

const PYTHON: &[u8] = include_bytes!("../golden/python.safetensors");
const RAW: &[u8] = include_bytes!("../golden/raw.safetensors");
const RANS: &[u8] = include_bytes!("../golden/rans.safetensors");

#[test]
fn a_pack_written_by_python_opens() {
    let opened = open_bytes(PYTHON).unwrap();
    assert!(opened.sealed && opened.codec == Codec::Raw);
    let pack = opened.pack;
    assert_eq!((pack.meta.language.as_str(), pack.meta.kind), ("tr", Kind::Ctc));
    assert_eq!(pack.meta.aliases, ["golden"]);
    assert_eq!(pack.meta.vocab, ["<pad>", "|", "a", "ə", "語"]);
    assert_eq!(pack.meta.word_separator.as_deref(), Some("|"));
    assert_eq!(pack.meta.training, json!({"data": "none"}));
    for (name, rows, cols) in [("intermediate", 24, 16), ("output", 16, 13)] {
        let mask = &pack.masks[&format!("encoder.layers.0.feed_forward.{name}_dense.weight")];
        assert_eq!(*mask, BitMask::from_fn(rows, cols, |r, c| (5 * r + 3 * c) % 11 != 0));
    }
    assert_eq!(pack.head.dim, 16);
    assert_eq!(pack.head.weight[33], 33.0 / 64.0 - 0.5);
    assert_eq!(pack.head.bias, [0.0, 0.25, 0.5, 0.75, 1.0]);
}

#[test]
fn golden_files_open_and_are_written_again_byte_for_byte() {
    let pack = open_bytes(PYTHON).unwrap().pack;
    for (golden, codec, sha256) in [
        (RAW, Codec::Raw, "71f390485238228e77e02cd053eca2bb223542dbd79975390900a5853656e8c2"),
        (RANS, Codec::Rans, "356d746a3d116a6991b5008411eff14e5b34c511da03474e8500035b20d5d566"),
    ] {
        let opened = open_bytes(golden).unwrap();
        assert_eq!(opened.pack, pack);
        assert_eq!(opened.codec, codec);
        assert_eq!(opened.sha256, sha256);
        assert!(to_bytes(&pack, codec).unwrap() == golden, "{codec:?}: the writer has changed");
    }
}
