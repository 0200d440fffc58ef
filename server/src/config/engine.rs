use crate::packs::source::PackSource;
use s3router_core::{Precision, device::DeviceChoice};

/// Which backbone and packs, on which device.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Model")]
pub struct EngineConfig {
    /// `demo` (inside the program), a Hugging Face directory, a checkpoint file, or hf:ORG/NAME.
    #[arg(long, env = "S3ROUTER_BACKBONE", value_name = "demo|DIR|FILE|hf:ORG/NAME", default_value_t = EngineConfig::default().backbone)]
    pub backbone: String,
    /// Language packs: a folder of `<language>.safetensors`, hf:ORG/NAME or s3://BUCKET/PREFIX; the backbone's
    /// own when left out.
    #[arg(long, env = "S3ROUTER_PACKS", value_name = "DIR|hf:ORG/NAME|s3://BUCKET/PREFIX")]
    pub packs: Option<PackSource>,
    /// Where the backbone computes. `serve` takes several GPUs, as cuda:0,1: they share each batch, of which
    /// --max-batch and --batch-seconds are each one's part.
    #[arg(long, env = "S3ROUTER_DEVICE", value_name = "auto|cpu|cuda:N[,N...]", default_value_t = EngineConfig::default().device)]
    pub device: String,
    /// Arithmetic of the heavy products: bf16 halves the memory and is much faster where the CPU has AMX or AVX-512
    /// BF16; auto takes it there and f32 elsewhere. On a GPU auto is bf16, or f16 where it has none (before compute capability 8.0).
    #[arg(long, env = "S3ROUTER_PRECISION", value_name = "auto|f32|bf16|f16", default_value_t = EngineConfig::default().precision)]
    pub precision: Precision,
    /// Threads that compute, for all requests together; one per core when left out.
    #[arg(long, env = "S3ROUTER_THREADS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Most bytes of packs in memory: the least recently used give way and are read again when asked for. All
    /// stay when left out.
    #[arg(long, env = "S3ROUTER_PACK_MEMORY", value_name = "BYTES")]
    pub pack_memory: Option<u64>,
    /// A language whose pack always stays, beyond --pack-memory; give it once for each.
    #[arg(
        long = "pin",
        env = "S3ROUTER_PIN",
        value_name = "LANG",
        value_delimiter = ',',
        requires = "pack_memory"
    )]
    pub pins: Vec<String>,
}

impl EngineConfig {
    /// The devices named; at least one.
    ///
    /// # Errors
    /// What is no list of devices.
    pub fn devices(&self) -> anyhow::Result<Vec<DeviceChoice>> {
        DeviceChoice::several(&self.device).map_err(anyhow::Error::msg)
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            backbone: "demo".into(),
            packs: None,
            device: "auto".into(),
            precision: Precision::Auto,
            threads: None,
            pack_memory: None,
            pins: Vec::new(),
        }
    }
}
