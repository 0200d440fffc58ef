use super::*;
use candle_core::{DType, Device};

const FC1: &str = "encoder.layers.0.feed_forward.intermediate_dense.weight";
const FC2: &str = "encoder.layers.1.feed_forward.output_dense.weight";
const QUERY: &str = "encoder.layers.0.attention.q_proj.weight";

fn weight(out: usize, fan_in: usize, salt: u64) -> Tensor {
    use rand::Rng;
    let mut rng = crate::learn::seeds::stream(salt, "weights", 0);
    let values: Vec<f32> = (0..out * fan_in).map(|_| rng.random_range(-1f32..1.0)).collect();
    Tensor::from_vec(values, (out, fan_in), &Device::Cpu).expect("a tensor")
}

fn weights() -> Vec<(&'static str, Tensor)> {
    vec![
        (FC1, weight(24, 8, 1)),
        (FC2, weight(8, 24, 2)),
        (QUERY, weight(8, 8, 3)),
        ("lm_head.weight", weight(5, 8, 4)),
    ]
}

fn init(config: &MaskConfig, seed: u64) -> Scores {
    let weights = weights();
    Scores::init(config, weights.iter().map(|(n, w)| (*n, w)), seed).expect("scores")
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().and_then(|t| t.to_vec1()).expect("f32 values")
}

#[test]
fn weight_rank_starts_from_the_magnitude_mask_whatever_the_seed() {
    let config = MaskConfig { density: Density::Global(0.7), ..MaskConfig::default() };
    let (a, b) = (init(&config, 1), init(&config, 2));
    assert_eq!(a.masks().expect("bits"), b.masks().expect("bits"));
    assert_ne!(values(a.scores[FC1].var.as_tensor()), values(b.scores[FC1].var.as_tensor()));
    let by_magnitude = topk::select(&values(&weights()[0].1), 0.7);
    let bits = &a.masks().expect("bits")[FC1];
    assert!((0..24 * 8).all(|i| bits.get(i / 8, i % 8) == (by_magnitude[i] == 1.0)));
    let bound = 1.0 / 8f32.sqrt();
    let scores = values(a.scores[FC1].var.as_tensor());
    assert!(scores.iter().all(|s| s.abs() <= bound) && scores.iter().any(|s| *s < 0.0));
}

/// How often a weight is taken back after 1,000 of 2,000 noisy updates that on the whole want it dropped.
fn returns(scores: &Scores) -> usize {
    use rand::Rng;
    let variables = scores.trainable().map(|(name, var)| (name.to_owned(), var.clone(), 1e-2));
    let mut adam = crate::learn::adam::Adam::new(variables);
    let mut rng = crate::learn::seeds::stream(1, "noise", 0);
    let (mut kept, mut returns) = (true, 0);
    for update in 0..2000 {
        let gates = scores.gates().expect("gates");
        let Gate::Soft(mask) = gates.get(FC1) else { panic!("a soft gate") };
        // Of the first weight alone the loss takes notice.
        let mut harm = vec![0f32; 24 * 8];
        harm[0] = rng.random_range(-4f32..5.0);
        let harm = Tensor::from_vec(harm, (24, 8), &Device::Cpu).expect("a tensor");
        let loss = mask.mul(&harm).and_then(|m| m.sum_all()).expect("a loss");
        let mut sum = crate::learn::adam::Gradients::default();
        adam.accumulate(&mut sum, loss.backward().expect("gradients")).expect("a sum");
        adam.update(sum, 1.0, None, 1.0).expect("an update");
        let now = scores.masks().expect("bits")[FC1].get(0, 0);
        returns += usize::from(update >= 1000 && now && !kept);
        kept = now;
    }
    returns
}

#[test]
fn raised_scores_start_as_the_same_mask_and_drop_a_weight_for_good() {
    let config = MaskConfig { density: Density::Global(0.9), ..MaskConfig::default() };
    let (plain, raised) = (init(&config, 1), init(&config, 1));
    raised.raise(4.0).expect("raised");
    assert_eq!(plain.masks().expect("bits"), raised.masks().expect("bits"));
    let (a, b) = (values(plain.scores[FC1].var.as_tensor()), values(raised.scores[FC1].var.as_tensor()));
    assert!(a.iter().zip(&b).all(|(a, b)| *b == a.abs() + 4.0));
    assert_eq!(returns(&raised), 0);
    let returns = returns(&plain);
    assert!(returns > 2, "{returns}");
}

#[test]
fn every_start_has_its_own_spread() {
    let fan_in = 300f32;
    let w = weight(200, 300, 9);
    let spread = |start| {
        let s = init::scores(start, Structure::Weights, &w, 1, "w").expect("scores");
        let v = values(&s);
        (v.iter().map(|x| x * x).sum::<f32>() / v.len() as f32).sqrt()
    };
    for (start, deviation) in [
        (InitScore::KaimingUniform, (1.0 / (3.0 * fan_in)).sqrt()),
        (InitScore::WeightRank, (1.0 / (3.0 * fan_in)).sqrt()),
        (InitScore::KaimingNormal, (2.0 / fan_in).sqrt()),
        (InitScore::XavierUniform, (2.0 / 500f32).sqrt()),
        (InitScore::XavierNormal, (2.0 / 500f32).sqrt()),
        (InitScore::Uniform, (1.0 / 3f32).sqrt()),
        (InitScore::Normal, 1.0),
        (InitScore::WeightMagnitude, (1.0 / 3f32).sqrt()),
        (InitScore::WeightMagnitudeWithScale(2.0), 0.5 * (1.0 / 3f32).sqrt()),
    ] {
        assert!(
            (spread(start) / deviation - 1.0).abs() < 0.02,
            "{start:?}: {} != {deviation}",
            spread(start)
        );
    }
}

#[test]
fn negative_magnitude_keeps_what_magnitude_drops() {
    let w = weight(4, 6, 5);
    let mask = |start, density| {
        let s = init::scores(start, Structure::Weights, &w, 1, "w").expect("scores");
        topk::select(&values(&s), density)
    };
    let (large, small) =
        (mask(InitScore::WeightMagnitude, 0.5), mask(InitScore::NegativeWeightMagnitude, 0.5));
    assert!(large.iter().zip(&small).all(|(a, b)| a + b == 1.0));
}

#[test]
fn covers_and_densities_follow_the_names() {
    let read = |s: &str| Covers::try_from(s.to_owned());
    assert!(read("ffn+heads").is_err());
    assert_eq!(String::from(read("attention + ffn").expect("covers")), "ffn+attention");
    assert!(read("projection").expect("covers").weight("feature_projection.projection.weight"));
    let parts = Density::Parts { ffn: 0.5, attention: 0.25 };
    let config = MaskConfig {
        covers: read("ffn+attention").expect("covers"),
        density: parts,
        ..MaskConfig::default()
    };
    let masks = init(&config, 1).masks().expect("bits");
    assert_eq!(masks[FC1].count_ones(), 96);
    assert_eq!(masks[QUERY].count_ones(), 16);
    assert!(!masks.contains_key("lm_head.weight"));

    let layers = Density::Layers(vec![1.0, 0.5]);
    let masks = init(&MaskConfig { density: layers, ..MaskConfig::default() }, 1).masks().expect("bits");
    assert_eq!((masks[FC1].count_ones(), masks[FC2].count_ones()), (192, 96));
    let w = weights();
    let short = MaskConfig { density: Density::Layers(vec![0.5]), ..MaskConfig::default() };
    let error = Scores::init(&short, w.iter().map(|(n, w)| (*n, w)), 1).err().expect("an error");
    assert!(error.to_string().contains("layer 1"), "{error}");
}

#[test]
fn gates_are_the_exported_bits_in_every_structure() {
    for structure in [Structure::Weights, Structure::Rows, Structure::Columns] {
        let scores =
            init(&MaskConfig { structure, density: Density::Global(0.7), ..MaskConfig::default() }, 3);
        let (gates, masks) = (scores.gates().expect("gates"), scores.masks().expect("bits"));
        for (name, mask) in &masks {
            let Gate::Soft(gate) = gates.get(name) else { panic!("{name} has no soft gate") };
            assert_eq!(gate.dims2().expect("a matrix"), (mask.rows(), mask.cols()));
            let bits: Vec<f32> = (0..mask.len())
                .map(|i| f32::from(u8::from(mask.get(i / mask.cols(), i % mask.cols()))))
                .collect();
            assert_eq!(values(&gate.contiguous().expect("values")), bits, "{structure:?} {name}");
        }
        if structure == Structure::Rows {
            let rows = (0..24).filter(|&r| masks[FC1].row(r) == [255]).count();
            assert_eq!((rows, masks[FC1].count_ones()), (17, 17 * 8));
        }
    }
}

#[test]
fn a_structured_score_sums_the_gradient_of_its_row() {
    let scores = init(&MaskConfig { structure: Structure::Rows, ..MaskConfig::default() }, 3);
    let gates = scores.gates().expect("gates");
    let Gate::Soft(gate) = gates.get(FC1) else { panic!("no gate") };
    let upstream = weight(24, 8, 11);
    let grads = (gate * &upstream).and_then(|x| x.sum_all()).and_then(|x| x.backward()).expect("gradients");
    let var = &scores.scores[FC1].var;
    let sums = (upstream.sum_keepdim(1).expect("sums") * var.sign().expect("signs")).expect("products");
    let difference = (grads.get(var).expect("a gradient") - sums).and_then(|d| d.abs()).expect("difference");
    assert!(values(&difference).iter().all(|d| *d < 1e-6));
}

#[test]
fn frozen_layers_have_a_mask_but_no_gradient() {
    let scores = init(&MaskConfig { frozen_below_layer: 1, ..MaskConfig::default() }, 3);
    assert_eq!(scores.trainable().map(|(n, _)| n).collect::<Vec<_>>(), [FC2]);
    let gates = scores.gates().expect("gates");
    let mut loss = Tensor::zeros((), DType::F32, &Device::Cpu).expect("zero");
    for name in [FC1, FC2] {
        let Gate::Soft(gate) = gates.get(name) else { panic!("no gate") };
        loss = (loss + gate.sum_all().expect("a sum")).expect("a sum");
    }
    let grads = loss.backward().expect("gradients");
    assert!(grads.get(&scores.scores[FC1].var).is_none() && grads.get(&scores.scores[FC2].var).is_some());
}

#[test]
fn a_mask_carried_over_is_the_mask_one_gets() {
    let config = MaskConfig { density: Density::Global(0.7), ..MaskConfig::default() };
    let other = MaskConfig { init: InitScore::KaimingUniform, ..config.clone() };
    let from = init(&other, 5).masks().expect("bits");
    let scores = init(&config, 1);
    assert_ne!(scores.masks().expect("bits"), from);
    scores.carry_over(&from).expect("the same shapes");
    assert_eq!(scores.masks().expect("bits"), from);
}
