//! What is written is what opens, for both codecs, and always in the same bytes.

use crate::support::{Parts, Seed, WIDE, pack};
use proptest::prelude::*;
use s3router_masks::{BitMask, Codec, open_bytes, open_path, to_bytes, write};

#[test]
fn a_written_pack_opens_as_the_same_pack() {
    let folder = tempfile::tempdir().unwrap();
    for codec in [Codec::Raw, Codec::Rans] {
        let path = folder.path().join("tr.safetensors");
        let written = write(&path, &pack("tr", 1), codec).unwrap();
        let opened = open_path(&path).unwrap();
        assert_eq!(opened, written);
        assert_eq!(opened.pack, pack("tr", 1));
        assert!(opened.sealed && opened.codec == codec);
        assert_eq!(opened.bytes, path.metadata().unwrap().len());
    }
    assert_eq!(folder.path().read_dir().unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn equal_packs_are_equal_files_and_the_codec_changes_only_the_file() {
    let [raw, rans] = [Codec::Raw, Codec::Rans].map(|codec| to_bytes(&pack("tr", 1), codec).unwrap());
    assert_eq!(raw, to_bytes(&pack("tr", 1), Codec::Raw).unwrap());
    assert_eq!(rans, to_bytes(&pack("tr", 1), Codec::Rans).unwrap());
    let [raw, rans] = [raw, rans].map(|bytes| open_bytes(&bytes).unwrap());
    assert_eq!(raw.pack, rans.pack);
    assert_ne!(raw.sha256, rans.sha256);
}

#[test]
fn the_order_of_training_keys_changes_no_byte() {
    let mut other = pack("tr", 1);
    other.meta.training =
        serde_json::from_str(r#"{"steps":550,"audio":"none","cer":{"test":12.5}}"#).unwrap();
    assert_eq!(to_bytes(&other, Codec::Raw).unwrap(), to_bytes(&pack("tr", 1), Codec::Raw).unwrap());
}

#[test]
fn a_failed_write_leaves_the_old_file_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tr.safetensors");
    write(&path, &pack("tr", 1), Codec::Raw).unwrap();
    let before = std::fs::read(&path).unwrap();
    let mut broken = pack("tr", 2);
    broken.head.bias[0] = f32::NAN;
    write(&path, &broken, Codec::Raw).unwrap_err();
    assert_eq!(std::fs::read(&path).unwrap(), before);
    write(&folder.path().join("nowhere/tr.safetensors"), &pack("tr", 1), Codec::Raw).unwrap_err();
}

#[test]
fn a_realistic_mask_shrinks_to_within_two_percent_of_its_entropy() {
    let mut seed = Seed(7);
    let mut large = pack("tr", 1);
    let mask = BitMask::from_fn(1024, 1024, |_, _| seed.below(100) >= 8);
    large.masks.insert(WIDE.into(), mask);
    large.meta.density = large.density();
    let coded = Parts::of(&large, Codec::Rans).tensor(&format!("mask.{WIDE}")).3.len();
    let p: f64 = 0.08;
    let entropy = -(p * p.log2() + (1.0 - p) * (1.0 - p).log2()) * (1024.0 * 1024.0) / 8.0;
    assert!((coded as f64) < 1.02 * entropy, "{coded} bytes, entropy {entropy:.0}");
}

/// Masks of any small shape and any density, from all dropped to all kept.
fn masks() -> impl Strategy<Value = BitMask> {
    (1..40usize, 1..40usize, 0..=100u64, any::<u64>()).prop_map(|(rows, cols, percent, seed)| {
        let mut seed = Seed(seed | 1);
        BitMask::from_fn(rows, cols, |_, _| seed.below(100) < percent)
    })
}

proptest! {
    #[test]
    fn any_masks_survive_both_codecs(first in masks(), second in masks()) {
        let mut any = pack("tr", 1);
        any.masks = [("a.weight".to_owned(), first), ("b.weight".to_owned(), second)].into();
        any.meta.density = any.density();
        for codec in [Codec::Raw, Codec::Rans] {
            let bytes = to_bytes(&any, codec).unwrap();
            prop_assert_eq!(&open_bytes(&bytes).unwrap().pack, &any);
        }
    }
}
