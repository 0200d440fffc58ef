//! Tensors and strings in one safetensors file, written whole or not at all.

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    path::Path,
};

/// Tensors by name.
pub type Tensors = HashMap<String, Tensor>;

/// Writes a temporary file beside `path`, syncs it, renames it over `path`.
///
/// # Errors
/// The disk is full or the folder not writable: what stood at `path` still stands.
pub fn save(path: &Path, tensors: BTreeMap<String, Tensor>, strings: &[(&str, String)]) -> Result<()> {
    let metadata = strings.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
    let bytes = safetensors::serialize(tensors, Some(metadata))?;
    write(path, &bytes)
}

/// Replaces a file whole.
///
/// # Errors
/// As [`save`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let replace = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    replace().with_context(|| {
        format!(
            "cannot write {} ({} bytes); make room or rights, then run the same command again",
            path.display(),
            bytes.len()
        )
    })
}

/// Reads what [`save`] wrote.
///
/// # Errors
/// No such file, or not a safetensors file.
pub fn load(path: &Path) -> Result<(Tensors, HashMap<String, String>)> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let broken = || format!("{} is no safetensors file, or is cut short", path.display());
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).with_context(broken)?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).with_context(broken)?;
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_and_strings_come_back() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("x.safetensors");
        let t = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu)?;
        save(&path, [("t".to_owned(), t.clone())].into(), &[("note", "ü".into())])?;
        let (tensors, strings) = load(&path)?;
        assert_eq!(tensors["t"].to_vec2::<f32>()?, t.to_vec2::<f32>()?);
        assert_eq!(strings["note"], "ü");
        Ok(())
    }

    #[test]
    fn what_cannot_be_written_leaves_the_old_file_whole() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let taken = dir.path().join("taken");
        std::fs::create_dir(&taken)?;
        std::fs::write(taken.join("inside"), "x")?;
        assert!(
            write(&taken, b"new").expect_err("a folder stands there").to_string().contains("cannot write")
        );
        assert!(write(&dir.path().join("none/x"), b"new").is_err());
        assert_eq!(std::fs::read_dir(dir.path())?.count(), 1, "no temporary file is left");
        Ok(())
    }
}
