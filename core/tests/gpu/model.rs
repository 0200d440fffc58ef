use crate::{
    device::{again, emulated},
    distance, gpu, mask, random,
};
use candle_core::{Device, Tensor};
use s3router_core::{
    Cancel, Engine, Fleet, Utterance, demo,
    device::DeviceChoice,
    gate::{Gates, Segment},
    model::{Backbone, Config, ExtractorNorm, Source},
    precision::Precision,
};
use std::sync::Arc;

/// The final hidden states of a batch of unequal rows in two languages and an open one.
fn hidden(backbone: &Backbone) -> Tensor {
    hidden_of(backbone, &[1, 1, 1])
}

/// The same of two backbones, so many rows to a language.
pub(crate) fn expected_and_found(cpu: &Backbone, gpu: &Backbone, languages: &[usize]) -> (Tensor, Tensor) {
    (hidden_of(cpu, languages), hidden_of(gpu, languages))
}

fn hidden_of(backbone: &Backbone, languages: &[usize]) -> Tensor {
    let waves: Vec<Vec<f32>> =
        [5000, 3000, 4100].iter().zip(1..).map(|(n, seed)| random(&[*n], seed).to_vec1().unwrap()).collect();
    let gates = |seed: usize| {
        let weights = backbone.maskable().into_iter();
        let gates = weights.map(|(name, (n, k))| (name, backbone.gate(&mask(n, k, seed)))).collect();
        Arc::new(Gates::new(gates))
    };
    let mut at = 0;
    let segments = languages.iter().enumerate().map(|(i, rows)| {
        at += rows;
        let gates = if i == 2 { Arc::new(Gates::open()) } else { gates(i + 1) };
        Segment { rows: at - rows..at, gates }
    });
    let segments: Vec<_> = segments.collect();
    let batch = backbone.prepare(&waves.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    let features = backbone.extract(&batch).unwrap();
    let x = backbone.encode(&features, &segments, None).unwrap().to_device(&Device::Cpu).unwrap();
    // Frames past a row's end mean nothing.
    let rows = features.lengths.iter().enumerate().map(|(b, n)| x.get(b).unwrap().narrow(0, 0, *n).unwrap());
    Tensor::cat(&rows.collect::<Vec<_>>(), 0).unwrap()
}

/// A GPU behind which candle's own kernels are empty (a stand-in compiled them) cannot run a model.
pub(crate) fn whole() -> bool {
    let whole = std::env::var("S3ROUTER_CANDLE_PTX").map_or(true, |v| v != "empty");
    if !whole {
        println!("not run: candle's kernels are not compiled");
    }
    whole
}

#[test]
fn the_model_on_a_gpu_is_the_model_on_the_cpu() {
    let Some(gpu) = gpu().filter(|_| whole()) else { return };
    let post = Config { pre_norm: false, extractor_norm: ExtractorNorm::Group, ..Config::tiny() };
    for config in [Config::tiny(), post] {
        let [cpu, gpu] = [&Device::Cpu, &gpu].map(|d| Backbone::random(config.clone(), 3, d).unwrap());
        let expected = hidden(&cpu);
        let distance = distance(&hidden(&gpu), &expected);
        assert!(distance < 2e-5, "f32: {distance}");
    }
}

#[test]
fn two_gpus_say_what_one_says() {
    let Some(first) = gpu().filter(|_| whole()) else { return };
    let Ok(second) = DeviceChoice::Cuda(1).open() else { return println!("not run: one GPU only") };
    let engine =
        |device: &Device| Ok(Engine::new(Backbone::load_packed(&Source::Demo, device, Precision::Auto)?));
    let one = Arc::new(engine(&first).unwrap());
    let packs = demo::packs(one.backbone()).unwrap();
    let utterances = ["tr", "en"].map(|language| {
        let samples: Vec<f32> = (0..4000).map(|i| 0.2 * (i as f32 * 0.1).sin()).collect();
        Utterance::new(samples, &packs.get(language).unwrap())
    });
    let fleet = Fleet::new(one.clone(), vec![("cuda:1".into(), Box::new(move || engine(&second)))]).unwrap();
    let pieces: Vec<_> = utterances.iter().flat_map(|u| fleet.first().cut(u).unwrap()).collect();
    let parts = fleet.compute(&pieces.iter().collect::<Vec<_>>(), &mut || Ok(())).unwrap();
    assert_eq!(fleet.devices(), 2, "nobody failed");
    for ((utterance, part), alone) in utterances.iter().zip(parts).zip(one.transcribe(&utterances)) {
        let read = fleet.first().read(utterance, vec![part], &Cancel::default()).unwrap();
        assert_eq!(read.text, alone.unwrap().text);
    }
}

/// A backbone in half precision against the whole one.
fn halved(gpu: &Device, precision: Precision, allowed: f32) {
    let cpu = Backbone::random(Config::tiny(), 3, &Device::Cpu).unwrap();
    let names: Vec<String> = cpu.maskable().into_iter().map(|(name, _)| name).collect();
    let halved = Backbone::random_packed(Config::tiny(), 3, gpu, precision).unwrap();
    let distance = distance(&hidden(&halved), &hidden(&cpu));
    assert!(distance < allowed && distance > 0.0, "{precision}: {distance}");
    let identity = |b: &Backbone| b.fingerprint(names.iter().map(String::as_str)).unwrap();
    assert_eq!(identity(&halved), identity(&cpu), "rounding must not change which backbone this is");
}

#[test]
fn half_precision_stays_near_and_is_bound_to_the_same_packs() {
    let Some(gpu) = gpu().filter(|_| whole()) else { return };
    halved(&gpu, Precision::F16, 5e-3);
    if Precision::Bf16.resolve(&gpu).is_ok() {
        halved(&gpu, Precision::Bf16, 4e-2);
    }
}

#[test]
fn auto_is_the_half_precision_that_the_gpu_has() {
    let Some(gpu) = gpu() else { return };
    let [serving, learning] = [Precision::Auto.resolve(&gpu), Precision::Auto.for_learning(&gpu)];
    let [serving, learning] = [serving, learning].map(Result::unwrap);
    match Precision::Bf16.resolve(&gpu) {
        Ok(_) => assert_eq!([serving, learning], [Precision::Bf16; 2]),
        Err(error) => {
            assert_eq!([serving, learning], [Precision::F16, Precision::F32]);
            assert!(error.to_string().contains("8.0"), "{error}");
        }
    }
    let refused = Precision::F16.for_learning(&gpu).unwrap_err().to_string();
    assert!(refused.contains("--precision f32"), "{refused}");
}

#[test]
fn a_gpu_before_bf16_serves_in_f16_without_the_fused_kernel() {
    if !emulated() {
        return;
    }
    let older = [("S3ROUTER_EMULATED_CAPABILITY", "75")];
    let all = [
        "auto_is_the_half_precision_that_the_gpu_has",
        "half_precision_stays_near_and_is_bound_to_the_same_packs",
    ];
    for test in all {
        let (passed, said) = again(&format!("model::{test}"), &older);
        assert!(passed, "{said}");
    }
}
