//! Any checkpoint to one clean safetensors directory.

use super::{Checkpoint, source::Source};
use crate::{
    Error, Result,
    model::schema::{SPEC_EMBED, Weights, schema},
};
use candle_core::{Device, Tensor};
use std::{collections::HashMap, fs, path::Path};

/// Writes `source` to the new directory `out`: `model.safetensors` in f32 with Hugging Face's names,
/// the positional convolution's weight norm folded, `config.json`, `preprocessor_config.json`, and head
/// and vocabulary if the checkpoint has them. What the forward pass does not need stays behind.
///
/// Atomic: `out` appears complete or not at all.
///
/// # Errors
/// A source that does not load, an `out` that exists, a disk that refuses.
pub fn convert(source: &Source, out: &Path) -> Result<()> {
    let fail = |path: &Path, e: std::io::Error| Error::Model(format!("{}: {e}", path.display()));
    if out.exists() {
        return Err(Error::Model(format!("{}: exists already; name a new directory", out.display())));
    }
    let checkpoint = source.open()?;
    let config = checkpoint.config()?;
    let (json, preprocessor) = config.to_json()?;
    let weights = Weights::collect(&config, &Device::Cpu, None, |name| checkpoint.parameter(name))?;
    let names = schema(&config).into_iter().map(|(name, _)| name).chain([SPEC_EMBED.into()]);
    let mut tensors: HashMap<String, Tensor> = names
        .filter_map(|name| weights.get(&name).map(|t| (format!("wav2vec2.{name}"), t.clone())))
        .collect();
    tensors.extend(head(&checkpoint)?);

    let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|e| fail(parent, e))?;
    let part = parent.join(format!(
        ".{}.{}.part",
        out.file_name().unwrap_or_default().to_string_lossy(),
        std::process::id()
    ));
    let written = (|| {
        fs::create_dir(&part).map_err(|e| fail(&part, e))?;
        candle_core::safetensors::save(&tensors, part.join("model.safetensors"))?;
        let texts = [
            ("config.json", Some(&json)),
            ("preprocessor_config.json", Some(&preprocessor)),
            ("vocab.json", checkpoint.vocab.as_ref()),
        ];
        for (name, text) in texts {
            let path = part.join(name);
            text.map_or(Ok(()), |text| fs::write(&path, text)).map_err(|e| fail(&path, e))?;
        }
        for file in fs::read_dir(&part).map_err(|e| fail(&part, e))? {
            let synced = file.and_then(|file| fs::File::open(file.path())?.sync_all());
            synced.map_err(|e| fail(&part, e))?;
        }
        fs::rename(&part, out).map_err(|e| fail(out, e))
    })();
    if written.is_err() {
        let _ = fs::remove_dir_all(&part);
    }
    written
}

fn head(checkpoint: &Checkpoint) -> Result<Vec<(String, Tensor)>> {
    let mut found = Vec::new();
    for name in ["lm_head.weight", "lm_head.bias"] {
        found.extend(checkpoint.read(name)?.map(|tensor| (name.to_owned(), tensor)));
    }
    Ok(found)
}
