//! The safetensors container, read more strictly than the format demands.
//!
//! The safetensors crate keeps the last of two equal names and does not say which tensor is short.
//! A pack must be exact, so the header is walked here first and the crate confirms the result.

use crate::{Error, Result};
use safetensors::{SafeTensors, tensor::TensorInfo};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use std::{collections::BTreeMap, fmt, marker::PhantomData};

/// A vocabulary of 100,000 symbols takes about 1 MB of header; nothing honest comes near this.
const MAX_HEADER: u64 = 8 << 20;

/// Metadata and tensors of one file; every byte belongs to exactly one tensor.
#[derive(Debug)]
pub(crate) struct Container<'a> {
    pub(crate) metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, (TensorInfo, &'a [u8])>,
}

impl<'a> Container<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self> {
        let truncated = |expected| Error::Truncated { expected, found: bytes.len() as u64 };
        let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return Err(truncated(8)) };
        let length = u64::from_le_bytes(*length);
        if length > MAX_HEADER {
            return Err(Error::HeaderSize { found: length, limit: MAX_HEADER });
        }
        let Some((header, data)) = rest.split_at_checked(length as usize) else {
            return Err(truncated(8 + length));
        };
        let header: Header = serde_json::from_slice(header).map_err(|e| Error::HeaderJson(e.to_string()))?;
        let metadata = unique(header.metadata)?;
        let tensors = lay_out(unique(header.tensors)?, data, 8 + length)?;
        SafeTensors::deserialize(bytes).map_err(|e| Error::Container(e.to_string()))?;
        Ok(Self { metadata, tensors })
    }

    /// Tensors in the order of their names.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&str, &TensorInfo, &'a [u8])> {
        self.tensors.iter().map(|(name, (info, data))| (name.as_str(), info, *data))
    }

    pub(crate) fn tensor(&self, name: &str) -> Result<(&TensorInfo, &'a [u8])> {
        let (info, data) =
            self.tensors.get(name).ok_or_else(|| Error::MissingTensor { name: name.into() })?;
        Ok((info, data))
    }
}

/// Gives each tensor its bytes: in order of offset they must cover the data without hole or overlap.
fn lay_out(
    tensors: BTreeMap<String, TensorInfo>,
    data: &[u8],
    data_start: u64,
) -> Result<BTreeMap<String, (TensorInfo, &[u8])>> {
    let mut by_offset: Vec<_> = tensors.into_iter().collect();
    by_offset.sort_by_key(|(_, info)| info.data_offsets);
    let mut end = 0;
    let mut laid_out = BTreeMap::new();
    for (name, info) in by_offset {
        let (from, to) = info.data_offsets;
        if from != end {
            return Err(Error::Hole { name, expected: end, found: from });
        }
        let elements = info.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let expected = elements.and_then(|n| n.checked_mul(info.dtype.bitsize())).map(|bits| bits / 8);
        let found = to.saturating_sub(from);
        if expected != Some(found) {
            let expected = expected.unwrap_or(usize::MAX);
            return Err(Error::TensorSize { name, shape: info.shape, expected, found });
        }
        let Some(bytes) = data.get(from..to) else {
            let expected = data_start.saturating_add(to as u64);
            return Err(Error::Truncated { expected, found: data_start + data.len() as u64 });
        };
        end = to;
        laid_out.insert(name, (info, bytes));
    }
    if end != data.len() {
        return Err(Error::TrailingBytes { end: data_start + end as u64, extra: (data.len() - end) as u64 });
    }
    Ok(laid_out)
}

/// The header with every pair as it stands in the file, so that equal names can be seen.
#[derive(Debug)]
struct Header {
    metadata: Vec<(String, String)>,
    tensors: Vec<(String, TensorInfo)>,
}

/// A JSON object as the list of its pairs.
struct Pairs<V>(Vec<(String, V)>);

fn unique<V>(pairs: Vec<(String, V)>) -> Result<BTreeMap<String, V>> {
    let mut map = BTreeMap::new();
    for (name, value) in pairs {
        if map.contains_key(&name) {
            return Err(Error::DuplicateName { name });
        }
        map.insert(name, value);
    }
    Ok(map)
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReadPairs<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for ReadPairs<V> {
            type Value = Pairs<V>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<V>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(ReadPairs(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReadHeader;
        impl<'de> Visitor<'de> for ReadHeader {
            type Value = Header;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header { metadata: Vec::new(), tensors: Vec::new() };
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        header.metadata.append(&mut map.next_value::<Pairs<String>>()?.0);
                    } else {
                        header.tensors.push((name, map.next_value()?));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(ReadHeader)
    }
}
