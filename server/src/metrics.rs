//! What Prometheus reads. One struct; a request is recorded once, from its answer and its timings.
//!
//! Units are base units (seconds, bytes), counters end in `_total`, and `lang` only ever takes the ids of
//! loaded packs (`none` before a language is known), so that no client can invent a label value.

use prometheus::{
    Counter, CounterVec, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};
use s3router_core::{
    self as core, Utterance, audio::RATE_HZ, model::Backbone, packs::LoadedPack, piece::Piece,
};
use s3router_proto::{ErrorKind, Timing};
use std::time::Duration;

/// 1 ms to 65 s, doubling.
const SECONDS: [f64; 17] = [
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
    32.768, 65.536,
];

/// Every metric of the server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests by outcome; `code` is `ok` or one of the closed list of errors.
    pub requests: IntCounterVec,
    /// From the head of a request to its answer.
    pub request_seconds: HistogramVec,
    /// Requests being answered now.
    pub in_flight: IntGaugeVec,
    stage_seconds: HistogramVec,
    audio_seconds: CounterVec,
    queue_depth: IntGaugeVec,
    queue_audio_seconds: Gauge,
    /// Requests refused before work: `reason` is the error's code.
    pub rejected: IntCounterVec,
    /// Clients that left; `stage` is how far their request had come.
    pub cancelled: IntCounterVec,
    abandoned: IntCounterVec,
    batch_size: HistogramVec,
    batch_languages: HistogramVec,
    batch_padding: HistogramVec,
    engine_seconds: Counter,
    /// Streams open now.
    pub stream_sessions: IntGauge,
    /// From the beginning of speech to the first partial of its utterance.
    pub stream_first_partial: Histogram,
    /// From the arrival of an utterance's last sample, closing pause included, to its final.
    pub stream_final_latency: Histogram,
    /// Age of the newest sample in a partial.
    pub stream_lag: Histogram,
    /// Engines rebuilt after a failure.
    pub device_restarts: IntCounter,
    /// Devices at work on the last batch.
    pub(crate) devices: IntGauge,
    mask_bytes: GaugeVec,
    mask_info: IntGaugeVec,
    engine_info: IntGaugeVec,
}

impl Metrics {
    /// Metrics of one server, in a registry of its own.
    ///
    /// # Errors
    /// When two metrics share a name: a bug that any test finds.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let build = IntGaugeVec::new(opts("build_info", "Version of the program."), &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        keep(&registry, build)?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let r = &registry;
        let seconds =
            |name, help| HistogramOpts::new(name, help).namespace("s3router").buckets(SECONDS.to_vec());
        let sizes = |name, help| {
            let buckets = vec![1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0];
            HistogramOpts::new(name, help).namespace("s3router").buckets(buckets)
        };
        let padding = HistogramOpts::new("batch_padding_ratio", "Padding per padded batch, 0 to 1.")
            .namespace("s3router")
            .buckets(vec![0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25]);
        let metrics = Self {
            requests: keep(
                r,
                IntCounterVec::new(
                    opts("requests_total", "Requests by outcome."),
                    &["route", "lang", "code"],
                )?,
            )?,
            request_seconds: keep(
                r,
                HistogramVec::new(
                    seconds("request_duration_seconds", "From the head of a request to its answer."),
                    &["route", "lang"],
                )?,
            )?,
            in_flight: keep(
                r,
                IntGaugeVec::new(opts("requests_in_flight", "Requests being answered now."), &["route"])?,
            )?,
            stage_seconds: keep(
                r,
                HistogramVec::new(
                    seconds(
                        "stage_duration_seconds",
                        "One stage of a request: upload, decode, queue, forward or ctc.",
                    ),
                    &["stage"],
                )?,
            )?,
            audio_seconds: keep(
                r,
                CounterVec::new(opts("audio_seconds_total", "Audio transcribed, all channels."), &["lang"])?,
            )?,
            queue_depth: keep(
                r,
                IntGaugeVec::new(opts("queue_depth", "Jobs waiting for the engine."), &["lang"])?,
            )?,
            queue_audio_seconds: keep(
                r,
                Gauge::with_opts(opts("queue_audio_seconds", "Audio waiting for the engine."))?,
            )?,
            rejected: keep(
                r,
                IntCounterVec::new(opts("rejected_total", "Requests refused before any work."), &["reason"])?,
            )?,
            cancelled: keep(
                r,
                IntCounterVec::new(opts("cancelled_total", "Requests whose client left."), &["stage"])?,
            )?,
            abandoned: keep(
                r,
                IntCounterVec::new(
                    opts(
                        "abandoned_total",
                        "Computations that ended early: nobody waited for them any more.",
                    ),
                    &["stage"],
                )?,
            )?,
            batch_size: keep(
                r,
                HistogramVec::new(
                    sizes("batch_size", "Pieces in a batch: utterances, or windows of long ones."),
                    &[],
                )?,
            )?,
            batch_languages: keep(
                r,
                HistogramVec::new(sizes("batch_languages", "Languages in a batch."), &[])?,
            )?,
            batch_padding: keep(r, HistogramVec::new(padding, &[])?)?,
            engine_seconds: keep(
                r,
                Counter::with_opts(opts("engine_busy_seconds_total", "Time the engine spent on batches."))?,
            )?,
            stream_sessions: keep(r, IntGauge::with_opts(opts("stream_sessions", "Streams open now."))?)?,
            stream_first_partial: keep(
                r,
                Histogram::with_opts(seconds(
                    "stream_first_partial_seconds",
                    "From the beginning of speech to the first partial of its utterance.",
                ))?,
            )?,
            stream_final_latency: keep(
                r,
                Histogram::with_opts(seconds(
                    "stream_final_latency_seconds",
                    "From the arrival of an utterance's last sample to its final.",
                ))?,
            )?,
            stream_lag: keep(
                r,
                Histogram::with_opts(seconds(
                    "stream_lag_seconds",
                    "Age of the newest sample in a partial.",
                ))?,
            )?,
            device_restarts: keep(
                r,
                IntCounter::with_opts(opts("device_restarts_total", "Engines rebuilt after a failure."))?,
            )?,
            devices: keep(
                r,
                IntGauge::with_opts(opts(
                    "devices",
                    "Devices at work on the last batch: those named, less the failed.",
                ))?,
            )?,
            mask_bytes: keep(
                r,
                GaugeVec::new(opts("mask_resident_bytes", "Mask bits and heads held in memory."), &["tier"])?,
            )?,
            mask_info: keep(
                r,
                IntGaugeVec::new(opts("mask_info", "Packs in service."), &["lang", "generation", "sha256"])?,
            )?,
            engine_info: keep(
                r,
                IntGaugeVec::new(
                    opts("engine_info", "The arithmetic in use, what computes it, on how many threads."),
                    &["precision", "kernel", "threads"],
                )?,
            )?,
            registry,
        };
        metrics.begin_at_zero();
        Ok(metrics)
    }

    /// A series that only appears with its first event has no rate then: whatever is known beforehand is there
    /// from the beginning.
    fn begin_at_zero(&self) {
        for reason in [ErrorKind::QueueFull, ErrorKind::Loading, ErrorKind::Draining, ErrorKind::Unauthorized]
        {
            self.rejected.with_label_values(&[reason.code()]);
        }
        for stage in ["start", "upload", "decode", "engine"] {
            self.cancelled.with_label_values(&[stage]);
        }
        for stage in ["decode", "forward", "read", "search", "align"] {
            self.abandoned.with_label_values(&[stage]);
        }
        for stage in ["upload", "decode", "queue", "forward", "ctc"] {
            self.stage_seconds.with_label_values(&[stage]);
        }
        for sizes in [&self.batch_size, &self.batch_languages, &self.batch_padding] {
            let none: [&str; 0] = [];
            sizes.with_label_values(&none);
        }
    }

    /// What computes.
    pub fn engine(&self, backbone: &Backbone) {
        let (precision, threads) =
            (backbone.precision().to_string(), rayon::current_num_threads().to_string());
        self.engine_info.with_label_values(&[precision.as_str(), backbone.kernel(), &threads]).set(1);
    }

    /// The exposition format.
    ///
    /// # Errors
    /// When a metric cannot be written as text: a bug.
    pub fn text(&self) -> prometheus::Result<String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The packs now in service, instead of those before.
    pub fn packs<'a>(&self, packs: impl Iterator<Item = &'a LoadedPack>) {
        self.mask_info.reset();
        for pack in packs {
            let generation = pack.generation.to_string();
            self.mask_info.with_label_values(&[&pack.meta.language, &generation, &pack.sha256]).set(1);
        }
    }

    /// What of the packs is in memory; asked whenever Prometheus is, since a lease may move masks at any time.
    pub fn resident<'a>(&self, packs: impl Iterator<Item = &'a LoadedPack>) {
        let bytes: u64 = packs.filter(|pack| pack.is_resident()).map(|pack| pack.bytes).sum();
        self.mask_bytes.with_label_values(&["host"]).set(bytes as f64);
    }

    /// One request's stages, from its answer.
    pub fn record(&self, timing: &Timing) {
        let stages = [
            ("upload", timing.upload_ms),
            ("decode", timing.decode_ms),
            ("queue", timing.queue_ms),
            ("forward", timing.infer_ms),
        ];
        for (stage, ms) in stages {
            self.stage(stage, Duration::from_secs_f64(ms.max(0.0) / 1000.0));
        }
    }

    /// One stage of one request.
    pub fn stage(&self, stage: &str, took: Duration) {
        self.stage_seconds.with_label_values(&[stage]).observe(took.as_secs_f64());
    }

    /// A computation came to its end, or to an early one.
    pub(crate) fn ended<T>(&self, stage: &str, outcome: &core::Result<T>) {
        if matches!(outcome, Err(core::Error::Abandoned)) {
            self.abandoned.with_label_values(&[stage]).inc();
        }
    }

    /// Audio that became text.
    pub fn transcribed(&self, language: &str, seconds: f64) {
        self.audio_seconds.with_label_values(&[language]).inc_by(seconds);
    }

    pub(crate) fn job_queued(&self, utterance: &Utterance) {
        self.queue_depth.with_label_values(&[&utterance.pack.meta.language]).inc();
        self.queue_audio_seconds.add(seconds_of(utterance));
    }

    pub(crate) fn job_left(&self, utterance: &Utterance) {
        self.queue_depth.with_label_values(&[&utterance.pack.meta.language]).dec();
        self.queue_audio_seconds.sub(seconds_of(utterance));
    }

    pub(crate) fn batch_formed(&self, batch: &[&Piece]) {
        let none: [&str; 0] = [];
        self.batch_size.with_label_values(&none).observe(batch.len() as f64);
        let mut languages: Vec<&str> = batch.iter().map(|p| p.pack().meta.language.as_str()).collect();
        languages.sort_unstable();
        languages.dedup();
        self.batch_languages.with_label_values(&none).observe(languages.len() as f64);
        let longest = batch.iter().map(|p| p.samples()).max().unwrap_or(0);
        let total: usize = batch.iter().map(|p| p.samples()).sum();
        let padded = (longest * batch.len()).max(1);
        self.batch_padding.with_label_values(&none).observe(1.0 - total as f64 / padded as f64);
    }

    pub(crate) fn batch_done(&self, spent: Duration) {
        self.engine_seconds.inc_by(spent.as_secs_f64());
    }
}

fn seconds_of(utterance: &Utterance) -> f64 {
    utterance.samples.len() as f64 / f64::from(RATE_HZ)
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("s3router")
}

fn keep<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
