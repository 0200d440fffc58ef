//! Pack → file: atomic and deterministic. Equal packs are equal files, and a killed writer leaves the
//! old file whole.

use crate::{Codec, Error, Opened, Pack, Result, codec, digest, meta, open_bytes};
use safetensors::Dtype;
use std::{borrow::Cow, collections::BTreeMap, fs::File, io::Write, path::Path};

/// The bytes of a pack's file: sealed (with checksums), its tensors in the order safetensors prescribes.
///
/// # Errors
/// Whatever [`open_bytes`] would refuse of the result: what cannot be opened is not written.
pub fn to_bytes(pack: &Pack, coder: Codec) -> Result<Vec<u8>> {
    let names: Vec<String> = pack.masks.keys().map(|weight| format!("mask.{weight}")).collect();
    let weight = le_bytes(&pack.head.weight);
    let bias = le_bytes(&pack.head.bias);
    let (rows, dim) = (pack.head.bias.len(), pack.head.dim);

    let shapes = pack.masks.iter().map(|(w, m)| (w.as_str(), [m.rows(), m.cols()])).collect();
    let mut metadata = meta::strings(&pack.meta, coder, &shapes);
    let mut checksums = BTreeMap::from([
        (meta::METADATA, meta::checksum(&metadata)),
        ("head.bias", digest::short(&bias)),
        ("head.weight", digest::short(&weight)),
    ]);
    // Four-byte tensors first, so that every tensor is aligned; then by name.
    let mut tensors = vec![
        ("head.bias", Dtype::F32, vec![rows], Cow::Owned(bias)),
        ("head.weight", Dtype::F32, vec![rows, dim], Cow::Owned(weight)),
    ];
    for (name, mask) in names.iter().zip(pack.masks.values()) {
        checksums.insert(name, digest::short(mask.bytes()));
        tensors.push(match coder {
            Codec::Raw => (name, Dtype::U8, vec![mask.rows(), mask.stride()], Cow::Borrowed(mask.bytes())),
            Codec::Rans => {
                let stream = codec::encode(mask.bytes());
                (name, Dtype::U8, vec![stream.len()], Cow::Owned(stream))
            }
        });
    }
    metadata.insert("checksums".into(), meta::to_json(&checksums));

    let bytes = assemble(&metadata, &tensors);
    open_bytes(&bytes)?;
    Ok(bytes)
}

/// Writes a pack: a temporary file in the same folder, synced, then renamed over `path`.
///
/// # Errors
/// [`Error::Io`] (the old file is untouched), or what [`to_bytes`] refuses.
pub fn write(path: &Path, pack: &Pack, codec: Codec) -> Result<Opened> {
    let bytes = to_bytes(pack, codec).map_err(|e| e.in_file(path))?;
    replace(path, &bytes).map_err(|source| Error::Io { path: path.into(), source })?;
    Ok(Opened {
        pack: pack.clone(),
        sha256: digest::full(&bytes),
        bytes: bytes.len() as u64,
        codec,
        sealed: true,
    })
}

/// Writes bytes that [`open_bytes`] has accepted as they are: appears complete or not at all.
///
/// # Errors
/// [`Error::Io`]; the old file is untouched.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes).map_err(|source| Error::Io { path: path.into(), source })
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".pack-").suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The rename itself must survive a power cut; folders can be synced on Unix only.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

type Tensor<'a> = (&'a str, Dtype, Vec<usize>, Cow<'a, [u8]>);

/// The container, spelled here because the crate's own writer takes metadata in hash order.
fn assemble(metadata: &BTreeMap<String, String>, tensors: &[Tensor]) -> Vec<u8> {
    let mut entries = vec![format!("\"__metadata__\":{}", meta::to_json(metadata))];
    let mut end = 0;
    for (name, dtype, shape, data) in tensors {
        let offsets = [end, end + data.len()];
        end = offsets[1];
        let info = serde_json::json!({ "data_offsets": offsets, "dtype": dtype, "shape": shape });
        entries.push(format!("{}:{info}", meta::to_json(name)));
    }
    let mut header = format!("{{{}}}", entries.join(","));
    let padding = header.len().next_multiple_of(8) - header.len();
    header.extend(std::iter::repeat_n(' ', padding));

    let mut bytes = Vec::with_capacity(8 + header.len() + end);
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header.as_bytes());
    for (.., data) in tensors {
        bytes.extend(data.as_ref());
    }
    bytes
}

fn le_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
