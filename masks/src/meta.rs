//! The strings of `__metadata__`: parsed and checked on the way in, spelled canonically on the way out.

use crate::{Codec, Error, Kind, Meta, Result, language};
use serde_json::Value;
use std::collections::BTreeMap;

/// The format this program reads and writes.
pub const FORMAT: &str = "s3router-pack/1";
/// How checksums are made. A second key, so that a damaged `checksums` key cannot pass for an unsealed pack.
const SEALED_WITH: &str = "sha256/16";
/// The key under which `checksums` seals all other metadata.
pub(crate) const METADATA: &str = "__metadata__";

type Strings = BTreeMap<String, String>;

/// What the metadata says beside [`Meta`]: how to read the tensors.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) codec: Codec,
    /// `(out, in)` by weight name; absent where `in` is 8 times the bytes of a row.
    pub(crate) shapes: BTreeMap<String, [usize; 2]>,
    /// By tensor name, and `__metadata__`; `None` for a pack that was never sealed.
    pub(crate) checksums: Option<Strings>,
}

pub(crate) fn parse(strings: &Strings) -> Result<(Meta, Reading)> {
    let format = strings.get("format");
    if format.map(String::as_str) != Some(FORMAT) {
        return Err(Error::Format { expected: FORMAT, found: format.cloned() });
    }
    let meta = Meta {
        language: language_id(required(strings, "language", "the id that requests name, such as `tr`")?)?,
        aliases: strings.get("aliases").map_or(Ok(Vec::new()), |text| aliases(text))?,
        kind: kind(required(strings, "kind", "write `ctc` or `classifier`")?)?,
        backbone_sha256: strings.get("backbone_sha256").map(|text| sha256_hex(text)).transpose()?,
        density: density(required(strings, "density", "the fraction of weights kept, such as `0.92`")?)?,
        covers: required(strings, "covers", "write `ffn` or `ffn+attention`")?.into(),
        vocab: json(
            "vocab",
            required(strings, "vocab", "a JSON array, the blank first")?,
            "a JSON array of strings",
        )?,
        word_separator: strings.get("word_separator").filter(|text| !text.is_empty()).cloned(),
        training: strings.get("training").map_or(Ok(Value::Null), |text| json("training", text, "JSON"))?,
        license: strings.get("license").cloned(),
    };
    if meta.kind == Kind::Ctc {
        required(
            strings,
            "word_separator",
            "the symbol between words, or nothing for scripts without spaces",
        )?;
    }
    check(&meta)?;
    if let Some(how) = strings.get("sealed_with") {
        if how != SEALED_WITH {
            return Err(bad("sealed_with", how, "`sha256/16`"));
        }
        required(strings, "checksums", "the pack was sealed and lost its seals: copy it again")?;
    }
    let reading = Reading {
        codec: Codec::from_name(required(strings, "codec", "write `raw`")?)?,
        shapes: strings.get("shapes").map_or(Ok(BTreeMap::new()), |text| {
            json("shapes", text, "a JSON object of [out, in] by weight name")
        })?,
        checksums: strings
            .get("checksums")
            .map(|text| json("checksums", text, "a JSON object of hex strings by tensor name"))
            .transpose()?,
    };
    Ok((meta, reading))
}

/// What must hold of any pack's metadata, read or about to be written.
pub(crate) fn check(meta: &Meta) -> Result<()> {
    language_id(&meta.language)?;
    if let Some(hex) = &meta.backbone_sha256 {
        sha256_hex(hex)?;
    }
    if !(0.0..=1.0).contains(&meta.density) {
        return Err(bad("density", &meta.density.to_string(), "a fraction from 0 to 1"));
    }
    check_symbols(&meta.vocab, meta.word_separator.as_deref())
}

/// Whether these can be the symbols of a pack, the blank first.
///
/// # Errors
/// None at all, one twice, or a separator that is none of them.
pub fn check_symbols(vocab: &[String], separator: Option<&str>) -> Result<()> {
    if vocab.is_empty() {
        return Err(bad("vocab", "[]", "at least one symbol"));
    }
    let mut seen = BTreeMap::new();
    for (second, symbol) in vocab.iter().enumerate() {
        if let Some(first) = seen.insert(symbol.as_str(), second) {
            return Err(Error::DuplicateSymbol { symbol: symbol.clone(), first, second });
        }
    }
    match separator {
        Some(separator) if !seen.contains_key(separator) => {
            Err(Error::Separator { separator: separator.into(), symbols: vocab.len() })
        }
        _ => Ok(()),
    }
}

/// The metadata of a file, without its checksums.
pub(crate) fn strings(meta: &Meta, codec: Codec, shapes: &BTreeMap<&str, [usize; 2]>) -> Strings {
    let mut strings = Strings::new();
    let mut set = |key: &str, value: String| drop(strings.insert(key.into(), value));
    set("format", FORMAT.into());
    set("language", meta.language.clone());
    set("kind", if meta.kind == Kind::Ctc { "ctc" } else { "classifier" }.into());
    set("density", meta.density.to_string());
    set("covers", meta.covers.clone());
    set("vocab", to_json(&meta.vocab));
    set("word_separator", meta.word_separator.clone().unwrap_or_default());
    set("codec", codec.name().into());
    set("shapes", to_json(shapes));
    set("sealed_with", SEALED_WITH.into());
    if !meta.aliases.is_empty() {
        set("aliases", to_json(&meta.aliases));
    }
    if let Some(hex) = &meta.backbone_sha256 {
        set("backbone_sha256", hex.clone());
    }
    if meta.training != Value::Null {
        set("training", to_json(&sorted(&meta.training)));
    }
    if let Some(license) = &meta.license {
        set("license", license.clone());
    }
    strings
}

/// SHA-256 over `key NUL value NUL` of every metadata pair but `checksums`, in the order of the keys.
pub(crate) fn checksum(strings: &Strings) -> String {
    let mut bytes = Vec::new();
    for (key, value) in strings.iter().filter(|(key, _)| *key != "checksums") {
        for text in [key, value] {
            bytes.extend(text.as_bytes());
            bytes.push(0);
        }
    }
    crate::digest::short(&bytes)
}

/// JSON text of our own types, whose keys are all strings.
pub(crate) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).unwrap_or_default().to_string()
}

fn required<'a>(strings: &'a Strings, key: &'static str, mend: &'static str) -> Result<&'a str> {
    strings.get(key).map(String::as_str).ok_or(Error::MissingKey { key, mend })
}

fn bad(key: &'static str, found: &str, expected: &'static str) -> Error {
    let short: String = found.chars().take(60).collect();
    Error::BadValue { key, found: if short.len() < found.len() { short + "…" } else { short }, expected }
}

fn json<T: serde::de::DeserializeOwned>(key: &'static str, text: &str, expected: &'static str) -> Result<T> {
    serde_json::from_str(text).map_err(|_| bad(key, text, expected))
}

/// The canonical id of a language that a pack can be written for.
///
/// # Errors
/// Characters that cannot stand in a file name, a query parameter or a metric label.
pub fn language_id(text: &str) -> Result<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if text.is_empty() || text.len() > 64 || !text.chars().all(fits) {
        return Err(bad("language", text, "1 to 64 letters, digits, `_` or `-`"));
    }
    Ok(language::canonical(text))
}

fn aliases(text: &str) -> Result<Vec<String>> {
    if text.trim_start().starts_with('[') {
        return json("aliases", text, "a JSON array of names");
    }
    Ok(text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect())
}

fn kind(text: &str) -> Result<Kind> {
    match text {
        "ctc" => Ok(Kind::Ctc),
        "classifier" => Ok(Kind::Classifier),
        _ => Err(bad("kind", text, "`ctc` or `classifier`")),
    }
}

fn density(text: &str) -> Result<f64> {
    text.trim().parse().map_err(|_| bad("density", text, "a fraction from 0 to 1"))
}

fn sha256_hex(text: &str) -> Result<String> {
    let lower = text.to_ascii_lowercase();
    if lower.len() != 64 || !lower.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(bad("backbone_sha256", text, "64 hexadecimal digits"));
    }
    Ok(lower)
}

/// Objects with sorted keys, whichever map another crate made serde_json use.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let by_key: BTreeMap<_, _> = map.iter().map(|(k, v)| (k.clone(), sorted(v))).collect();
            Value::Object(by_key.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        plain => plain.clone(),
    }
}
