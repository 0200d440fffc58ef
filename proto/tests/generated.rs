//! What is generated from `s3router.proto` is what is committed.
//!
//! `UPDATE=1 cargo test --release -p s3router-proto --test generated` writes it anew.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may fail")]

use prost::Message;
use std::{fs, path::Path};

#[test]
fn the_generated_code_is_up_to_date() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = tempfile::tempdir().unwrap();
    let described = protox::compile(["s3router.proto"], [here]).unwrap();
    tonic_prost_build::configure()
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .bytes(".s3router.v1.RecognizeRequest.audio")
        .bytes(".s3router.v1.IdentifyRequest.audio")
        .out_dir(made.path())
        .compile_fds(described.clone())
        .unwrap();
    let descriptors = without_comments(described).encode_to_vec();
    fs::write(made.path().join("s3router.v1.bin"), descriptors).unwrap();
    for file in ["s3router.v1.rs", "s3router.v1.bin"] {
        let (new, kept) = (made.path().join(file), here.join("src/generated").join(file));
        if std::env::var_os("UPDATE").is_some() {
            fs::copy(&new, &kept).unwrap();
        }
        assert!(
            fs::read(new).unwrap() == fs::read(kept).unwrap(),
            "{file} is not what s3router.proto says: UPDATE=1"
        );
    }
}

/// Comments and positions are for readers of the file.
fn without_comments(mut described: prost_types::FileDescriptorSet) -> prost_types::FileDescriptorSet {
    described.file.iter_mut().for_each(|file| file.source_code_info = None);
    described
}
