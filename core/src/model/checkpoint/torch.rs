//! PyTorch checkpoints: the zip container and the older stream, Hugging Face's and fairseq's alike.

use super::{
    file::Entry,
    pickle::{self, Pickle, Value},
};
use candle_core::DType;
use std::{collections::HashMap, io::Cursor};

/// Pickled ten-byte integer at the front of every stream before torch 1.6.
const LEGACY_MAGIC: [u8; 14] = *b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

pub(super) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK")
}

pub(super) fn is_legacy(bytes: &[u8]) -> bool {
    bytes.starts_with(&LEGACY_MAGIC)
}

/// Where each storage lies in the file: start and end.
type Storages = HashMap<String, (usize, usize)>;

/// The tensors of a zip container: `data.pkl` describes, `data/KEY` holds.
pub(super) fn read_zip(bytes: &[u8]) -> Result<Vec<(String, Entry)>, String> {
    let broken = |e: zip::result::ZipError| format!("{e}: is the file complete?");
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
    let mut storages = Storages::new();
    let mut description = None;
    for i in 0..archive.len() {
        let member = archive.by_index_raw(i).map_err(broken)?;
        let name = member.name().map_err(broken)?.into_owned();
        if member.compression() != zip::CompressionMethod::Stored {
            return Err(format!("member `{name}` is compressed, torch.save never does that: save it again"));
        }
        let start =
            member.data_start().and_then(|at| usize::try_from(at).ok()).ok_or("member without data")?;
        let end = usize::try_from(member.size()).ok().and_then(|size| start.checked_add(size));
        let range =
            (start, end.filter(|end| *end <= bytes.len()).ok_or(format!("member `{name}` is cut off"))?);
        match name.rsplit_once('/') {
            Some((_, "data.pkl")) => description = Some(range),
            Some((folder, key)) if folder.ends_with("/data") => {
                storages.insert(key.into(), range);
            }
            _ => {}
        }
    }
    let (start, end) = description.ok_or("no data.pkl inside: a zip, but not one of torch.save")?;
    let pickle = pickle::read(&mut &bytes[start..end])?;
    tensors(&pickle, &storages)
}

/// The tensors of the older stream: four pickles (magic, version, system, the object), the list of
/// storage keys, then each storage as its element count and its bytes.
pub(super) fn read_legacy(bytes: &[u8]) -> Result<Vec<(String, Entry)>, String> {
    let mut rest = bytes;
    for _ in 0..3 {
        pickle::read(&mut rest)?;
    }
    let object = pickle::read(&mut rest)?;
    let keys = pickle::read(&mut rest)?;
    let sizes: HashMap<&str, usize> =
        object.nodes().filter_map(|node| storage(node).map(|(key, _, size)| (key, size))).collect();
    let mut storages = Storages::new();
    let mut at = bytes.len() - rest.len();
    for key in keys.items(keys.root) {
        let Value::Text(key) = *key else { continue };
        let cut = || format!("storage {key} is cut off at byte {at}: is the file complete?");
        let size = *sizes.get(key).ok_or_else(|| format!("storage {key} belongs to no tensor"))?;
        let count = bytes.get(at..at + 8).and_then(|n| n.try_into().ok()).map(u64::from_le_bytes);
        let bytes_long = count.and_then(|n| usize::try_from(n).ok()?.checked_mul(size)).ok_or_else(cut)?;
        let end = (at + 8).checked_add(bytes_long).filter(|end| *end <= bytes.len()).ok_or_else(cut)?;
        storages.insert(key.into(), (at + 8, end));
        at = end;
    }
    tensors(&object, &storages)
}

/// The state dict's tensors: at the root (Hugging Face) or under `model` (fairseq).
fn tensors(pickle: &Pickle<'_>, storages: &Storages) -> Result<Vec<(String, Entry)>, String> {
    let state = pickle.get(pickle.root, "model").unwrap_or(pickle.root);
    let mut found = Vec::new();
    for (name, value) in pickle.entries(state) {
        let Some((entry, key)) = tensor(pickle, value) else { continue };
        let (start, end) =
            storages.get(key).ok_or_else(|| format!("tensor `{name}`: storage {key} is missing"))?;
        let start = start.checked_add(entry.start).filter(|start| start <= end);
        let start = start.ok_or_else(|| format!("tensor `{name}` starts past the end of storage {key}"))?;
        found.push((name.to_owned(), Entry { start, end: *end, ..entry }));
    }
    match found.is_empty() {
        true => Err("the checkpoint holds no dictionary of floating-point tensors".into()),
        false => Ok(found),
    }
}

/// `_rebuild_tensor_v2(storage, offset, size, stride, ...)`, possibly wrapped as a parameter, and its
/// storage's key; the entry starts at the storage's beginning. Anything else is no tensor.
fn tensor<'a>(pickle: &Pickle<'a>, value: Value<'a>) -> Option<(Entry, &'a str)> {
    let called = |value| match pickle.items(value) {
        [Value::Global("torch._utils", function), arguments] => Some((*function, pickle.items(*arguments))),
        _ => None,
    };
    let (mut function, mut arguments) = called(value)?;
    if function == "_rebuild_parameter" {
        (function, arguments) = called(*arguments.first()?)?;
    }
    let ("_rebuild_tensor_v2", [id, offset, shape, strides, ..]) = (function, arguments) else { return None };
    let (key, dtype, size) = storage(pickle.items(*pickle.items(*id).first()?))?;
    let entry = Entry {
        dtype: dtype?,
        shape: pickle.sizes(*shape)?,
        strides: Some(pickle.sizes(*strides)?),
        start: offset.size()?.checked_mul(size)?,
        end: 0,
    };
    (Some(entry.shape.len()) == entry.strides.as_ref().map(Vec::len)).then_some((entry, key))
}

/// `('storage', torch.FloatStorage, key, device, count)`: key, type if it is one of floats, bytes each.
fn storage<'a>(id: &[Value<'a>]) -> Option<(&'a str, Option<DType>, usize)> {
    let [Value::Text("storage"), Value::Global("torch", class), Value::Text(key), ..] = id else {
        return None;
    };
    let (dtype, size) = match *class {
        "FloatStorage" => (Some(DType::F32), 4),
        "DoubleStorage" => (Some(DType::F64), 8),
        "HalfStorage" => (Some(DType::F16), 2),
        "BFloat16Storage" => (Some(DType::BF16), 2),
        "LongStorage" => (None, 8),
        "IntStorage" => (None, 4),
        "ShortStorage" => (None, 2),
        "CharStorage" | "ByteStorage" | "BoolStorage" => (None, 1),
        _ => return None,
    };
    Some((key, dtype, size))
}
