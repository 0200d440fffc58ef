use crate::packs::source::PackSource;

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
    /// Where the backbone computes.
    #[arg(long, env = "S3ROUTER_DEVICE", value_name = "auto|cpu|cuda:N", default_value_t = EngineConfig::default().device)]
    pub device: String,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { backbone: "demo".into(), packs: None, device: "auto".into() }
    }
}
