//! Damaged and hostile files: each is refused with its own reason.

use crate::support::{NARROW, Parts, WIDE, file, pack, split};
use s3router_masks::{Codec, Error, open_bytes, to_bytes};

/// Opens what must not open; the message must fit one line.
#[track_caller]
fn refused(bytes: &[u8]) -> Error {
    let error = open_bytes(bytes).expect_err("this file must be refused");
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

macro_rules! assert_refused {
    ($bytes:expr, $pattern:pat $(if $guard:expr)?) => {
        let error = refused(&$bytes);
        assert!(matches!(&error, $pattern $(if $guard)?), "{error:?}");
    };
}

// ── The container ───────────────────────────────────────────────────────────────────────────────

#[test]
fn a_file_cut_at_any_byte_is_refused() {
    for codec in [Codec::Raw, Codec::Rans] {
        let whole = to_bytes(&pack("tr", 1), codec).unwrap();
        for length in 0..whole.len() {
            assert_refused!(whole[..length], Error::Truncated { found, expected }
                if *found == length as u64 && *expected > length as u64);
        }
    }
}

#[test]
fn any_flipped_bit_is_refused() {
    for codec in [Codec::Raw, Codec::Rans] {
        let whole = to_bytes(&pack("tr", 1), codec).unwrap();
        for bit in 0..8 * whole.len() {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(open_bytes(&bytes).is_err(), "{codec:?}: bit {} of byte {}", bit % 8, bit / 8);
        }
    }
}

#[test]
fn bytes_after_the_last_tensor_are_refused() {
    let mut bytes = to_bytes(&pack("tr", 1), Codec::Raw).unwrap();
    let length = bytes.len() as u64;
    bytes.push(0);
    assert_refused!(bytes, Error::TrailingBytes { end, extra: 1 } if *end == length);
}

#[test]
fn an_absurd_header_is_refused_before_it_is_read() {
    for claimed in [u64::MAX, 1 << 40, (8 << 20) + 1] {
        let mut bytes = to_bytes(&pack("tr", 1), Codec::Raw).unwrap();
        bytes[..8].copy_from_slice(&claimed.to_le_bytes());
        assert_refused!(bytes, Error::HeaderSize { found, .. } if *found == claimed);
    }
}

#[test]
fn a_header_that_is_no_json_is_refused() {
    for header in ["", "{", "[]", "null", "{\"a\":1}", "{}{}", "\u{0}"] {
        assert_refused!(file(header, &[]), Error::HeaderJson(_));
    }
    assert_refused!([&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat(), Error::HeaderJson(_));
    let nested = "[".repeat(100_000);
    assert_refused!(file(&nested, &[]), Error::HeaderJson(_));
}

#[test]
fn a_name_that_occurs_twice_is_refused() {
    let parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
    for twice in 0..parts.entries().len() {
        let mut entries = parts.entries();
        entries.push(entries[twice].clone());
        assert_refused!(
            file(&format!("{{{}}}", entries.join(",")), &parts.data()),
            Error::DuplicateName { .. }
        );
    }
    let header = parts.entries()[0].replace("\"codec\":", "\"codec\":\"raw\",\"codec\":");
    let entries = [&[header], &parts.entries()[1..]].concat();
    assert_refused!(file(&format!("{{{}}}", entries.join(",")), &parts.data()),
        Error::DuplicateName { name } if name == "codec");
    // One weight under two spellings is one weight twice.
    let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
    let mut twin = parts.tensor(&format!("mask.{WIDE}")).clone();
    twin.0 = format!("mask.wav2vec2.{WIDE}");
    parts.tensors.push(twin);
    assert_refused!(parts.bytes(), Error::DuplicateName { name } if name.contains("wav2vec2."));
}

#[test]
fn holes_and_overlaps_are_refused() {
    let parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
    // head.bias lies at 0..20 and head.weight at 20..340.
    for (from, to, found) in
        [("[20,340]", "[24,344]", 24), ("[20,340]", "[16,336]", 16), ("[0,20]", "[4,24]", 4)]
    {
        let header = format!("{{{}}}", parts.entries().join(","));
        assert!(header.contains(from));
        let data = [parts.data(), vec![0; 4]].concat();
        assert_refused!(file(&header.replace(from, to), &data), Error::Hole { found: f, .. } if *f == found);
    }
}

#[test]
fn a_tensor_shorter_than_its_shape_is_named_with_both_numbers() {
    let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
    parts.tensor(&format!("mask.{WIDE}")).3.pop();
    assert_refused!(parts.bytes(), Error::TensorSize { name, expected: 48, found: 47, .. } if name.contains(WIDE));
    let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
    parts.tensor(&format!("mask.{WIDE}")).2 = vec![1 << 62, 1 << 62];
    assert_refused!(parts.bytes(), Error::TensorSize { found: 48, .. });
}

// ── The metadata ────────────────────────────────────────────────────────────────────────────────

#[test]
fn another_format_is_refused_first() {
    let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
    assert_refused!(parts.set("format", "s3router-pack/2").bytes(), Error::Format { found: Some(f), .. } if f.ends_with("/2"));
    parts.metadata.clear();
    assert_refused!(parts.bytes(), Error::Format { found: None, .. });
    assert_refused!(file("{}", &[]), Error::Format { found: None, .. });
}

#[test]
fn each_required_key_is_missed_by_name() {
    let mut parts = Parts::of(&pack("tr", 1), Codec::Raw);
    parts.metadata.remove("checksums");
    assert_refused!(parts.bytes(), Error::MissingKey { key: "checksums", .. });
    for key in ["language", "kind", "density", "covers", "vocab", "word_separator", "codec"] {
        let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
        parts.metadata.remove(key);
        assert_refused!(parts.bytes(), Error::MissingKey { key: missed, .. } if *missed == key);
    }
    let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Rans);
    parts.metadata.remove("shapes");
    assert_refused!(parts.bytes(), Error::MissingKey { key: "shapes", .. });
}

#[test]
fn each_unreadable_value_is_named() {
    for (key, value) in [
        ("language", ""),
        ("language", "../../etc/passwd"),
        ("kind", "CTC"),
        ("density", "most"),
        ("density", "NaN"),
        ("density", "1.5"),
        ("vocab", "<pad> | a"),
        ("vocab", "[1, 2, 3, 4, 5]"),
        ("vocab", "[]"),
        ("aliases", "[\"unfinished"),
        ("training", "{"),
        ("shapes", "{\"a\": 3}"),
        ("checksums", "[]"),
        ("sealed_with", "crc32"),
        ("backbone_sha256", "abc"),
    ] {
        let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
        assert_refused!(parts.set(key, value).bytes(), Error::BadValue { key: named, .. } if *named == key);
    }
}

#[test]
fn an_unknown_codec_is_refused_with_those_there_are() {
    let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
    let error = refused(&parts.set("codec", "zstd").bytes());
    assert_eq!(error.to_string(), "codec `zstd` is unknown: this program reads `raw` and `rans`");
}

#[test]
fn a_vocabulary_that_contradicts_itself_or_the_head_is_refused() {
    let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
    assert_refused!(parts.set("vocab", r#"["<pad>","|","a","b","a"]"#).bytes(),
        Error::DuplicateSymbol { symbol, first: 2, second: 4 } if symbol == "a");
    assert_refused!(parts.set("vocab", r#"["<pad>","|","a","b"]"#).bytes(),
        Error::VocabSize { name, expected: 4, found: 5 } if name == "head.weight");
    assert_refused!(
        parts.set("vocab", r#"["<pad>","_","a","b","c"]"#).bytes(),
        Error::Separator { symbols: 5, .. }
    );
    let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
    let bias = parts.tensor("head.bias");
    (bias.2, bias.3) = (vec![4], vec![0; 16]);
    assert_refused!(parts.bytes(), Error::VocabSize { name, expected: 5, found: 4 } if name == "head.bias");
}

#[test]
fn metadata_changed_after_sealing_is_refused() {
    let mut parts = Parts::of(&pack("tr", 1), Codec::Raw);
    assert_refused!(parts.set("language", "tt").bytes(), Error::MetadataChecksum { .. });
    parts.set("checksums", "{}");
    assert_refused!(parts.bytes(), Error::MetadataChecksum { expected, .. } if expected == "missing");
}

// ── The tensors ─────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_flipped_bit_names_the_tensor() {
    let mut parts = Parts::of(&pack("tr", 1), Codec::Raw);
    parts.tensor(&format!("mask.{NARROW}")).3[3] ^= 1;
    assert_refused!(parts.bytes(), Error::Checksum { name, expected, found } if name.ends_with(NARROW) && expected != found);
    let mut parts = Parts::of(&pack("tr", 1), Codec::Raw);
    parts.tensor("head.weight").3[0] ^= 1;
    assert_refused!(parts.bytes(), Error::Checksum { name, .. } if name == "head.weight");
}

#[test]
fn a_coded_mask_of_other_bits_is_caught_by_the_checksum_of_its_bits() {
    let mut parts = Parts::of(&pack("tr", 1), Codec::Rans);
    let other = Parts::of(&pack("tr", 2), Codec::Rans).tensor(&format!("mask.{WIDE}")).clone();
    *parts.tensor(&format!("mask.{WIDE}")) = other;
    assert_refused!(parts.bytes(), Error::Checksum { name, .. } if name.ends_with(WIDE));
}

#[test]
fn tensors_that_are_missing_or_unknown_are_named() {
    for (gone, sealed) in [("head.weight", true), ("head.bias", false)] {
        let mut parts = Parts::of(&pack("tr", 1), Codec::Raw);
        parts.tensors.retain(|t| t.0 != gone);
        if !sealed {
            parts.metadata.retain(|key, _| key != "checksums" && key != "sealed_with");
        }
        assert_refused!(parts.bytes(), Error::MissingTensor { name } if name == gone);
    }
    let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
    parts.tensors.retain(|t| !t.0.ends_with(NARROW));
    assert_refused!(parts.bytes(), Error::MissingTensor { name } if name.ends_with(NARROW));
    parts.tensors.retain(|t| t.0.starts_with("head."));
    parts.metadata.remove("shapes");
    assert_refused!(parts.bytes(), Error::NoMasks);
    for name in ["lm_head.weight", "mask.", "head.scale", "mask"] {
        let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
        parts.tensors.push((name.into(), "U8", vec![1], vec![0]));
        assert_refused!(parts.bytes(), Error::UnknownTensor { name: unknown } if unknown == name);
    }
}

#[test]
fn a_tensor_of_another_type_or_shape_is_named() {
    let wide = format!("mask.{WIDE}");
    let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
    parts.tensor(&wide).1 = "BOOL";
    assert_refused!(parts.bytes(), Error::Dtype { expected: "U8", found, .. } if found == "BOOL");
    let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
    let weight = parts.tensor("head.weight");
    (weight.1, weight.2) = ("F16", vec![10, 16]);
    assert_refused!(parts.bytes(), Error::Dtype { expected: "F32", .. });
    for shape in [vec![48], vec![48, 1], vec![2, 24, 1]] {
        let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
        parts.tensor(&wide).2 = shape.clone();
        assert_refused!(parts.bytes(), Error::Shape { name, expected, found }
            if *name == wide && expected == &[24, 2] && *found == shape);
    }
    let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
    parts.tensor("head.bias").2 = vec![5, 1];
    assert_refused!(parts.bytes(), Error::Shape { name, .. } if name == "head.bias");
    let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
    parts.tensor("head.weight").2 = vec![80];
    assert_refused!(parts.bytes(), Error::Shape { name, .. } if name == "head.weight");
    let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
    parts.metadata.remove("shapes");
    (parts.tensor(&wide).2, parts.tensor(&wide).3) = (vec![0, 2], vec![]);
    assert_refused!(parts.bytes(), Error::Shape { name, .. } if *name == wide);
}

#[test]
fn nan_and_infinity_in_the_head_are_refused_with_their_place() {
    for (tensor, index, value) in [("head.weight", 17, f32::NAN), ("head.bias", 4, f32::NEG_INFINITY)] {
        let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
        parts.tensor(tensor).3[4 * index..4 * index + 4].copy_from_slice(&value.to_le_bytes());
        assert_refused!(parts.bytes(), Error::NonFinite { name, index: i, .. } if name == tensor && *i == index);
    }
}

#[test]
fn a_bit_past_the_last_column_is_refused_with_its_row() {
    let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
    parts.tensor(&format!("mask.{NARROW}")).3[2 * 5 + 1] |= 0x20;
    assert_refused!(parts.bytes(), Error::TailBits { name, row: 5, cols: 13 } if name.ends_with(NARROW));
}

#[test]
fn a_density_that_the_bits_deny_is_refused_with_both() {
    let real = pack("tr", 1).density();
    let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
    assert_refused!(parts.set("density", "0.5").bytes(), Error::Density { claimed: 0.5, real: r } if *r == real);
    parts.set("density", &format!("{real:.3}"));
    open_bytes(&parts.bytes()).expect("three digits are precise enough");
    assert!(matches!(
        to_bytes(
            &{
                let mut p = pack("tr", 1);
                p.meta.density = 0.5;
                p
            },
            Codec::Raw
        ),
        Err(Error::Density { .. })
    ));
}

// ── The entropy coder ───────────────────────────────────────────────────────────────────────────

/// A file whose coded `WIDE` mask is `stream`.
fn with_stream(stream: Vec<u8>) -> Vec<u8> {
    let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Rans);
    let tensor = parts.tensor(&format!("mask.{WIDE}"));
    (tensor.2, tensor.3) = (vec![stream.len()], stream);
    parts.bytes()
}

fn stream() -> Vec<u8> {
    Parts::of(&pack("tr", 1), Codec::Rans).tensor(&format!("mask.{WIDE}")).3.clone()
}

#[test]
fn a_cut_stream_is_refused_wherever_it_is_cut() {
    for length in 0..stream().len() {
        let mut cut = stream();
        cut.truncate(length);
        assert_refused!(with_stream(cut), Error::StreamTruncated { name, expected, found }
            if name.ends_with(WIDE) && *found == length && *expected > length);
    }
}

#[test]
fn frequencies_that_are_no_distribution_are_refused() {
    let symbols: u32 = stream()[..32].iter().map(|b| b.count_ones()).sum();
    for (frequency, sum) in [(0u16, 0), (1, 0), (u16::MAX, 0)] {
        let mut bad = stream();
        bad[32..34].copy_from_slice(&frequency.to_le_bytes());
        assert_refused!(with_stream(bad), Error::StreamTable { expected: 4096, found, .. } if sum != 4096 && *found != 4096);
    }
    assert!(symbols > 1);
    let mut empty = vec![0u8; 32];
    empty.extend([0u8; 16]);
    assert_refused!(with_stream(empty), Error::StreamTable { found: 0, .. });
}

#[test]
fn a_stream_that_ends_elsewhere_is_refused() {
    let mut longer = stream();
    longer.extend([0, 0]);
    assert_refused!(with_stream(longer), Error::StreamEnd { left: 2, .. });
    let symbols: u32 = stream()[..32].iter().map(|b| b.count_ones()).sum();
    let states = 32 + 2 * symbols as usize;
    let mut other = stream();
    other[states + 3] ^= 0x10;
    assert_refused!(with_stream(other), Error::StreamEnd { .. } | Error::StreamTruncated { .. });
}

#[test]
fn a_small_file_cannot_ask_for_much_memory() {
    // One certain symbol costs nothing to code, so the shape alone would decide how much is allocated.
    let mut certain = vec![0u8; 32];
    certain[31] = 0x80;
    certain.extend(4096u16.to_le_bytes());
    certain.extend([0, 0, 1, 0].repeat(4));
    for (rows, cols) in [(1u64 << 40, 1u64 << 20), (u64::MAX, u64::MAX), (1 << 20, 1 << 10)] {
        let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Rans);
        let tensor = parts.tensor(&format!("mask.{WIDE}"));
        (tensor.2, tensor.3) = (vec![certain.len()], certain.clone());
        let shapes = format!("{{\"{WIDE}\":[{rows},{cols}],\"{NARROW}\":[16,13]}}");
        assert_refused!(parts.set("shapes", &shapes).bytes(), Error::TooLarge { name, claimed, limit }
            if name.ends_with(WIDE) && claimed > limit);
    }
}

#[test]
fn a_model_checkpoint_is_told_from_a_pack() {
    let header = r#"{"__metadata__":{"format":"pt"},"lm_head.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let bytes = file(header, &[0; 4]);
    assert_eq!(split(&bytes).1.len(), 4);
    assert_eq!(refused(&bytes).to_string(), "`format` is `pt`, expected `s3router-pack/1`");
}
