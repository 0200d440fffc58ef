//! The command line: flags are the reference documentation.

use crate::config::{Method, TrainConfig};
use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};
use s3router_core::{
    Precision,
    device::DeviceChoice,
    learn::scores::{Covers, Density},
    model::Source,
};
use std::path::PathBuf;

/// Learns a language's mask on a shared speech backbone.
///
/// A list is `path<TAB>text` per line (paths relative to the list), a Common Voice TSV with `clips/` beside
/// it, a fairseq manifest with its .ltr or .phn, or a LibriSpeech folder: recognised by its content.
#[derive(Debug, Parser)]
#[command(name = "s3router-train", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Learns a mask and a head from recordings and texts, and writes them as a pack.
    ///
    /// Writes PACK, and beside it a folder (tr.run for tr.safetensors) with the log (log.jsonl), the learning curve (curve.svg),
    /// the clips left out (skipped.jsonl) and the checkpoint. The same command goes on after a kill.
    Run(RunArgs),
    /// Plain fine-tuning of all transformer weights: the baseline, and step 1 of pruning.
    Finetune(RunArgs),
    /// Learns a sparse mask of a fine-tuned model (--start, made by `finetune`): step 2 of pruning.
    Prune(RunArgs),
    /// Word and character error rates of a pack on a list it has never seen.
    Evaluate(EvaluateArgs),
    /// Fits what makes a word's confidence the probability that it is right, and several packs' sureness
    /// comparable, so that `/identify` tells their languages apart. Judges both.
    ///
    /// Fitted on --valid, judged on --test: keep the two apart. `{}` in a path is the pack's language. --write
    /// keeps the fit in the packs, where the server finds it; --plot draws reliability diagrams.
    #[command(after_help = "\
Example:
  s3router-train calibrate --packs packs --valid 'data/{}/valid.tsv' --test 'data/{}/test.tsv' --write")]
    Calibrate(CalibrateArgs),
    /// Makes a pack of the best moment of a run that was stopped before its end.
    Export(ExportArgs),
    /// Prints every setting of a run with its default and its meaning, as TOML for `run --config`.
    Settings,
}

/// Flags of a run.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Training list. What the extractor makes of it stays in memory: 18 GB for 100 h, or twice that without
    /// `half_features`.
    #[arg(long, value_name = "LIST")]
    pub train: PathBuf,
    /// Validation list: selects the best moment. Keep your test list out of the run.
    #[arg(long, value_name = "LIST")]
    pub valid: PathBuf,
    /// Language id, such as `tr` or `zh_TW`: decides how text is lower-cased and split.
    #[arg(long)]
    pub language: String,
    /// `demo`, a checkpoint directory or file, or `hf:ORG/NAME`.
    #[arg(long, default_value = "demo")]
    pub backbone: Source,
    /// The pack to write; a weights file where the backbone itself changes (finetune, prune, bitfit, delta1), which
    /// `evaluate` and --start read and no server does.
    #[arg(long, value_name = "PACK")]
    pub out: PathBuf,
    /// Recipe: laptop, librispeech-1h, data2vec-1h, xlsr-common-voice or prune-70 [default: laptop; prune: prune-70].
    #[arg(long)]
    pub preset: Option<String>,
    /// TOML file whose settings replace the preset's; any part of them. `s3router-train settings` prints them all.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What is learnt: the mask, or one of the controls.
    #[arg(long, value_enum)]
    pub method: Option<Method>,
    /// Fraction of covered weights dropped, 0 to 1.
    #[arg(long)]
    pub sparsity: Option<f64>,
    /// Weights with a mask: ffn, attention and projection, joined by +.
    #[arg(long)]
    pub covers: Option<String>,
    /// Rounding of the factors of a step's matrix products; `auto` is bf16 where the CPU (AMX, AVX-512 BF16) or the GPU has it
    /// [default: the preset's, f32].
    #[arg(long, value_name = "auto|f32|bf16")]
    pub precision: Option<Precision>,
    /// Where to learn; `auto` is the first GPU, if this build and this machine have one.
    #[arg(long, value_name = "auto|cpu|cuda:N", default_value_t)]
    pub device: DeviceChoice,
    /// Keeps the input of each layer only, and computes the rest again going back: slower, in less memory, for long
    /// audio and large backbones.
    #[arg(long)]
    pub checkpoint_activations: bool,
    /// Equal seeds give equal runs.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Updates of the run.
    #[arg(long)]
    pub updates: Option<usize>,
    /// Minutes in which the run shall end: after some updates their number is lowered to what fits.
    #[arg(long, value_name = "M")]
    pub max_minutes: Option<f64>,
    /// Another run's pack or weights to start from: its mask, its weights, its head if the symbols are the same.
    #[arg(long, value_name = "FILE")]
    pub start: Option<PathBuf>,
    /// Symbols of the head as a JSON array, the blank first [default: counted from the training text].
    #[arg(long, value_name = "FILE")]
    pub vocab: Option<PathBuf>,
    /// Forgets an earlier checkpoint of the same --out.
    #[arg(long)]
    pub fresh: bool,
    /// Folder that keeps what the frozen extractor makes of each clip, for later runs on the same clips; it may be
    /// deleted at any time [default: `features` beside PACK].
    #[arg(long, value_name = "DIR", conflicts_with = "no_features")]
    pub features: Option<PathBuf>,
    /// Most bytes in that folder: the least recently used features give way [default: no limit].
    #[arg(long, value_name = "BYTES", conflicts_with = "no_features")]
    pub features_limit: Option<u64>,
    /// Keeps no features on disk.
    #[arg(long)]
    pub no_features: bool,
    /// Admin address of a running server that shall use the pack at once, such as http://127.0.0.1:8081.
    #[arg(long, value_name = "URL")]
    pub push: Option<String>,
    /// Token of that server's admin listener.
    #[arg(long, env = "S3ROUTER_ADMIN_TOKEN", hide_env_values = true)]
    pub push_token: Option<String>,
    /// Prints the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of an evaluation.
#[derive(Args, Debug)]
pub struct EvaluateArgs {
    /// Test list.
    #[arg(long, value_name = "LIST")]
    pub test: PathBuf,
    /// Pack or weights file.
    #[arg(long)]
    pub pack: PathBuf,
    /// Where to compute.
    #[arg(long, value_name = "auto|cpu|cuda:N", default_value_t)]
    pub device: DeviceChoice,
    /// `demo`, a checkpoint directory or file, or `hf:ORG/NAME`.
    #[arg(long, default_value = "demo")]
    pub backbone: Source,
    /// Folder of features that `run` keeps [default: `features` beside PACK, if there is one].
    #[arg(long, value_name = "DIR")]
    pub features: Option<PathBuf>,
    /// Longest clip; longer ones are left out, and counted.
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    pub max_seconds: f64,
    /// Rounding of the factors of matrix products; `auto` is bf16 where the CPU has it (AMX, AVX-512 BF16), which is much faster.
    #[arg(long, value_name = "auto|f32|bf16", default_value = "f32")]
    pub precision: Precision,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of a calibration.
#[derive(Args, Debug)]
pub struct CalibrateArgs {
    /// List to fit on.
    #[arg(long, value_name = "LIST")]
    pub valid: PathBuf,
    /// List to judge by.
    #[arg(long, value_name = "LIST")]
    pub test: PathBuf,
    /// A pack; may be given several times.
    #[arg(long, value_name = "FILE", required_unless_present = "packs")]
    pub pack: Vec<PathBuf>,
    /// A folder of packs.
    #[arg(long, value_name = "DIR", conflicts_with = "pack")]
    pub packs: Option<PathBuf>,
    /// Where to compute.
    #[arg(long, value_name = "auto|cpu|cuda:N", default_value_t)]
    pub device: DeviceChoice,
    /// `demo`, a checkpoint directory or file, or `hf:ORG/NAME`.
    #[arg(long, default_value = "demo")]
    pub backbone: Source,
    /// Arithmetic of the heavy products: that of the server.
    #[arg(long, default_value_t = Precision::Auto, value_name = "auto|f32|bf16|f16")]
    pub precision: Precision,
    /// Clips of each list that every pack hears, to tell languages apart.
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub clips: usize,
    /// Keeps the fit in the packs' metadata.
    #[arg(long)]
    pub write: bool,
    /// Draws reliability diagrams, SVG; of several packs one each, and one called `all`.
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Prints JSON, tables included.
    #[arg(long)]
    pub json: bool,
}

/// Flags of an export.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// The folder that `run` keeps beside its pack.
    #[arg(value_name = "FOLDER.run")]
    pub run: PathBuf,
    /// The pack to write.
    #[arg(long, value_name = "PACK")]
    pub out: PathBuf,
}

impl RunArgs {
    /// Preset, then file, then flags.
    ///
    /// # Errors
    /// A setting that does not exist or contradicts another.
    pub fn settings(&self, default_preset: &str, method: Option<Method>) -> Result<TrainConfig> {
        let preset = self.preset.as_deref().unwrap_or(default_preset);
        let mut config = TrainConfig::read(preset, self.config.as_deref())?;
        if let (Some(command), Some(flag)) = (method, self.method) {
            ensure!(
                command == flag,
                "this command is the method {command:?}: give --method {flag:?} to `run`"
            );
        }
        if let Some(method) = method.or(self.method) {
            config.method = method;
        }
        if !config.method.masks() && (self.sparsity.is_some() || self.covers.is_some()) {
            tracing::warn!(
                "{:?} learns and fixes no mask: --sparsity and --covers do nothing",
                config.method
            );
        }
        if let Some(sparsity) = self.sparsity {
            config.mask.density = Density::Global(1.0 - sparsity);
        }
        if let Some(covers) = &self.covers {
            config.mask.covers = Covers::try_from(covers.clone())?;
        }
        config.precision = self.precision.unwrap_or(config.precision);
        config.checkpoint_activations |= self.checkpoint_activations;
        config.seed = self.seed.unwrap_or(config.seed);
        config.updates.count = self.updates.unwrap_or(config.updates.count);
        config.updates.max_minutes = self.max_minutes.or(config.updates.max_minutes);
        config.check()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_overrule_the_preset() -> Result<()> {
        let line = "s3router-train run --train a --valid b --language tr --out c --sparsity 0.08 --seed 7 --method head";
        let Command::Run(args) = Cli::try_parse_from(line.split(' '))?.command else { panic!("not a run") };
        let config = args.settings("laptop", None)?;
        assert_eq!((config.seed, config.method), (7, Method::Head));
        assert_eq!(config.mask.density, Density::Global(0.92));
        Ok(())
    }

    #[test]
    fn flags_that_contradict_are_refused() -> Result<()> {
        let settings = |flags: &str, method| -> Result<TrainConfig> {
            let line = format!("s3router-train run --train a --valid b --language tr --out c {flags}");
            let Command::Run(args) = Cli::try_parse_from(line.split_whitespace())?.command else {
                panic!("not a run")
            };
            args.settings("laptop", method)
        };
        assert!(settings("--method finetune", Some(Method::Finetune)).is_ok());
        for (flags, method) in [
            ("--method bitfit", Some(Method::Finetune)),
            ("--sparsity 8", Some(Method::Finetune)),
            ("--method magnitude --sparsity 8", None),
            ("--sparsity -0.1", None),
        ] {
            assert!(settings(flags, method).is_err(), "{flags}");
        }
        Ok(())
    }
}
