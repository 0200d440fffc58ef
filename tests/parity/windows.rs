//! Long audio in windows against the same audio whole.

use crate::support::{assert_close, fixture, tensors};
use candle_core::Device;
use s3router_core::{
    Cancel, Engine, Precision, Utterance, demo,
    learn::metrics,
    model::{Backbone, Source},
    window::Windowing,
};
use std::sync::Arc;

fn engine(seconds: usize, margin: usize) -> Engine {
    let backbone = Backbone::load_packed(&Source::Demo, &Device::Cpu, Precision::F32).unwrap();
    Engine::new(backbone).with_windowing(Windowing { samples: seconds * 16_000, margin: margin * 16_000 })
}

/// A golden clip over and over with pauses between, about so many seconds, and what it says.
fn repeated(lang: &str, seconds: usize) -> (Utterance, String) {
    let path = format!("golden/{lang}.safetensors");
    let bytes = std::fs::read(fixture(&path)).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let text = &header.metadata().as_ref().unwrap()["text"];
    let wave = tensors(&path)["wav"].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let times = seconds * 16_000 / (wave.len() + 4_800);
    let pause = |i: usize| vec![0.0; 3_200 + 1_600 * (i % 3)];
    let samples: Vec<f32> = (0..times).flat_map(|i| [wave.clone(), pause(i)].concat()).collect();
    let backbone = Backbone::load(&Source::Demo, &Device::Cpu).unwrap();
    let pack = demo::packs(&backbone).unwrap().get(lang).unwrap();
    (Utterance::new(samples, &pack), vec![text.as_str(); times].join(" "))
}

/// The bound that windows are sold with: cut or whole, the character error rate of 100 s against what was said
/// differs by less than a point.
#[test]
fn windows_hear_what_the_whole_hears() {
    for lang in ["tr", "nl"] {
        let (utterance, said) = repeated(lang, 100);
        let cer = |engine: Engine| {
            let heard = engine.transcribe(std::slice::from_ref(&utterance)).remove(0).unwrap().text;
            metrics::char_edits(&said, &heard).rate()
        };
        let cut = Windowing::default();
        let (cut, whole) = (cer(engine(cut.samples / 16_000, cut.margin / 16_000)), cer(engine(1000, 1)));
        assert!((cut - whole).abs() < 0.01 && whole < 0.1, "{lang}: {cut} in windows, {whole} whole");
    }
}

#[test]
fn slices_of_the_extractor_are_the_whole() {
    let backbone = Backbone::load_packed(&Source::Demo, &Device::Cpu, Precision::F32).unwrap();
    let (long, _) = repeated("tr", 20);
    let batch = backbone.prepare(&[&long.samples, &long.samples[..123_456]]).unwrap();
    let mut pauses = 0;
    let count = &mut || {
        pauses += 1;
        Ok(())
    };
    let sliced = backbone.extract_with_pauses(&batch, count).unwrap();
    let whole = backbone.extract(&batch).unwrap();
    assert_eq!(sliced.lengths, whole.lengths);
    assert_close(&sliced.tensor, &whole.tensor, 1e-6);
    assert!(pauses >= 4, "{pauses}");
}

/// Which pieces run together, in which order and with whom, changes nothing.
#[test]
fn any_order_of_pieces_gives_the_same_logits() {
    let engine = Arc::new(engine(8, 1));
    let utterance = repeated("tr", 60).0;
    let pieces = engine.cut(&utterance).unwrap();
    assert!(pieces.len() > 5);
    let expected = engine.read(
        &utterance,
        engine.compute(&pieces.iter().collect::<Vec<_>>(), &mut || Ok(())).unwrap(),
        &Cancel::default(),
    );
    let mut parts = Vec::new();
    for group in pieces.rchunks(2) {
        let mut calls = 0;
        let found = engine.compute(&group.iter().rev().collect::<Vec<_>>(), &mut || {
            calls += 1;
            // Another batch between two layers.
            if calls == 3 { engine.compute(&[&pieces[0]], &mut || Ok(())).map(drop) } else { Ok(()) }
        });
        parts.extend(found.unwrap());
        assert!(calls > 3);
    }
    assert_eq!(engine.read(&utterance, parts, &Cancel::default()).unwrap(), expected.unwrap());
}

#[test]
fn a_batch_is_given_up_at_its_next_pause() {
    let engine = engine(8, 1);
    let utterance = repeated("tr", 60).0;
    let pieces = engine.cut(&utterance).unwrap();
    let mut pauses = 0;
    let outcome = engine.compute(&[&pieces[0]], &mut || {
        pauses += 1;
        if pauses == 3 { Err(s3router_core::Error::Abandoned) } else { Ok(()) }
    });
    assert!(matches!(outcome, Err(s3router_core::Error::Abandoned)));
    assert_eq!(pauses, 3);
}
