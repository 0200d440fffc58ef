//! A folder of packs: the broken are set aside, the ambiguous refused.

use crate::support::pack;
use s3router_masks::{Codec, Error, Registry, write};
use std::path::Path;

fn put(folder: &Path, file: &str, language: &str) {
    let mut pack = pack(language, 1);
    pack.meta.aliases = vec![format!("{language} spoken")];
    write(&folder.join(file), &pack, Codec::Raw).unwrap();
}

#[test]
fn a_folder_opens_in_the_order_of_languages_and_sets_the_broken_aside() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "a.safetensors", "tr");
    put(folder.path(), "b.safetensors", "zh-Hant-TW");
    put(folder.path(), "c.safetensors", "en");
    std::fs::write(folder.path().join("d.safetensors"), b"short").unwrap();
    std::fs::write(folder.path().join("README.md"), b"not a pack").unwrap();
    std::fs::write(folder.path().join(".pack-1.tmp.safetensors"), b"half written").unwrap();
    let registry = Registry::open(folder.path()).unwrap();
    let ids: Vec<_> = registry.packs.iter().map(|e| e.opened.pack.meta.language.as_str()).collect();
    assert_eq!(ids, ["en", "tr", "zh_TW"]);
    let [broken] = registry.quarantined.as_slice() else { panic!("{:?}", registry.quarantined) };
    assert!(broken.path.ends_with("d.safetensors"));
    assert!(matches!(broken.reason.cause(), Error::Truncated { expected: 8, found: 5 }));
    assert!(broken.reason.to_string().contains("d.safetensors: the file ends after 5 bytes"));
    assert_eq!(registry.get("zh-TW").unwrap().opened.pack.meta.language, "zh_TW");
    assert_eq!(registry.get("TR SPOKEN").unwrap().opened.pack.meta.language, "tr");
    assert_eq!(registry.get("zh_WT").unwrap_err().suggestion.as_deref(), Some("zh_TW"));
}

#[test]
fn two_packs_of_one_name_are_refused_with_both_files() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "one.safetensors", "zh_TW");
    put(folder.path(), "two.safetensors", "zh-tw");
    let error = Registry::open(folder.path()).unwrap_err();
    assert!(
        matches!(&error, Error::DuplicateLanguage { first, second, .. }
        if first.ends_with("one.safetensors") && second.ends_with("two.safetensors")),
        "{error}"
    );
    // An alias of one that is the id of the other is no better.
    std::fs::remove_file(folder.path().join("two.safetensors")).unwrap();
    let mut other = pack("cmn_Hans", 1);
    other.meta.aliases = vec!["zh-TW".into()];
    write(&folder.path().join("two.safetensors"), &other, Codec::Raw).unwrap();
    assert!(matches!(Registry::open(folder.path()), Err(Error::DuplicateLanguage { .. })));
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = Registry::open(Path::new("no/such/folder")).unwrap_err();
    assert!(error.to_string().starts_with("no/such/folder: "), "{error}");
}
