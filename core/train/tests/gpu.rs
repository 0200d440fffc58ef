//! A training step on a GPU against the CPU's. Needs `--features cuda` and a device: a real one (`tests/gpu/run.sh`), or
//! the emulated one behind the same driver functions (`deploy/cuda/check.sh`).

#![cfg(feature = "cuda")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test may fail")]

#[allow(dead_code, reason = "core's tests need all of it")]
#[path = "../../tests/gpu/device.rs"]
mod device;
mod support;

use candle_core::{Device, Tensor};
use s3router_core::{
    Precision,
    learn::spec_augment::Spans,
    model::{Backbone, Config, Features},
};
use s3router_train::{
    config::{Method, TrainConfig},
    learner::Learner,
    noise::StepNoise,
    step::{Batch, gradients, step},
};
use support::{Place, evaluate, succeeded};

/// The device; without candle's own kernels there is none to learn on.
fn gpu() -> Option<Device> {
    if std::env::var("S3ROUTER_CANDLE_PTX").is_ok_and(|v| v == "empty") {
        println!("not run: candle's kernels are not compiled");
        return None;
    }
    device::gpu()
}

/// Everything that a recipe may ask for at once: dropout, hidden spans, masks of every part.
fn config(method: Method) -> TrainConfig {
    let mut config = TrainConfig { method, precision: Precision::F32, ..TrainConfig::default() };
    config.mask.covers = "ffn+attention+projection".to_owned().try_into().unwrap();
    config.dropout.hidden = 0.1;
    config.augment.time = Spans { prob: 0.3, length: 2, at_least: 1, require_same: false };
    config
}

fn backbone(device: &Device) -> Backbone {
    Backbone::random(Config::tiny(), 3, device).unwrap()
}

fn batch(backbone: &Backbone) -> Batch {
    let (channels, device) = (backbone.config().channels(), backbone.device());
    let values = (0..2 * 12 * channels).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<_>>();
    let tensor =
        Tensor::from_vec(values, (2, 12, channels), &Device::Cpu).unwrap().to_device(device).unwrap();
    Batch { features: Features { tensor, lengths: vec![12, 9] }, labels: vec![vec![1, 2, 2], vec![3, 4]] }
}

type Values = Vec<(String, Option<Vec<f32>>)>;

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Loss and gradients of one pass.
fn pass(device: &Device, config: &TrainConfig) -> (f64, Values) {
    let backbone = backbone(device);
    let vocab: Vec<String> = (0..6).map(|i| i.to_string()).collect();
    let learner = Learner::new(config, &backbone, &vocab, None).unwrap();
    let mut noise = StepNoise::new(config, None, 3);
    let (loss, grads) = gradients(&backbone, &learner, &batch(&backbone), &mut noise).unwrap();
    (loss, learner.state().into_iter().map(|(name, var)| (name, grads.get(&var).map(values))).collect())
}

fn distance(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
    found.iter().zip(expected).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

#[test]
fn gradients_are_the_cpus_whatever_is_learnt() {
    let Some(gpu) = gpu() else { return };
    for (method, checkpoint) in
        [(Method::Mask, false), (Method::Mask, true), (Method::Finetune, false), (Method::Magnitude, false)]
    {
        let config = TrainConfig { checkpoint_activations: checkpoint, ..config(method) };
        let ((loss, found), (expected_loss, expected)) = (pass(&gpu, &config), pass(&Device::Cpu, &config));
        assert!((loss / expected_loss - 1.0).abs() < 1e-5, "{method:?}: {loss} {expected_loss}");
        let mut compared = 0;
        for ((name, found), (_, expected)) in found.iter().zip(&expected) {
            // Softmax does not feel a shift, so this gradient is 0 in exact arithmetic: both sides are rounding.
            if name.ends_with("k_proj.bias") {
                continue;
            }
            assert_eq!(found.is_some(), expected.is_some(), "{method:?}: {name}");
            if let (Some(found), Some(expected)) = (found, expected) {
                let distance = distance(found, expected);
                assert!(distance < 1e-4, "{method:?}: {name} differs by {distance:e} of its largest entry");
                compared += 1;
            }
        }
        assert!(compared >= 2, "{method:?}: {compared} compared");
    }
}

#[test]
fn bf16_gradients_point_where_the_exact_ones_do() {
    let Some(gpu) = gpu().filter(|gpu| Precision::Bf16.for_learning(gpu).is_ok()) else { return };
    let exact = config(Method::Mask);
    let rounded = TrainConfig { precision: Precision::Bf16, ..exact.clone() };
    let ((loss, found), (expected_loss, expected)) = (pass(&gpu, &rounded), pass(&Device::Cpu, &exact));
    assert!((loss / expected_loss - 1.0).abs() < 0.02 && loss != expected_loss, "{loss} {expected_loss}");
    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
        let (Some(a), Some(b)) = (found, expected) else { continue };
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(x * y)).sum::<f64>();
        let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
        assert!(cosine > 0.98, "{name}: cosine {cosine}");
    }
}

#[test]
fn updates_leave_the_masks_and_values_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let config = config(Method::Mask);
    let after = |device: &Device| {
        let backbone = backbone(device);
        let vocab: Vec<String> = (0..6).map(|i| i.to_string()).collect();
        let learner = Learner::new(&config, &backbone, &vocab, None).unwrap();
        let mut adam = learner.optimizer(&config);
        for pass in 0..2 {
            let mut passes = [(batch(&backbone), StepNoise::new(&config, None, pass))];
            step(&backbone, &learner, &mut adam, &mut passes, config.updates.clip, 1.0).unwrap();
        }
        let (weight, bias) = learner.head();
        (learner.masks().unwrap(), values(&weight), values(&bias))
    };
    let ((masks, weight, bias), (expected, expected_weight, expected_bias)) =
        (after(&gpu), after(&Device::Cpu));
    // Where a gradient is all rounding Adam's step has no sign to speak of.
    let (all, differing) = masks.iter().fold((0, 0), |(all, differing), (name, mask)| {
        let other = &expected[name];
        let bits = (0..mask.len()).filter(|i| {
            mask.get(i / mask.cols(), i % mask.cols()) != other.get(i / mask.cols(), i % mask.cols())
        });
        (all + mask.len(), differing + bits.count())
    });
    assert!(differing * 1000 <= all, "{differing} of {all} bits differ");
    assert!(distance(&weight, &expected_weight) < 1e-3 && distance(&bias, &expected_bias) < 1e-3);
}

#[test]
fn a_pack_learnt_on_a_gpu_reads_the_same_on_the_cpu() {
    if gpu().is_none() {
        return;
    }
    let place = Place::new();
    // Two clips to learn from and one to read: an emulated GPU is slow.
    for (list, clips) in [("tr/train.tsv", 2), ("tr/valid.tsv", 1)] {
        let lines = std::fs::read_to_string(place.path(list)).unwrap();
        let few: Vec<&str> = lines.lines().take(1 + clips).collect();
        std::fs::write(place.path(list), few.join("\n")).unwrap();
    }
    let learnt = succeeded(&place.run("tr.safetensors", &["--device", "cuda:0", "--updates", "2"]));
    let read = succeeded(&evaluate(&place, "tr.safetensors", "xlsr"));
    assert_eq!(learnt["valid"]["characters"]["edits"], read["characters"]["edits"]);
}
