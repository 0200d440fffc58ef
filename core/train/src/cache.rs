//! What the frozen extractor makes of a clip, kept on disk: later runs on the same clips only read it.
//!
//! One safetensors file a clip, `FOLDER/<extractor>/<clip>.<f16|f32>`: the extractor by what it makes of a second of
//! noise (so its weights, its settings and this program's arithmetic all count), the clip by path, size and time of
//! change. Files are written aside and renamed, so runs may share a folder and be killed; one cut short is made anew.
//! Anything in the folder may be deleted at any time; beyond a limit the least recently used is ([`room`]).

use crate::{room, store};
use anyhow::{Context, Result};
use candle_core::{DType, Tensor};
use rand::Rng;
use s3router_core::{audio::RATE_HZ, learn::seeds::stream, model::Backbone};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::UNIX_EPOCH,
};

/// The folder's name beside a pack.
const NAME: &str = "features";

/// A folder of features made by one extractor.
pub struct Cache {
    /// Of this extractor, in the folder of all.
    folder: PathBuf,
    root: PathBuf,
    limit: Option<u64>,
    /// Bytes in the folder of all, as far as this run knows.
    held: AtomicU64,
    /// Set once a write has failed: a full disk costs time, not the run.
    full: AtomicBool,
}

/// Features of a clip and the number of samples they were made of.
pub struct Kept {
    /// `(T, C)`.
    pub features: Tensor,
    /// At 16 kHz.
    pub samples: usize,
}

/// Where features are kept unless said otherwise: beside the pack, so that runs into one folder share them.
pub fn beside(pack: &Path) -> PathBuf {
    pack.parent().map_or_else(|| NAME.into(), |folder| folder.join(NAME))
}

impl Cache {
    /// The features that this backbone's extractor makes, within `root`, which is made, and which shall hold no more
    /// than `limit` bytes.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(root: &Path, backbone: &Backbone, limit: Option<u64>) -> Result<Self> {
        let mut rng = stream(0, "features", 0);
        let noise: Vec<f32> = (0..RATE_HZ).map(|_| rng.random_range(-0.5f32..0.5)).collect();
        let made = backbone.extract(&backbone.prepare(&[&noise])?)?.tensor;
        let bits = made.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        let hash = bits.iter().fold(Sha256::new(), |hash, x| hash.chain_update(x.to_le_bytes()));
        let folder = root.join(&hex(hash)[..16]);
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {} for features", folder.display()))?;
        room::sweep(root);
        let held = AtomicU64::new(limit.map_or(0, |limit| room::make(root, limit)));
        Ok(Self { folder, root: root.into(), limit, held, full: AtomicBool::new(false) })
    }

    /// What is kept of a clip, if it is the clip it was.
    pub fn get(&self, clip: &Path, dtype: DType) -> Option<Kept> {
        let file = self.file(clip, dtype)?;
        let (mut tensors, strings) = store::load(&file).ok()?;
        let samples = strings.get("samples")?.parse().ok()?;
        room::touch(&file);
        Some(Kept { features: tensors.remove("features")?, samples })
    }

    /// Keeps the features of a clip. A disk without room is told once, and nothing more is kept; a tenth of what the
    /// folder holds goes, so that the run's own files find room.
    pub fn put(&self, clip: &Path, kept: &Kept) {
        let Some(path) = self.file(clip, kept.features.dtype()) else { return };
        if self.full.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.write(&path, kept)
            && !self.full.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("no more features are kept in {}: {error:#}", self.folder.display());
            room::make(&self.root, room::held(&self.root).saturating_sub(1));
        }
    }

    /// Not synced as [`store::save`] is: what a crash takes is made anew.
    fn write(&self, path: &Path, kept: &Kept) -> Result<()> {
        let tensors = BTreeMap::from([("features", &kept.features)]);
        let strings = [("samples".to_owned(), kept.samples.to_string())];
        let bytes = safetensors::serialize(tensors, Some(strings.into()))?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&bytes)?;
        file.persist(path)?;
        if let Some(limit) = self.limit {
            let bytes = bytes.len() as u64;
            if self.held.fetch_add(bytes, Ordering::Relaxed) + bytes > limit {
                self.held.store(room::make(&self.root, limit), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn file(&self, clip: &Path, dtype: DType) -> Option<PathBuf> {
        let path = fs::canonicalize(clip).ok()?;
        let about = fs::metadata(&path).ok()?;
        let changed = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        let hash = Sha256::new()
            .chain_update(path.as_os_str().as_encoded_bytes())
            .chain_update(about.len().to_le_bytes())
            .chain_update(changed.as_nanos().to_le_bytes());
        Some(self.folder.join(format!("{}.{}", &hex(hash)[..32], dtype.as_str())))
    }
}

pub(crate) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use s3router_core::model::Config;

    fn backbone(seed: u64) -> Backbone {
        Backbone::random(Config::tiny(), seed, &Device::Cpu).expect("a backbone")
    }

    #[test]
    fn features_come_back_until_the_clip_or_the_extractor_changes() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let clip = dir.path().join("a.wav");
        fs::write(&clip, "audio")?;
        let cache = Cache::open(dir.path(), &backbone(1), None)?;
        assert!(cache.get(&clip, DType::F16).is_none());
        let values = Tensor::new(&[[1f32, 2.0], [3.0, 0.5]], &Device::Cpu)?;
        cache.put(&clip, &Kept { features: values.to_dtype(DType::F16)?, samples: 320 });
        let kept = cache.get(&clip, DType::F16).expect("kept");
        assert_eq!((kept.features.dtype(), kept.samples), (DType::F16, 320));
        assert_eq!(kept.features.to_dtype(DType::F32)?.to_vec2::<f32>()?, values.to_vec2::<f32>()?);
        assert!(cache.get(&clip, DType::F32).is_none(), "another precision is another file");
        assert!(Cache::open(dir.path(), &backbone(1), None)?.get(&clip, DType::F16).is_some());
        assert!(Cache::open(dir.path(), &backbone(2), None)?.get(&clip, DType::F16).is_none());
        fs::write(&clip, "another")?;
        assert!(cache.get(&clip, DType::F16).is_none());
        Ok(())
    }

    #[test]
    fn a_file_cut_short_is_as_good_as_none() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let clip = dir.path().join("a.wav");
        fs::write(&clip, "audio")?;
        let cache = Cache::open(dir.path(), &backbone(1), None)?;
        let features = Tensor::zeros((7, 2), DType::F32, &Device::Cpu)?;
        cache.put(&clip, &Kept { features, samples: 320 });
        let file = cache.file(&clip, DType::F32).context("a name")?;
        let bytes = fs::read(&file)?;
        for cut in [0, 5, bytes.len() - 1] {
            fs::write(&file, &bytes[..cut])?;
            assert!(cache.get(&clip, DType::F32).is_none(), "{cut} bytes");
        }
        Ok(())
    }

    #[test]
    fn a_folder_holds_no_more_than_its_limit_and_the_last_used_stay() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let clip = |n: usize| dir.path().join(format!("{n}.wav"));
        let kept =
            || Kept { features: Tensor::zeros((100, 64), DType::F32, &Device::Cpu).unwrap(), samples: 320 };
        let cache = Cache::open(dir.path(), &backbone(1), Some(4 * 26_000))?;
        for n in 0..12 {
            fs::write(clip(n), "audio")?;
            cache.put(&clip(n), &kept());
            // The clock of files may be coarse.
            std::thread::sleep(std::time::Duration::from_millis(5));
            assert!(cache.get(&clip(0), DType::F32).is_some(), "used again and again, after {n}");
        }
        let there: Vec<_> = (0..12).filter(|&n| cache.get(&clip(n), DType::F32).is_some()).collect();
        assert!((2..=4).contains(&there.len()) && there.contains(&11), "{there:?}");
        Ok(())
    }

    #[test]
    fn a_folder_that_takes_nothing_costs_nothing() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let clip = dir.path().join("a.wav");
        fs::write(&clip, "audio")?;
        let cache = Cache::open(dir.path(), &backbone(1), None)?;
        fs::remove_dir(&cache.folder)?;
        let kept = Kept { features: Tensor::zeros((7, 2), DType::F32, &Device::Cpu)?, samples: 320 };
        cache.put(&clip, &kept);
        assert!(cache.full.load(Ordering::Relaxed) && cache.get(&clip, DType::F32).is_none());
        Ok(())
    }
}
