//! Thousands of seeded mutations: no input makes `open_bytes` panic, and none of them opens unnoticed.
//! (The fuzz target in `tests/fuzz` looks for what these miss.)

use crate::support::{Parts, Seed, file, pack};
use proptest::prelude::*;
use s3router_masks::{Codec, open_bytes, to_bytes};

/// Overwrites, removes, repeats, cuts and inserts bytes, one to four times.
fn mutate(bytes: &mut Vec<u8>, seed: &mut Seed) {
    for _ in 0..=seed.below(4) {
        let at = seed.below(bytes.len() as u64 + 1) as usize;
        let end = (at + 1 + seed.below(16) as usize).min(bytes.len());
        match seed.below(6) {
            0 if at < bytes.len() => bytes[at] = seed.below(256) as u8,
            1 => drop(bytes.drain(at.min(end)..end)),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, b"0:,\"{}[]9\x00\xff"[seed.below(11) as usize]),
            4 if at < end => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ if at < end => bytes[at..end].fill(seed.below(256) as u8),
            _ => {}
        }
        if bytes.is_empty() {
            return;
        }
    }
}

#[test]
fn no_mutation_of_a_sealed_file_opens_as_another_pack() {
    for codec in [Codec::Raw, Codec::Rans] {
        let whole = to_bytes(&pack("tr", 1), codec).unwrap();
        let mut seed = Seed(99);
        for _ in 0..4000 {
            let mut bytes = whole.clone();
            mutate(&mut bytes, &mut seed);
            if let Ok(opened) = open_bytes(&bytes) {
                assert_eq!(opened.pack, pack("tr", 1));
            }
        }
    }
}

#[test]
fn mutated_tensors_of_an_unsealed_file_never_panic() {
    for codec in [Codec::Raw, Codec::Rans] {
        let mut seed = Seed(7);
        let (mut opened, mut refused) = (0, 0);
        for _ in 0..4000 {
            let mut parts = Parts::unsealed(&pack("tr", 1), codec);
            let tensor = seed.below(parts.tensors.len() as u64) as usize;
            let (_, dtype, shape, data) = &mut parts.tensors[tensor];
            mutate(data, &mut seed);
            // Keep the container sound, so that the checks behind it are reached.
            if *dtype == "U8" && codec == Codec::Rans {
                *shape = vec![data.len()];
            } else {
                data.resize(shape.iter().product::<usize>() * if *dtype == "U8" { 1 } else { 4 }, 0);
            }
            match open_bytes(&parts.bytes()) {
                Ok(_) => opened += 1,
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 100 && opened + refused == 4000, "{opened} {refused}");
    }
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(open_bytes(&bytes).is_err());
    }

    #[test]
    fn any_header_before_any_data_never_panics(header in "[\\[\\]{}\":,a-z0-9_ -]{0,200}", data in proptest::collection::vec(any::<u8>(), 0..50)) {
        prop_assert!(open_bytes(&file(&header, &data)).is_err());
    }

    #[test]
    fn any_stream_in_a_coded_mask_never_panics(stream in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Rans);
        (parts.tensors[2].2, parts.tensors[2].3) = (vec![stream.len()], stream);
        prop_assert!(open_bytes(&parts.bytes()).is_err());
    }

    #[test]
    fn any_metadata_value_never_panics(key in 0..14usize, value in "\\PC{0,40}") {
        let mut parts = Parts::unsealed(&pack("tr", 1), Codec::Raw);
        let key = parts.metadata.keys().nth(key % parts.metadata.len()).cloned().unwrap();
        let _ = open_bytes(&parts.set(&key, &value).bytes());
    }
}
