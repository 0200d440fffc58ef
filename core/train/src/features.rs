//! A list → utterances ready to learn from: the frozen extractor runs once per clip, here.

use crate::{
    cache::{Cache, Kept},
    config::Data,
    data::{
        clips::{self, Skipped},
        list::{List, Row},
    },
};
use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use s3router_core::{
    learn::vocab::Vocab,
    model::{Backbone, Features},
};

/// What learning sees of a clip.
#[derive(Clone, Debug)]
pub struct Utterance {
    /// `(T, C)`, the extractor's output, kept on the CPU.
    pub features: Tensor,
    /// T.
    pub frames: usize,
    /// Seconds of audio.
    pub seconds: f64,
    /// Normalised.
    pub text: String,
    /// Symbols of the text; empty until [`label`] has run.
    pub labels: Vec<u32>,
    /// The audio file.
    pub path: std::path::PathBuf,
}

/// Clips decoded at a time; their samples are dropped as soon as features are made of them.
const AT_ONCE: usize = 64;

/// What is at hand of a clip.
enum Found {
    Kept(Kept),
    Samples(Vec<f32>),
}

/// Decodes and extracts a list, in order, or reads what an earlier run kept of it; clips that cannot be used are
/// told apart. `each` is called per clip.
///
/// # Errors
/// Not one usable clip, or the backbone's.
pub fn extract(
    backbone: &Backbone,
    list: &List,
    language: &str,
    data: &Data,
    cache: Option<&Cache>,
    mut each: impl FnMut(),
) -> Result<(Vec<Utterance>, Vec<Skipped>)> {
    let (mut utterances, mut skipped) = (Vec::new(), list.broken.clone());
    let dtype = if data.half_features { DType::F16 } else { DType::F32 };
    let find = |row: &Row| -> Result<(String, Found)> {
        let text = clips::text(row, language, list.unit)?;
        Ok(match cache.and_then(|cache| cache.get(&row.audio, dtype)) {
            Some(kept) => (text, Found::Kept(kept)),
            None => (text, Found::Samples(clips::samples(row, &data.limits)?)),
        })
    };
    for rows in list.rows.chunks(AT_ONCE) {
        let found: Vec<_> = rows.par_iter().map(find).collect();
        for (row, found) in rows.iter().zip(found) {
            each();
            let usable = found.and_then(|(text, found)| {
                let samples = match &found {
                    Found::Kept(kept) => kept.samples,
                    Found::Samples(samples) => samples.len(),
                };
                Ok((text, found, clips::long_enough(samples, &data.limits)?))
            });
            let (text, found, seconds) = match usable {
                Ok(usable) => usable,
                Err(e) => {
                    skipped.push(Skipped { path: row.audio.clone(), reason: format!("{e:#}") });
                    continue;
                }
            };
            let features = match found {
                Found::Kept(kept) => kept.features,
                Found::Samples(samples) => {
                    let kept = Kept { features: of(backbone, &samples, dtype)?, samples: samples.len() };
                    cache.inspect(|cache| cache.put(&row.audio, &kept));
                    kept.features
                }
            };
            let (frames, path) = (features.dim(0)?, row.audio.clone());
            utterances.push(Utterance { features, frames, seconds, text, labels: Vec::new(), path });
        }
    }
    if let (true, Some(first)) = (utterances.is_empty(), skipped.first()) {
        let (n, path) = (skipped.len(), first.path.display());
        bail!("none of {n} clips can be used; the first, {path}: {}", first.reason);
    }
    Ok((utterances, skipped))
}

/// Features `(T, C)` of one clip.
fn of(backbone: &Backbone, samples: &[f32], dtype: DType) -> Result<Tensor> {
    let features = backbone.extract(&backbone.prepare(&[samples])?)?;
    let real = features.tensor.squeeze(0)?.narrow(0, 0, features.lengths[0])?;
    Ok(real.to_dtype(dtype)?.to_device(&Device::Cpu)?.contiguous()?)
}

/// Gives each utterance its labels; those that no CTC path can spell are told apart.
pub fn label(utterances: &mut Vec<Utterance>, vocab: &Vocab) -> Vec<Skipped> {
    let mut skipped = Vec::new();
    utterances.retain_mut(|u| {
        u.labels = vocab.encode(&u.text).0;
        let repeats = u.labels.windows(2).filter(|w| w[0] == w[1]).count();
        let needed = u.labels.len() + repeats;
        let reason = match needed {
            0 => format!("the vocabulary has no symbol of `{}`", u.text),
            n if n > u.frames => {
                format!("{n} frames are needed to spell `{}`, the audio has {}", u.text, u.frames)
            }
            _ => return true,
        };
        skipped.push(Skipped { path: u.path.clone(), reason });
        false
    });
    skipped
}

/// Some utterances side by side on a device, padded with zeros, in f32.
///
/// # Errors
/// None unless the tensor library fails.
pub fn collate<'a>(utterances: impl IntoIterator<Item = &'a Utterance>, device: &Device) -> Result<Features> {
    let utterances: Vec<_> = utterances.into_iter().collect();
    let lengths: Vec<_> = utterances.iter().map(|u| u.frames).collect();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let rows = utterances.iter().map(|u| {
        let padded = u.features.pad_with_zeros(0, 0, longest - u.frames)?;
        padded.to_dtype(DType::F32)
    });
    let tensor = Tensor::stack(&rows.collect::<candle_core::Result<Vec<_>>>()?, 0)?.to_device(device)?;
    Ok(Features { tensor, lengths })
}
