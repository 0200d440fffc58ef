//! One training step against PyTorch: same tiny model, masks and batch, every variant of the mask.
//! The fixture is made by `tests/fixtures/train/make_step.py`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may fail")]

use candle_core::{DType, Device, Tensor};
use s3router_core::{
    Precision,
    learn::{
        scores::{Covers, Density, Structure},
        spec_augment::Spans,
        topk::Estimator,
    },
    model::{Backbone, Config},
};
use s3router_train::{
    config::{Method, TrainConfig},
    learner::Learner,
    noise::StepNoise,
    step::{Batch, gradients, step},
};
use std::collections::HashMap;

struct Fixture {
    tensors: HashMap<String, Tensor>,
    backbone: Backbone,
    batch: Batch,
}

const SYMBOLS: usize = 9;

fn fixture() -> Fixture {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/train/step.safetensors");
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).expect("the fixture");
    let model =
        tensors.iter().filter_map(|(n, t)| Some((n.strip_prefix("model.")?.to_owned(), t.clone()))).collect();
    let backbone = Backbone::from_tensors(Config::tiny(), model, &Device::Cpu).expect("a backbone");
    let wavs = ["wav0", "wav1"].map(|n| tensors[n].to_vec1::<f32>().expect("samples"));
    let features =
        backbone.prepare(&[&wavs[0], &wavs[1]]).and_then(|batch| backbone.extract(&batch)).expect("features");
    let labels = ["labels0", "labels1"]
        .map(|n| tensors[n].to_dtype(DType::U32).and_then(|t| t.to_vec1()).expect("labels"));
    Fixture { batch: Batch { features, labels: labels.to_vec() }, tensors, backbone }
}

/// Runs one variant and holds loss and every gradient of the fixture to ours.
fn check(variant: &str, scores: &str, change: impl Fn(&mut TrainConfig)) {
    let f = fixture();
    let mut config = TrainConfig::default();
    config.mask.density = Density::Global(0.7);
    change(&mut config);
    let vocab: Vec<String> = (0..SYMBOLS).map(|i| i.to_string()).collect();
    let learner = Learner::new(&config, &f.backbone, &vocab, None).expect("a learner");
    let given = |name: &str| match name.strip_prefix("score.") {
        Some(weight) => f.tensors[&format!("{scores}.{weight}")].clone(),
        None => match name.strip_prefix("weight.") {
            Some(weight) => f.backbone.weight(weight).expect("a parameter").clone(),
            None => f.tensors[&name.replace("head.", "model.lm_head.")].clone(),
        },
    };
    let state = learner.state();
    learner.restore(&state.keys().map(|n| (n.clone(), given(n))).collect()).expect("values that fit");

    let (loss, grads) =
        gradients(&f.backbone, &learner, &f.batch, &mut StepNoise::new(&config, None, 0)).expect("a step");
    let expected = f.tensors[&format!("{variant}/loss")].to_vec1::<f32>().expect("a loss")[0];
    assert!((loss as f32 / expected - 1.0).abs() < 1e-4, "{variant}: loss {loss}, PyTorch's {expected}");
    let prefix = format!("{variant}/");
    let expected = f.tensors.keys().filter(|n| n.starts_with(&prefix)).count() - 1;
    let mut compared = 0;
    for (name, var) in &state {
        let Some(theirs) = f.tensors.get(&format!("{variant}/{name}")) else {
            assert!(grads.get(var).is_none(), "{variant}: {name} has a gradient, PyTorch gives it none");
            continue;
        };
        // Softmax does not feel a shift, so this gradient is 0 in exact arithmetic: both sides are rounding.
        compared += 1;
        if name.ends_with("k_proj.bias") {
            continue;
        }
        let ours = grads.get(var).unwrap_or_else(|| panic!("{variant}: no gradient of {name}"));
        let difference = distance(ours, theirs);
        assert!(difference < 2e-4, "{variant}: {name} differs by {difference:e} of its largest entry");
    }
    assert_eq!(compared, expected, "{variant}: gradients of PyTorch that nothing here answers");
}

fn distance(ours: &Tensor, theirs: &Tensor) -> f32 {
    assert_eq!(ours.dims(), theirs.dims());
    let largest = |t: &Tensor| {
        t.abs().and_then(|t| t.flatten_all()?.max(0)?.to_scalar::<f32>()).expect("a largest entry")
    };
    largest(&(ours - theirs).expect("a difference")) / largest(theirs).max(1e-3)
}

fn covers(text: &str) -> Covers {
    Covers::try_from(text.to_owned()).expect("covers")
}

#[test]
fn feed_forward_masks() {
    check("ffn", "score", |_| ());
}

#[test]
fn sigmoid_estimator() {
    check("sigmoid", "score", |c| c.mask.estimator = Estimator::Sigmoid);
}

#[test]
fn attention_masks() {
    check("attention", "score", |c| c.mask.covers = covers("attention"));
}

#[test]
fn both_parts_at_their_own_density() {
    check("parts", "score", |c| {
        c.mask.covers = covers("ffn+attention");
        c.mask.density = Density::Parts { ffn: 0.5, attention: 0.9 };
    });
}

#[test]
fn rows_and_columns() {
    check("rows", "score_rows", |c| c.mask.structure = Structure::Rows);
    check("columns", "score_columns", |c| c.mask.structure = Structure::Columns);
}

#[test]
fn norms_and_biases_beside_the_scores() {
    check("small", "score", |c| {
        c.also.norms = true;
        c.also.biases = true;
    });
}

#[test]
fn weights_under_their_masks() {
    check("weights", "score", |c| c.also.weights = true);
    check("cotrained_all", "score", |c| {
        c.mask.covers = covers("ffn+attention");
        (c.also.weights, c.also.norms, c.also.biases) = (true, true, true);
    });
}

#[test]
fn every_part_the_projection_included() {
    check("all", "score", |c| c.mask.covers = covers("ffn+attention+projection"));
}

#[test]
fn each_layer_at_its_own_density() {
    check("layers", "score", |c| {
        c.mask.covers = covers("ffn+attention");
        c.mask.density = Density::Layers(vec![0.4, 0.9]);
    });
}

#[test]
fn masks_below_a_layer_stay() {
    check("above", "score", |c| c.mask.frozen_below_layer = 1);
}

#[test]
fn rows_of_attention_by_the_sigmoid_estimator() {
    check("rows_attention", "score_rows", |c| {
        c.mask.covers = covers("attention");
        (c.mask.structure, c.mask.estimator) = (Structure::Rows, Estimator::Sigmoid);
    });
}

#[test]
fn the_controls() {
    check("head", "score", |c| c.method = Method::Head);
    check("magnitude", "score", |c| c.method = Method::Magnitude);
    check("bitfit", "score", |c| c.method = Method::Bitfit);
    check("finetune", "score", |c| c.method = Method::Finetune);
}

#[test]
fn activations_computed_twice_change_nothing() {
    let f = fixture();
    let vocab: Vec<String> = (0..SYMBOLS).map(|i| i.to_string()).collect();
    let of = |checkpoint: bool, method: Method| {
        let mut config = TrainConfig { method, checkpoint_activations: checkpoint, ..TrainConfig::default() };
        config.dropout.hidden = 0.1;
        config.dropout.layer = 0.2;
        config.augment.time = Spans { prob: 0.3, length: 4, at_least: 1, require_same: false };
        config.mask.covers = covers("ffn+attention+projection");
        config.also.norms = true;
        let learner = Learner::new(&config, &f.backbone, &vocab, None).expect("a learner");
        let mut noise = StepNoise::new(&config, None, 3);
        let (loss, grads) = gradients(&f.backbone, &learner, &f.batch, &mut noise).expect("a step");
        let values = learner.state().into_iter().map(|(name, var)| {
            let g =
                grads.get(&var).map(|g| g.flatten_all().and_then(|g| g.to_vec1::<f32>()).expect("values"));
            (name, g)
        });
        (loss, values.collect::<Vec<_>>())
    };
    for method in [Method::Mask, Method::Finetune, Method::Bitfit] {
        let (kept, twice) = (of(false, method), of(true, method));
        assert!(kept.1.iter().filter(|(_, g)| g.is_some()).count() > 8);
        assert_eq!(kept, twice, "{method:?}");
    }
}

/// On AMX the factors are rounded to bf16: every gradient still points where the exact one does.
#[test]
fn bf16_gradients_agree_with_f32() {
    if Precision::Bf16.resolve(&Device::Cpu).is_err() {
        return;
    }
    let f = fixture();
    let vocab: Vec<String> = (0..SYMBOLS).map(|i| i.to_string()).collect();
    let of = |precision: Precision| {
        let mut config = TrainConfig { precision, ..TrainConfig::default() };
        config.mask.covers = covers("ffn+attention");
        let learner = Learner::new(&config, &f.backbone, &vocab, None).expect("a learner");
        let (loss, grads) = gradients(&f.backbone, &learner, &f.batch, &mut StepNoise::new(&config, None, 0))
            .expect("a step");
        let gradient = |var: &candle_core::Var| {
            let g = grads.get(var).expect("a gradient").flatten_all().and_then(|g| g.to_vec1::<f32>());
            g.expect("values")
        };
        (loss, learner.state().iter().map(|(n, v)| (n.clone(), gradient(v))).collect::<Vec<_>>())
    };
    let ((exact, f32s), (rounded, bf16s)) = (of(Precision::F32), of(Precision::Bf16));
    assert!((exact / rounded - 1.0).abs() < 0.01, "loss {exact} and {rounded}");
    for ((name, a), (_, b)) in f32s.iter().zip(&bf16s) {
        let dot =
            |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
        let length = (dot(b, b) / dot(a, a)).sqrt();
        // The gradient of a key's weights is small beside its factors' and so the least exact.
        assert!(cosine > 0.99 && (length - 1.0).abs() < 0.05, "{name}: cosine {cosine}, length {length}");
        assert!(a != b || name.starts_with("head"), "{name}: bf16 changed nothing");
    }
}

#[test]
fn accumulating_two_batches_is_one_batch_of_both() {
    let f = fixture();
    let config = TrainConfig::default();
    let vocab: Vec<String> = (0..SYMBOLS).map(|i| i.to_string()).collect();
    let after = |batches: Vec<Batch>| {
        let learner = Learner::new(&config, &f.backbone, &vocab, None).expect("a learner");
        let mut adam = learner.optimizer(&config);
        let noise = |_| StepNoise::new(&config, None, 0);
        let mut passes: Vec<_> = batches.into_iter().map(|b| (b, noise(()))).collect();
        let outcome = step(&f.backbone, &learner, &mut adam, &mut passes, None, 1.0).expect("a step");
        (outcome, learner.head().0)
    };
    let row = |i: usize| Batch {
        features: s3router_core::model::Features {
            tensor: f.batch.features.tensor.narrow(0, i, 1).expect("a row"),
            lengths: vec![f.batch.features.lengths[i]],
        },
        labels: vec![f.batch.labels[i].clone()],
    };
    let ((one, a), (two, b)) = (after(vec![f.batch.clone()]), after(vec![row(0), row(1)]));
    assert!((one.loss / two.loss - 1.0).abs() < 1e-5 && (one.norm / two.norm - 1.0).abs() < 1e-4);
    assert!(distance(&a, &b) < 1e-3);
}
