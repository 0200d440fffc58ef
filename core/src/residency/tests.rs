use super::*;
use crate::{demo, engine::Engine, engine::Utterance, model::Source, packs::Packs};
use candle_core::Device;

/// The demo's packs from files, as a server has them.
fn demo() -> (tempfile::TempDir, Backbone, Packs) {
    let backbone = Backbone::load(&Source::Demo, &Device::Cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (pack, bytes) in demo::packs(&backbone).unwrap().iter().zip(demo::PACKS) {
        std::fs::write(folder.path().join(format!("{}.safetensors", pack.meta.language)), bytes).unwrap();
    }
    let packs = Packs::open(folder.path(), &backbone).unwrap();
    (folder, backbone, packs)
}

fn resident(packs: &Packs) -> Vec<&str> {
    packs.iter().filter(|p| p.is_resident()).map(|p| p.meta.language.as_str()).collect()
}

#[test]
fn the_least_recently_leased_go_and_pins_stay() {
    let (_folder, backbone, packs) = demo();
    let get = |id: &str| packs.get(id).unwrap();
    // Room for two of the three, whose heads differ a little.
    let sizes = ["en", "tt", "fr"].map(|id| get(id).bytes);
    let residency = Residency::new(sizes.iter().max().map(|most| most * 5 / 2));
    residency.pin("sv_SE");
    packs.iter().for_each(|pack| residency.admit(pack));
    assert!(resident(&packs).len() < 5 && resident(&packs).contains(&"sv_SE"), "{:?}", resident(&packs));

    residency.lease(&get("en"), &backbone).unwrap();
    residency.lease(&get("tt"), &backbone).unwrap();
    assert_eq!(resident(&packs), ["en", "sv_SE", "tt"]);
    residency.lease(&get("fr"), &backbone).unwrap();
    assert_eq!(resident(&packs), ["fr", "sv_SE", "tt"], "en was asked for before tt");

    Residency::new(Some(0)).lease(&get("ky"), &backbone).unwrap();
    assert!(get("ky").is_resident(), "whoever is served now is in memory, however small the budget");
}

#[test]
fn packs_without_a_budget_or_without_a_file_stay() {
    let (_folder, backbone, packs) = demo();
    packs.iter().for_each(|pack| Residency::default().admit(pack));
    assert_eq!(resident(&packs).len(), 11);
    let embedded = demo::packs(&backbone).unwrap();
    let none = Residency::new(Some(0));
    embedded.iter().for_each(|pack| none.admit(pack));
    assert_eq!(resident(&embedded).len(), 11);
}

#[test]
fn a_pack_that_went_answers_as_before() {
    let (_folder, backbone, packs) = demo();
    let mut state = 7u32;
    let noise = (0..16_000).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state as f32 / u32::MAX as f32 - 0.5
    });
    let samples: Arc<[f32]> = noise.collect();
    let batch: Vec<_> =
        ["tr", "en", "ru"].map(|id| Utterance::new(Arc::clone(&samples), &packs.get(id).unwrap())).into();
    let values = |t: Vec<candle_core::Tensor>| -> Vec<Vec<f32>> {
        t.iter().map(|t| t.flatten_all().unwrap().to_vec1().unwrap()).collect()
    };
    let engine = Engine::new(backbone);
    let before = values(engine.emissions(&batch).unwrap());
    let engine = engine.with_residency(Residency::new(Some(0)));
    packs.iter().for_each(|pack| engine.admit(pack));
    assert_eq!(resident(&packs), ["zh_TW"]);
    for _ in 0..2 {
        assert_eq!(values(engine.emissions(&batch).unwrap()), before);
        assert_eq!(resident(&packs).len(), 1);
    }
}

#[test]
fn a_file_that_changed_under_an_evicted_pack_fails_its_own_utterances_only() {
    let (folder, backbone, packs) = demo();
    let engine = Engine::new(backbone).with_residency(Residency::new(Some(0)));
    packs.iter().for_each(|pack| engine.admit(pack));
    std::fs::write(folder.path().join("en.safetensors"), demo::PACKS[1]).unwrap();

    let samples: Arc<[f32]> = vec![0.1; 8000].into();
    let batch: Vec<_> =
        ["en", "es"].map(|id| Utterance::new(Arc::clone(&samples), &packs.get(id).unwrap())).into();
    let results = engine.transcribe(&batch);
    let error = results[0].as_ref().unwrap_err().to_string();
    assert!(error.contains("en.safetensors") && error.contains("reload"), "{error}");
    assert!(results[1].is_ok(), "{:?}", results[1]);
}
