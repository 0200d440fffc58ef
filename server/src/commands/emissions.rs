//! `s3router emissions`: the model's numbers, for tools that align, score or compare.

use anyhow::{Context, Result, bail};
use candle_core::Tensor;
use s3router_core::{
    Precision,
    audio::{self, Channels, Limits},
    demo,
    device::DeviceChoice,
    gate::{Gates, Segment},
    model::{Backbone, Source},
    packs::{LoadedPack, Packs},
};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The whole clip runs at once, and attention grows with its square.
const MAX_SECONDS: f64 = 120.0;

/// Flags of `emissions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Writes tensors `logits` (T, V), before softmax, and with --hidden also `hidden` (L+1, T, D): the
embeddings, then each layer's output, before the final norm. Frames are 20 ms.

Examples:
  s3router emissions clip.wav --lang tr -o clip.safetensors
  s3router emissions clip.wav --backbone xlsr-300m --pack tr.safetensors --hidden -o clip.safetensors
  s3router emissions clip.wav --backbone hf:facebook/wav2vec2-base-960h --open -o clip.safetensors")]
pub struct EmissionsArgs {
    /// Audio of any common container, up to two minutes
    file: PathBuf,
    /// demo, a directory, a file, or hf:ORG/NAME
    #[arg(long, default_value = "demo")]
    backbone: Source,
    /// Language, its pack taken from --packs (the demo has its own)
    #[arg(long, conflicts_with_all = ["pack", "open"])]
    lang: Option<String>,
    /// Directory of packs
    #[arg(long, requires = "lang")]
    packs: Option<PathBuf>,
    /// One pack file
    #[arg(long, conflicts_with = "open")]
    pack: Option<PathBuf>,
    /// No mask; logits of the checkpoint's own lm_head (the default)
    #[arg(long)]
    open: bool,
    /// Also write every hidden state
    #[arg(long)]
    hidden: bool,
    /// auto, cpu, cuda:0
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Arithmetic of the heavy products: numbers for others are f32 unless asked otherwise
    #[arg(long, default_value_t = Precision::F32, value_name = "auto|f32|bf16|f16")]
    precision: Precision,
    /// Threads that compute; one per core when left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// The safetensors file to write
    #[arg(short, long, value_name = "OUT.safetensors")]
    output: PathBuf,
}

/// Computes and writes the emissions of one clip.
///
/// # Errors
/// Audio, backbone or pack that cannot be used; a checkpoint without a head where logits are asked of it.
pub fn run(args: EmissionsArgs) -> Result<()> {
    crate::load::threads(args.threads)?;
    let bytes = fs::read(&args.file).with_context(|| args.file.display().to_string())?;
    let limits = Limits { max_seconds: MAX_SECONDS };
    let channels = audio::decode(&bytes, None, Channels::Mix, &limits)
        .with_context(|| args.file.display().to_string())?;
    let [wave] = channels.as_slice() else { bail!("{}: no mono mix", args.file.display()) };

    let backbone = Backbone::load_packed(&args.backbone, &args.device.open()?, args.precision)?;
    if backbone.frames(wave.len()) == 0 {
        bail!(
            "{}: {} samples at 16 kHz are shorter than one frame of {}",
            args.file.display(),
            wave.len(),
            backbone.config().receptive_field()
        );
    }
    let pack = pack(&args, &backbone)?;
    let gates = match &pack {
        Some(pack) => pack.gates(&backbone)?,
        None => Arc::new(Gates::open()),
    };
    let features = backbone.extract(&backbone.prepare(&[wave])?)?;
    let segments = [Segment { rows: 0..1, gates }];
    // Without hidden states by the very way that serving takes.
    let (states, encoded) = match args.hidden {
        true => backbone.hidden_states(&features, &segments, None)?,
        false => (Vec::new(), backbone.encode(&features, &segments, None)?),
    };

    let mut tensors = HashMap::new();
    if args.hidden {
        tensors.insert("hidden", Tensor::cat(&states, 0)?);
    }
    match (&pack, backbone.lm_head()) {
        (Some(pack), _) => {
            tensors.insert("logits", pack.logits(&encoded.squeeze(0)?)?);
        }
        (None, Some(head)) => {
            tensors.insert("logits", head.logits(&encoded)?.squeeze(0)?);
        }
        (None, None) if args.hidden => {}
        (None, None) => bail!(
            "backbone `{}` has no lm_head: name a language (--lang, --pack), or ask for --hidden only",
            args.backbone
        ),
    }
    write(&tensors, &args.output)
}

fn pack(args: &EmissionsArgs, backbone: &Backbone) -> Result<Option<Arc<LoadedPack>>> {
    if let Some(file) = &args.pack {
        let opened = s3router_masks::open_path(file)?;
        return Ok(Some(Arc::new(LoadedPack::bind(opened, backbone, 1)?)));
    }
    let Some(language) = &args.lang else { return Ok(None) };
    let packs = match (&args.packs, &args.backbone) {
        (Some(dir), _) => Packs::open(dir, backbone)?,
        (None, Source::Demo) => demo::packs(backbone)?,
        (None, other) => bail!(
            "--lang {language} needs --packs DIR: only the demo backbone has packs of its own, not `{other}`"
        ),
    };
    Ok(Some(packs.get(language)?))
}

/// Appears complete or not at all.
fn write(tensors: &HashMap<&str, Tensor>, output: &Path) -> Result<()> {
    let dir = output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let named = || format!("cannot write {}", output.display());
    let part = tempfile::NamedTempFile::new_in(dir).with_context(named)?;
    candle_core::safetensors::save(tensors, part.path()).with_context(named)?;
    part.persist(output).with_context(named)?;
    Ok(())
}
