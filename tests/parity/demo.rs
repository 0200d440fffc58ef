//! The shipped backbone and packs against PyTorch's logits on the same audio (`fixtures/golden`).

use crate::support::{all, assert_close, fixture, gates_of, tensors};
use candle_core::{Device, Tensor};
use s3router_core::model::{Backbone, Head, Source};

const LANGUAGES: [&str; 11] = ["en", "es", "fr", "it", "ky", "nl", "ru", "sv_SE", "tr", "tt", "zh_TW"];

#[test]
fn every_demo_language_gives_the_logits_of_pytorch() {
    let backbone = Backbone::load(&Source::Demo, &Device::Cpu).unwrap();
    for language in LANGUAGES {
        let golden = tensors(&format!("golden/{language}.safetensors"));
        let pack = fixture(&format!("../../core/demo/packs/{language}.safetensors"));
        let pack = s3router_masks::open_path(&pack).unwrap().pack;
        let (v, d) = (pack.meta.vocab.len(), pack.head.dim);
        let weight = Tensor::from_slice(&pack.head.weight, (v, d), &Device::Cpu).unwrap();
        let head = Head::new(weight, Tensor::from_slice(&pack.head.bias, v, &Device::Cpu).unwrap());

        let wave: Vec<f32> = golden["wav"].to_vec1().unwrap();
        let features = backbone.extract(&backbone.prepare(&[&wave]).unwrap()).unwrap();
        let hidden = backbone.encode(&features, &all(1, &gates_of(pack.masks)), None).unwrap();

        let logits = head.logits(&hidden).unwrap().squeeze(0).unwrap();
        assert_close(&logits, &golden["logits"], 1e-4);
    }
}
