//! Activations computed twice are not kept: the most memory that a step of long audio holds at once, counted by an
//! allocator of our own. Alone in its program, since all of the process is counted.

#![allow(
    missing_docs,
    unsafe_code,
    clippy::unwrap_used,
    reason = "a test; an allocator cannot be written otherwise"
)]

use candle_core::{Device, Tensor};
use s3router_core::model::{Backbone, Config, Features};
use s3router_train::{
    config::TrainConfig,
    learner::Learner,
    noise::StepNoise,
    step::{Batch, gradients},
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

#[global_allocator]
static COUNTED: Counting = Counting;

/// The system's allocator, whose bytes in use are counted, and the most there ever were.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes on to the system's allocator as it came; what is not written here falls back on these.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(LIVE.fetch_add(layout.size(), SeqCst) + layout.size(), SeqCst);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), SeqCst);
        // SAFETY: the caller's.
        unsafe { System.dealloc(at, layout) }
    }
}

const FRAMES: usize = 600;

/// The most bytes in use while the gradients of one long clip are computed through so many layers, and the loss.
fn peak(layers: usize, checkpoint_activations: bool, dropout: f64) -> (usize, f64) {
    let config = Config { layers, hidden: 64, heads: 2, feed_forward: 256, ..Config::tiny() };
    let backbone = Backbone::random(config, 1, &Device::Cpu).unwrap();
    let mut config = TrainConfig { checkpoint_activations, ..TrainConfig::default() };
    config.dropout.hidden = dropout;
    let vocab: Vec<String> = (0..9).map(|i| i.to_string()).collect();
    let learner = Learner::new(&config, &backbone, &vocab, None).unwrap();
    let channels = backbone.config().channels();
    let values = (0..FRAMES * channels).map(|i| (i as f32 * 0.37).sin()).collect();
    let tensor = Tensor::from_vec(values, (1, FRAMES, channels), &Device::Cpu).unwrap();
    let labels = vec![(0..100).map(|i| 1 + i % 8).collect()];
    let batch = Batch { features: Features { tensor, lengths: vec![FRAMES] }, labels };
    let mut noise = StepNoise::new(&config, None, 3);
    PEAK.store(LIVE.load(SeqCst), SeqCst);
    let (loss, _grads) = gradients(&backbone, &learner, &batch, &mut noise).unwrap();
    (PEAK.load(SeqCst), loss)
}

/// A layer more costs its weights, masks and gradients either way, and its input; but its activations only if they
/// are kept. With dropout, attention's probabilities are among these.
#[test]
fn a_layer_more_costs_little_when_activations_are_computed_twice() {
    for dropout in [0.0, 0.1] {
        // Twice comes first: buffers that the kernels keep for the next step count as in use.
        let [twice, kept] = [true, false].map(|checkpoint| {
            let [(few, _), (many, loss)] = [3, 9].map(|layers| peak(layers, checkpoint, dropout));
            (many.saturating_sub(few) / 6, loss)
        });
        assert_eq!(twice.1, kept.1);
        assert!(
            2 * twice.0 < kept.0,
            "dropout {dropout}: {} bytes a layer, {} if all is kept",
            twice.0,
            kept.0
        );
    }
}
