//! Bytes → pack: one straight, checked read. What opens is what was written.

use crate::{BitMask, Codec, Error, Head, Pack, Result, container::Container, digest, meta, meta::Reading};
use memmap2::MmapMut;
use rayon::prelude::*;
use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

/// The largest pack file we read: XLS-R 2B with attention covered takes a quarter of it.
const MAX_FILE: u64 = 2 << 30;
/// Decoded mask bytes any file may ask for; beyond, [`AMPLIFICATION`] bytes for each of its own.
const MAX_DECODED: usize = 16 << 20;
/// An all-ones mask codes to nearly nothing, so honest files do expand a lot; a 4 KB file stays small.
const AMPLIFICATION: usize = 1024;
/// How far `density` may be from the bits: it is often written with two or three digits.
const DENSITY_TOLERANCE: f64 = 1e-3;
/// Names that checkpoints put before the encoder's own; in memory a weight has none.
const MODEL_PREFIXES: [&str; 4] = ["wav2vec2.", "hubert.", "data2vec_audio.", "wavlm."];

/// A pack as read from a file, and what only the file knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// The pack.
    pub pack: Pack,
    /// SHA-256 (hex) of the whole file: the answer's `pack.sha256`.
    pub sha256: String,
    /// Length of the file.
    pub bytes: u64,
    /// How its masks are coded at rest.
    pub codec: Codec,
    /// Whether the file carries checksums (they were checked). Files made by hand may lack them.
    pub sealed: bool,
}

/// Opens a pack file.
///
/// # Errors
/// [`Error::Io`], or [`Error::InFile`] around what [`open_bytes`] refuses.
pub fn open_path(path: &Path) -> Result<Opened> {
    let io = |source| Error::Io { path: path.into(), source };
    let file = File::open(path).map_err(io)?;
    let about = file.metadata().map_err(io)?;
    if !about.is_file() || about.len() > MAX_FILE {
        let found = if about.is_file() { about.len() } else { 0 };
        return Err(Error::FileSize { limit: MAX_FILE, found }.in_file(path));
    }
    let bytes = read(file, about.len() as usize).map_err(io)?;
    open_bytes(&bytes).map_err(|e| e.in_file(path))
}

/// All `length` bytes of a file. Read, not mapped: a file cut while mapped would kill the process. Into pages of 2 MB
/// where the system grants them: it takes longer to hand out six thousand small ones than to fill them.
fn read(mut file: File, length: usize) -> std::io::Result<MmapMut> {
    let mut bytes = MmapMut::map_anon(length)?;
    #[cfg(target_os = "linux")]
    // A wish: without it the room is as good.
    let _ = bytes.advise(memmap2::Advice::HugePage);
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Opens a pack from the bytes of its file.
///
/// A file without `backbone_sha256` opens as an unbound pack, one without `checksums` as an unsealed
/// one: so are packs written by hand. Everything that is there must be right.
///
/// # Errors
/// Each kind of damage has its own [`Error`] variant.
pub fn open_bytes(bytes: &[u8]) -> Result<Opened> {
    // The file's own hash takes a third of the time and waits for nobody.
    let (opened, sha256) = rayon::join(|| open(bytes), || digest::full(bytes));
    Ok(Opened { sha256, ..opened? })
}

fn open(bytes: &[u8]) -> Result<Opened> {
    let file = Container::read(bytes)?;
    let (meta, reading) = meta::parse(&file.metadata)?;
    let mut seals = Seals::begin(&reading, &file)?;
    let head = read_head(&file, meta.vocab.len(), &mut seals)?;
    let masks = read_masks(&file, &reading, bytes.len(), &mut seals)?;
    seals.end()?;
    check_density(meta.density, &masks, &reading)?;
    Ok(Opened {
        pack: Pack { meta, masks, head },
        sha256: String::new(),
        bytes: bytes.len() as u64,
        codec: reading.codec,
        sealed: reading.checksums.is_some(),
    })
}

/// `head.weight` (V, D) and `head.bias` (V), finite, V symbols.
fn read_head(file: &Container, symbols: usize, seals: &mut Seals) -> Result<Head> {
    let (info, bytes) = file.tensor("head.weight")?;
    expect_dtype("head.weight", info, safetensors::Dtype::F32, "F32")?;
    let &[rows, dim] = info.shape.as_slice() else {
        return Err(shape("head.weight", vec![symbols, 0], &info.shape));
    };
    if rows != symbols {
        return Err(Error::VocabSize { name: "head.weight".into(), expected: symbols, found: rows });
    }
    if dim == 0 {
        return Err(shape("head.weight", vec![symbols, 1], &info.shape));
    }
    seals.check("head.weight", bytes)?;
    let weight = floats("head.weight", bytes)?;

    let (info, bytes) = file.tensor("head.bias")?;
    expect_dtype("head.bias", info, safetensors::Dtype::F32, "F32")?;
    if info.shape.len() == 1 && info.shape[0] != symbols {
        return Err(Error::VocabSize { name: "head.bias".into(), expected: symbols, found: info.shape[0] });
    }
    if info.shape != [symbols] {
        return Err(shape("head.bias", vec![symbols], &info.shape));
    }
    seals.check("head.bias", bytes)?;
    Ok(Head { weight, bias: floats("head.bias", bytes)?, dim })
}

/// A mask as it lies in the file.
struct Coded<'a> {
    tensor: &'a str,
    weight: &'a str,
    bytes: &'a [u8],
    shape: [usize; 2],
    /// Its checksum, if the file is sealed.
    expected: Option<&'a str>,
}

impl Coded<'_> {
    fn decode(&self, codec: Codec) -> Result<BitMask> {
        let [rows, cols] = self.shape;
        let bits = match codec {
            Codec::Raw => self.bytes.to_vec(),
            Codec::Rans => crate::codec::decode(self.tensor, self.bytes, rows * cols.div_ceil(8))?,
        };
        check_seal(self.tensor, self.expected, &bits)?;
        BitMask::from_bytes(self.tensor, rows, cols, bits)
    }
}

/// Every `mask.*`, decoded in parallel; any other tensor is an error.
fn read_masks(
    file: &Container,
    reading: &Reading,
    file_bytes: usize,
    seals: &mut Seals,
) -> Result<BTreeMap<String, BitMask>> {
    let limit = MAX_DECODED.saturating_add(file_bytes.saturating_mul(AMPLIFICATION));
    let mut decoded = 0usize;
    let mut coded = Vec::new();
    for (tensor, info, bytes) in file.tensors().filter(|(name, ..)| !name.starts_with("head.")) {
        let Some(weight) = tensor.strip_prefix("mask.").filter(|w| !w.is_empty()) else {
            return Err(Error::UnknownTensor { name: tensor.into() });
        };
        expect_dtype(tensor, info, safetensors::Dtype::U8, "U8")?;
        let [rows, cols] = mask_shape(tensor, weight, info, reading)?;
        let size = rows.saturating_mul(cols.div_ceil(8));
        decoded = decoded.saturating_add(size);
        if decoded > limit {
            return Err(Error::TooLarge { name: tensor.into(), claimed: decoded, limit });
        }
        coded.push(Coded { tensor, weight, bytes, shape: [rows, cols], expected: seals.take(tensor) });
    }
    let decoded = coded.par_iter().map(|mask| mask.decode(reading.codec)).collect::<Result<Vec<_>>>()?;
    let mut masks = BTreeMap::new();
    for (Coded { tensor, weight, .. }, mask) in coded.iter().zip(decoded) {
        if masks.insert(without_model_prefix(weight).to_owned(), mask).is_some() {
            return Err(Error::DuplicateName { name: (*tensor).into() });
        }
    }
    for weight in reading.shapes.keys() {
        if !masks.contains_key(without_model_prefix(weight)) {
            return Err(Error::MissingTensor { name: format!("mask.{weight}") });
        }
    }
    if let Some((name, ..)) =
        file.tensors().find(|(n, ..)| n.starts_with("head.") && *n != "head.weight" && *n != "head.bias")
    {
        return Err(Error::UnknownTensor { name: name.into() });
    }
    if masks.is_empty() { Err(Error::NoMasks) } else { Ok(masks) }
}

/// `(out, in)` of a mask: from `shapes`, or from a raw tensor whose rows are whole bytes.
fn mask_shape(
    tensor: &str,
    weight: &str,
    info: &safetensors::tensor::TensorInfo,
    reading: &Reading,
) -> Result<[usize; 2]> {
    let [rows, cols] = match (reading.shapes.get(weight), info.shape.as_slice(), reading.codec) {
        (Some(&declared), ..) => declared,
        (None, &[rows, stride], Codec::Raw) => [rows, stride.saturating_mul(8)],
        (None, _, Codec::Raw) => return Err(shape(tensor, vec![0, 0], &info.shape)),
        (None, _, Codec::Rans) => {
            return Err(Error::MissingKey {
                key: "shapes",
                mend: "a coded pack gives [out, in] of every weight there",
            });
        }
    };
    let stride = cols.div_ceil(8);
    if rows == 0 || cols == 0 {
        return Err(shape(tensor, vec![rows.max(1), stride.max(1)], &info.shape));
    }
    match reading.codec {
        Codec::Raw if info.shape != [rows, stride] => Err(shape(tensor, vec![rows, stride], &info.shape)),
        Codec::Rans if info.shape.len() != 1 => {
            Err(shape(tensor, vec![info.shape.iter().product()], &info.shape))
        }
        _ => Ok([rows, cols]),
    }
}

/// The bits must keep the fraction that the metadata claims.
fn check_density(claimed: f64, masks: &BTreeMap<String, BitMask>, reading: &Reading) -> Result<()> {
    let kept: usize = masks.par_iter().map(|(_, mask)| mask.count_ones()).sum();
    let widest: usize = masks.values().map(BitMask::len).sum();
    // Without `shapes`, up to 7 of a row's last bits may be padding: the true width is the backbone's.
    let padding: usize =
        if reading.shapes.is_empty() { masks.values().map(|m| 7 * m.rows()).sum() } else { 0 };
    let lowest = kept as f64 / widest as f64 - DENSITY_TOLERANCE;
    let highest = kept as f64 / (widest - padding).max(1) as f64 + DENSITY_TOLERANCE;
    if (lowest..=highest).contains(&claimed) {
        return Ok(());
    }
    Err(Error::Density { claimed, real: kept as f64 / widest as f64 })
}

/// The checksums of a sealed file: each is used once, and none is left.
struct Seals<'a> {
    left: Option<BTreeMap<&'a str, &'a str>>,
}

impl<'a> Seals<'a> {
    fn begin(reading: &'a Reading, file: &Container) -> Result<Self> {
        let left = reading.checksums.as_ref();
        let mut seals =
            Self { left: left.map(|c| c.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect()) };
        let found = meta::checksum(&file.metadata);
        match seals.left.as_mut().map(|left| left.remove(meta::METADATA).unwrap_or("missing")) {
            Some(expected) if expected != found => {
                Err(Error::MetadataChecksum { expected: expected.into(), found })
            }
            _ => Ok(seals),
        }
    }

    /// The checksum of a tensor, if the file is sealed.
    fn take(&mut self, tensor: &str) -> Option<&'a str> {
        self.left.as_mut().map(|left| left.remove(tensor).unwrap_or("missing"))
    }

    /// Raw bytes of the tensor, whatever the codec.
    fn check(&mut self, tensor: &str, bytes: &[u8]) -> Result<()> {
        check_seal(tensor, self.take(tensor), bytes)
    }

    fn end(self) -> Result<()> {
        match self.left.into_iter().flatten().next() {
            Some((name, _)) => Err(Error::MissingTensor { name: name.into() }),
            None => Ok(()),
        }
    }
}

fn check_seal(tensor: &str, expected: Option<&str>, bytes: &[u8]) -> Result<()> {
    match expected.map(|expected| (expected, digest::short(bytes))) {
        Some((expected, found)) if expected != found => {
            Err(Error::Checksum { name: tensor.into(), expected: expected.into(), found })
        }
        _ => Ok(()),
    }
}

/// `encoder.layers.0…` for `wav2vec2.encoder.layers.0…`.
pub(crate) fn without_model_prefix(weight: &str) -> &str {
    MODEL_PREFIXES.iter().find_map(|prefix| weight.strip_prefix(prefix)).unwrap_or(weight)
}

fn floats(name: &str, bytes: &[u8]) -> Result<Vec<f32>> {
    let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    match values.iter().position(|v| !v.is_finite()) {
        Some(index) => Err(Error::NonFinite { name: name.into(), index, value: values[index] }),
        None => Ok(values),
    }
}

fn shape(name: &str, expected: Vec<usize>, found: &[usize]) -> Error {
    Error::Shape { name: name.into(), expected, found: found.into() }
}

fn expect_dtype(
    name: &str,
    info: &safetensors::tensor::TensorInfo,
    dtype: safetensors::Dtype,
    expected: &'static str,
) -> Result<()> {
    if info.dtype == dtype {
        return Ok(());
    }
    Err(Error::Dtype { name: name.into(), expected, found: format!("{:?}", info.dtype) })
}
