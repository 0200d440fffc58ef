//! Named recipes, and how a TOML file goes over one: the way to a [`TrainConfig`].

use crate::config::TrainConfig;
use anyhow::{Context, Result, bail};
use std::path::Path;

/// The recipes of the paper's README and a laptop's, by name.
pub const PRESETS: [(&str, &str); 5] = [
    ("laptop", include_str!("../presets/laptop.toml")),
    ("librispeech-1h", include_str!("../presets/librispeech-1h.toml")),
    ("data2vec-1h", include_str!("../presets/data2vec-1h.toml")),
    ("xlsr-common-voice", include_str!("../presets/xlsr-common-voice.toml")),
    ("prune-70", include_str!("../presets/prune-70.toml")),
];

/// Every setting with its default and its meaning, as TOML.
pub const SETTINGS: &str = include_str!("../presets/settings.toml");

impl TrainConfig {
    /// A preset, overlaid with a TOML file that may name any part of it.
    ///
    /// # Errors
    /// An unknown preset or key: what there is.
    pub fn read(preset: &str, file: Option<&Path>) -> Result<Self> {
        let Some((_, text)) = PRESETS.iter().find(|(name, _)| *name == preset) else {
            bail!("no preset `{preset}`: there is {}", PRESETS.map(|(name, _)| name).join(", "));
        };
        let mut table: toml::Table = text.parse().with_context(|| format!("preset {preset}"))?;
        let mut from = format!("preset {preset}");
        if let Some(path) = file {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            overlay(&mut table, text.parse().with_context(|| format!("{} is not TOML", path.display()))?);
            from = path.display().to_string();
        }
        table.try_into().with_context(|| format!("{from} has a setting that does not exist or does not fit"))
    }
}

fn overlay(base: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(over)) => overlay(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3router_core::learn::{init::InitScore, scores::Density};

    #[test]
    fn every_preset_reads_and_checks() {
        for (name, _) in PRESETS {
            TrainConfig::read(name, None).and_then(|c| c.check()).unwrap_or_else(|e| panic!("{name}: {e:#}"));
        }
    }

    #[test]
    fn the_presets_are_the_papers_recipes() -> Result<()> {
        let xlsr = TrainConfig::read("xlsr-common-voice", None)?;
        assert_eq!(xlsr.mask.density, Density::Global(0.94));
        assert_eq!((xlsr.updates.count, xlsr.augment.time.prob), (13_000, 0.75));
        let prune = TrainConfig::read("prune-70", None)?;
        assert_eq!(prune.mask.init, InitScore::WeightMagnitudeWithScale(1.0));
        assert_eq!(String::from(prune.mask.covers), "ffn+attention");
        assert_eq!(TrainConfig::read("data2vec-1h", None)?.mask.init, InitScore::KaimingUniform);
        Ok(())
    }

    #[test]
    fn a_file_overrides_single_settings_and_unknown_ones_are_named() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("my.toml");
        std::fs::write(&file, "[updates]\ncount = 7\n")?;
        let config = TrainConfig::read("librispeech-1h", Some(&file))?;
        assert_eq!((config.updates.count, config.updates.score_rate), (7, 5e-5));
        std::fs::write(&file, "[updates]\ncuont = 7\n")?;
        let error = format!("{:#}", TrainConfig::read("laptop", Some(&file)).expect_err("a misspelt key"));
        assert!(error.contains("cuont"), "{error}");
        assert!(
            TrainConfig::read("desktop", None).expect_err("no such preset").to_string().contains("laptop")
        );
        Ok(())
    }

    #[test]
    fn the_list_of_settings_is_whole_and_tells_the_defaults() -> Result<()> {
        fn keys(table: &toml::Table, under: &str, all: &mut Vec<String>) {
            for (key, value) in table {
                let name = format!("{under}{key}");
                match value {
                    toml::Value::Table(inner) => keys(inner, &format!("{name}."), all),
                    _ => all.push(name),
                }
            }
        }
        let sorted = |table: &toml::Table| {
            let mut all = Vec::new();
            keys(table, "", &mut all);
            all.sort();
            all
        };
        let (default, told) = (TrainConfig::default(), SETTINGS.parse::<toml::Table>()?);
        assert_eq!(sorted(&told), sorted(&toml::Table::try_from(&default)?));
        assert_eq!(told.try_into::<TrainConfig>()?, default);
        // What is off has no value to write down: with the sign of a comment gone it is on.
        let on: String = SETTINGS
            .lines()
            .map(|l| l.strip_prefix("# ").filter(|l| l.contains(" = ")).unwrap_or(l))
            .map(|l| format!("{l}\n"))
            .collect();
        let on: TrainConfig = on.parse::<toml::Table>()?.try_into()?;
        assert_eq!(
            (on.updates.max_minutes, on.updates.clip, on.data.first),
            (Some(60.0), Some(1.0), Some(1000))
        );
        Ok(())
    }

    #[test]
    fn settings_of_every_form_are_read() -> Result<()> {
        use s3router_core::learn::{scores::Structure, topk::Estimator};
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("my.toml");
        let read = |text: &str| -> Result<TrainConfig> {
            std::fs::write(&file, text)?;
            TrainConfig::read("laptop", Some(&file))
        };
        let config = read(
            "[mask]\ndensity = [0.9, 0.8]\nestimator = \"sigmoid\"\nstructure = \"rows\"\n[also]\nnorms = true\n",
        )?;
        assert_eq!(config.mask.density, Density::Layers(vec![0.9, 0.8]));
        assert_eq!((config.mask.estimator, config.mask.structure), (Estimator::Sigmoid, Structure::Rows));
        assert!(!config.keeps_backbone() && TrainConfig::default().keeps_backbone());
        let parts = read("[mask]\ndensity = { ffn = 0.9, attention = 0.7 }\n")?.mask.density;
        assert_eq!(parts, Density::Parts { ffn: 0.9, attention: 0.7 });
        for wrong in ["density = 8.0", "density = [0.5, -1.0]", "density = { ffn = 0.9, attention = 70.0 }"] {
            let error = read(&format!("[mask]\n{wrong}\n"))?.check().expect_err(wrong).to_string();
            assert!(error.contains("--sparsity"), "{error}");
        }
        assert!(read("[updates.schedule]\nlast = 0.0\n")?.check().is_err());
        let scaled = read("[mask]\ninit = { weight_magnitude_with_scale = 2.0 }\n")?;
        assert_eq!(scaled.mask.init, InitScore::WeightMagnitudeWithScale(2.0));
        let flat =
            read("[mask]\nestimator = \"sigmoid\"\n")?.check().expect_err("no gradient that far from 0");
        assert!(flat.to_string().contains("raised_scores = false"), "{flat}");
        Ok(())
    }

    #[test]
    fn a_config_survives_its_own_json() -> Result<()> {
        for sparsity in (0..100).map(|n| f64::from(n) / 100.0) {
            let mut config = TrainConfig::default();
            config.mask.density = Density::Global(1.0 - sparsity);
            assert_eq!(serde_json::from_str::<TrainConfig>(&serde_json::to_string(&config)?)?, config);
        }
        for (name, _) in PRESETS {
            let config = TrainConfig::read(name, None)?;
            assert_eq!(serde_json::from_str::<TrainConfig>(&serde_json::to_string(&config)?)?, config);
        }
        Ok(())
    }
}
