//! What a gate promises, on random models of every kind.

use crate::support::{all, assert_close, gates_of, random_masks, speech};
use candle_core::{Device, Tensor, Var};
use s3router_core::{
    gate::{Gate, Gates, Segment},
    linear::dense,
    model::{Backbone, Config, ExtractorNorm, PositionalConv},
};
use s3router_masks::BitMask;
use std::{collections::BTreeMap, sync::Arc};

const ROUNDING: f32 = 1e-5;

/// XLS-R, wav2vec2-base / HuBERT and data2vec-audio in miniature.
fn kinds() -> [Backbone; 3] {
    let xlsr = Config::tiny();
    let base =
        Config { pre_norm: false, conv_bias: false, extractor_norm: ExtractorNorm::Group, ..Config::tiny() };
    let data2vec = Config {
        pre_norm: false,
        conv_bias: false,
        positional: PositionalConv { layers: 5, kernel: 19, groups: 4 },
        ..Config::tiny()
    };
    [xlsr, base, data2vec].map(|config| Backbone::random(config, 7, &Device::Cpu).unwrap())
}

fn masks(backbone: &Backbone, seed: u64) -> BTreeMap<String, BitMask> {
    random_masks(&backbone.maskable(), seed)
}

fn hidden(backbone: &Backbone, waves: &[&[f32]], segments: &[Segment]) -> Tensor {
    let features = backbone.extract(&backbone.prepare(waves).unwrap()).unwrap();
    backbone.encode(&features, segments, None).unwrap()
}

/// The weights with the masks multiplied in, as whole parameters.
fn multiplied(backbone: &Backbone, masks: &BTreeMap<String, BitMask>) -> Arc<Gates> {
    let product = |(name, mask): (&String, &BitMask)| {
        let weight = backbone.weight(name).unwrap();
        (name.clone(), (weight * dense(mask, &Device::Cpu).unwrap()).unwrap())
    };
    Arc::new(Gates::open().with_overrides(masks.iter().map(product).collect()))
}

fn soft(masks: &BTreeMap<String, BitMask>) -> Arc<Gates> {
    let gate = |mask| Gate::Soft(dense(mask, &Device::Cpu).unwrap());
    Arc::new(Gates::new(masks.iter().map(|(name, mask)| (name.clone(), gate(mask))).collect()))
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_mask_that_keeps_everything_equals_the_open_gate_bit_for_bit() {
    let wave = speech(8000, 1);
    for backbone in kinds() {
        let ones =
            backbone.maskable().into_iter().map(|(name, (r, c))| (name, BitMask::ones(r, c))).collect();
        let kept = hidden(&backbone, &[&wave], &all(1, &gates_of(ones)));
        let open = hidden(&backbone, &[&wave], &all(1, &Arc::default()));
        assert_eq!(bits(&kept), bits(&open));
    }
}

#[test]
fn two_packs_differ_and_each_equals_its_own_multiplied_weights() {
    let wave = speech(8000, 1);
    for backbone in kinds() {
        let found = [1, 2].map(|seed| {
            let masks = masks(&backbone, seed);
            let packed = hidden(&backbone, &[&wave], &all(1, &gates_of(masks.clone())));
            assert_close(
                &packed,
                &hidden(&backbone, &[&wave], &all(1, &multiplied(&backbone, &masks))),
                ROUNDING,
            );
            assert_close(&packed, &hidden(&backbone, &[&wave], &all(1, &soft(&masks))), ROUNDING);
            packed
        });
        assert!(crate::support::distance(&found[0], &found[1]) > 0.01);
    }
}

#[test]
fn a_batch_of_many_languages_and_lengths_equals_each_row_alone() {
    let waves = [speech(8000, 1), speech(5000, 2), speech(300, 3), speech(6401, 4), speech(7000, 5)];
    let waves: Vec<&[f32]> = waves.iter().map(Vec::as_slice).collect();
    for backbone in kinds() {
        let [a, b] = [1, 2].map(|seed| gates_of(masks(&backbone, seed)));
        let replaced = multiplied(&backbone, &masks(&backbone, 3));
        for languages in [[&a, &b, &Arc::default()], [&a, &replaced, &b]] {
            let rows = [0..2, 2..3, 3..5];
            let segments: Vec<Segment> =
                rows.into_iter().zip(languages).map(|(rows, g)| Segment { rows, gates: g.clone() }).collect();
            let batch = hidden(&backbone, &waves, &segments);
            for segment in &segments {
                for row in segment.rows.clone() {
                    let alone = hidden(&backbone, &[waves[row]], &all(1, &segment.gates));
                    let frames = backbone.frames(waves[row].len());
                    let part = |t: &Tensor, row| t.get(row).unwrap().narrow(0, 0, frames).unwrap();
                    if frames > 0 {
                        assert_close(&part(&batch, row), &part(&alone, 0), ROUNDING);
                    }
                }
            }
        }
    }
}

#[test]
fn audio_shorter_than_a_frame_has_no_frames_and_harms_nobody() {
    for backbone in kinds() {
        let found = hidden(&backbone, &[&[], &[0.5]], &all(2, &Arc::default()));
        assert!(bits(&found).into_iter().all(|b| f32::from_bits(b).is_finite()));
        assert_eq!([0, 1, backbone.config().receptive_field()].map(|n| backbone.frames(n)), [0, 0, 1]);
    }
}

#[test]
fn the_gradient_of_a_soft_gate_is_the_slope_of_the_loss() {
    let wave = speech(4000, 1);
    for backbone in kinds() {
        let name = "encoder.layers.0.feed_forward.output_dense.weight";
        let mask = dense(&masks(&backbone, 1)[name], &Device::Cpu).unwrap();
        let target = hidden(&backbone, &[&wave], &all(1, &Arc::default()));
        let loss = |mask: &Tensor| {
            let gates = Gates::new(BTreeMap::from([(name.to_owned(), Gate::Soft(mask.clone()))]));
            let found = hidden(&backbone, &[&wave], &all(1, &Arc::new(gates)));
            (found - &target).unwrap().sqr().unwrap().mean_all().unwrap()
        };
        let var = Var::from_tensor(&mask).unwrap();
        let gradients = loss(&var).backward().unwrap();
        let gradient = gradients.get(&var).unwrap();

        // Along the gradient itself the slope is its squared norm.
        let norm = gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
        let step = 3e-2f64;
        let direction = (gradient / f64::from(norm)).unwrap();
        let at = |h: f64| loss(&(&mask + (&direction * h).unwrap()).unwrap()).to_scalar::<f32>().unwrap();
        let slope = (at(step) - at(-step)) / (2.0 * step as f32);
        assert!((slope - norm).abs() < 2e-2 * norm, "slope {slope}, gradient {norm}");
    }
}

#[test]
fn replaced_norms_and_biases_learn_too() {
    let wave = speech(4000, 1);
    for backbone in kinds() {
        for name in [
            "encoder.layer_norm.weight",
            "feature_projection.projection.weight",
            "encoder.layers.1.attention.q_proj.weight",
            "encoder.layers.1.final_layer_norm.bias",
        ] {
            let var = Var::from_tensor(backbone.weight(name).unwrap()).unwrap();
            let overrides = BTreeMap::from([(name.to_owned(), var.as_tensor().clone())]);
            let gates = Arc::new(Gates::open().with_overrides(overrides));
            let found = hidden(&backbone, &[&wave], &all(1, &gates));
            assert_close(&found, &hidden(&backbone, &[&wave], &all(1, &Arc::default())), ROUNDING);
            let gradients = found.sqr().unwrap().mean_all().unwrap().backward().unwrap();
            let gradient = gradients.get(&var).unwrap_or_else(|| panic!("no gradient for {name}"));
            assert!(gradient.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() > 0.0);
        }
    }
}

#[test]
fn a_mask_of_another_shape_names_the_weight_and_both_shapes() {
    let [backbone, ..] = kinds();
    let name = "encoder.layers.0.feed_forward.output_dense.weight".to_owned();
    let gates = gates_of(BTreeMap::from([(name.clone(), BitMask::ones(8, 8))]));
    let features = backbone.extract(&backbone.prepare(&[&speech(4000, 1)]).unwrap()).unwrap();
    let error = backbone.encode(&features, &all(1, &gates), None).unwrap_err().to_string();
    assert!([name.as_str(), "[8, 8]", "[32, 72]"].iter().all(|part| error.contains(part)), "{error}");
}

#[test]
fn a_row_without_a_gate_is_refused() {
    let [backbone, ..] = kinds();
    let features = backbone.extract(&backbone.prepare(&[speech(4000, 1).as_slice(); 2]).unwrap()).unwrap();
    for segments in [vec![], all(1, &Arc::default()), all(3, &Arc::default())] {
        backbone.encode(&features, &segments, None).unwrap_err();
    }
}

#[test]
fn the_fingerprint_tells_weights_apart_but_not_their_order() {
    let [backbone, ..] = kinds();
    let other = Backbone::random(Config::tiny(), 8, &Device::Cpu).unwrap();
    let names: Vec<String> = backbone.maskable().into_iter().map(|(name, _)| name).collect();
    let print = |b: &Backbone, names: &[String]| b.fingerprint(names.iter().map(String::as_str)).unwrap();
    let reversed: Vec<String> = names.iter().rev().cloned().collect();
    assert_eq!(print(&backbone, &names), print(&backbone, &reversed));
    assert_ne!(print(&backbone, &names), print(&other, &names));
    assert_ne!(print(&backbone, &names), print(&backbone, &names[1..]));
}
