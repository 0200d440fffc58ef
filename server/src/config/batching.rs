use super::Seconds;

/// How jobs become batches, and how many may be in work.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Queue and batches")]
pub struct Batching {
    /// Requests in work at once, waiting ones included; the next one gets 429 queue_full.
    #[arg(long, env = "S3ROUTER_QUEUE", value_name = "N", default_value_t = Batching::default().queue,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub queue: u32,
    /// Audio in work at once, waiting included: bounds memory (64 kB a second). Past it 429 queue_full.
    #[arg(long, env = "S3ROUTER_QUEUE_SECONDS", value_name = "S", default_value_t = Batching::default().queue_seconds)]
    pub queue_seconds: Seconds,
    /// Most utterances, or windows of long ones, in one batch, languages mixed freely.
    #[arg(long, env = "S3ROUTER_MAX_BATCH", value_name = "N", default_value_t = Batching::default().max_batch,
          value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub max_batch: u32,
    /// Most audio in one batch, padding counted: bounds memory and how long a newcomer waits. A GPU wants more.
    #[arg(long, env = "S3ROUTER_BATCH_SECONDS", value_name = "S", default_value_t = Batching::default().batch_seconds,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub batch_seconds: u32,
}

impl Default for Batching {
    fn default() -> Self {
        Self { queue: 256, queue_seconds: Seconds::new(3600.0), max_batch: 32, batch_seconds: 40 }
    }
}

impl Batching {
    /// One request in work, one row a batch.
    pub fn for_testing() -> Self {
        Self { queue: 1, max_batch: 1, batch_seconds: 1, ..Self::default() }
    }
}
