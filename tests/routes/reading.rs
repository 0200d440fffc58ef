//! Better text: beam, key terms, n-grams beside a pack, several readings, calibrated confidence.

use crate::support::{Server, administered, assert_error, clip, tone};
use reqwest::Method;
use s3router_masks::{Codec, Kind, Pack, open_path, to_bytes};
use s3router_proto::{Alternative, ErrorKind, LanguageModel, PackList, Reloaded};
use std::{fmt::Write, fs, path::Path};
use tempfile::TempDir;

fn demo(lang: &str) -> Pack {
    let packs = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/demo/packs");
    open_path(&Path::new(packs).join(format!("{lang}.safetensors"))).unwrap().pack
}

/// A folder with one pack of the demo, changed.
pub(crate) fn folder(lang: &str, change: impl FnOnce(&mut Pack)) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut pack = demo(lang);
    change(&mut pack);
    let name = format!("{}.safetensors", pack.meta.language);
    fs::write(folder.path().join(name), to_bytes(&pack, Codec::Rans).unwrap()).unwrap();
    folder
}

/// Unigrams of these words alone.
fn arpa(words: &[&str]) -> String {
    let mut text = format!("\\data\\\nngram 1={}\n\\1-grams:\n-99 <s>\n-1 </s>\n-7 <unk>\n", words.len() + 3);
    words.iter().for_each(|word| writeln!(text, "-1 {word}").unwrap());
    text + "\\end\\\n"
}

/// The first reading beyond the best that has a word of its own, and that word.
pub(crate) fn other_reading(readings: &[Alternative]) -> (String, String) {
    let best: Vec<&str> = readings[0].text.split(' ').collect();
    let differs = |r: &Alternative| {
        let word = r.text.split(' ').find(|word| !best.contains(word))?;
        Some((r.text.clone(), word.to_owned()))
    };
    readings.iter().find_map(differs).expect("ten readings with one word's difference")
}

#[test]
fn several_readings_come_best_first_and_none_twice() {
    for lang in ["tr", "zh_TW"] {
        let (audio, _) = clip(lang);
        let answer = Server::demo().answer(&format!("lang={lang}&alternatives=5"), &audio);
        let readings = answer.alternatives.unwrap();
        assert_eq!((readings.len(), &readings[0].text), (5, &answer.text));
        let scores: Vec<f64> = readings.iter().map(|r| r.score.unwrap()).collect();
        assert!(scores.windows(2).all(|w| w[0] >= w[1]) && scores[0] < 0.0, "{scores:?}");
        let mut texts: Vec<&str> = readings.iter().map(|r| r.text.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), 5);
        let space = if lang == "zh_TW" { "" } else { " " };
        let words: Vec<String> = answer.words.unwrap().into_iter().map(|w| w.word).collect();
        assert_eq!(words.join(space), answer.text);
    }
}

#[test]
fn the_beam_reads_what_the_best_path_reads_where_that_is_sure() {
    // A clip that the pack reads well: where it does not, a likelier text than the best path's is what a beam is for.
    let (audio, _) = clip("tr");
    let greedy = Server::demo().answer("lang=tr", &audio);
    let beam = Server::demo().answer("lang=tr&decoder=beam&beam=64", &audio);
    let words = greedy.words.unwrap();
    let surest = words.iter().max_by(|a, b| a.confidence.total_cmp(&b.confidence)).unwrap();
    let there = beam.words.unwrap().into_iter().find(|w| (w.start - surest.start).abs() < 0.1);
    assert_eq!(there.map(|w| w.word), Some(surest.word.clone()));
}

#[test]
fn a_key_term_that_is_expected_is_heard() {
    let (audio, _) = clip("es");
    let plain = Server::demo().answer("lang=es&alternatives=10", &audio);
    let (_, word) = other_reading(plain.alternatives.as_ref().unwrap());
    let boosted = Server::demo().answer(&format!("lang=es&keyterm=zapato&keyterm={word}&boost=8"), &audio);
    assert!(boosted.text.split(' ').any(|w| w == word), "{word} in {}", boosted.text);
    assert!(!plain.text.split(' ').any(|w| w == word));
}

#[test]
fn what_cannot_be_spelled_or_is_forbidden_is_refused_by_name() {
    for (query, param) in [
        ("lang=tr&keyterm=%CE%A9", "keyterm"),
        ("lang=tr&keyterm=", "keyterm"),
        ("lang=auto&languages=tr,es&keyterm=%CE%A9", "keyterm"),
        ("lang=tr&keyterm=a&decoder=greedy", "keyterm"),
        ("lang=tr&alternatives=11", "alternatives"),
        ("lang=tr&alternatives=2&channels=split", "alternatives"),
        ("lang=tr&boost=1", "boost"),
        ("lang=tr&beam=1000", "beam"),
    ] {
        let body = assert_error(Server::demo().transcribe(query, &tone(0.2)), ErrorKind::InvalidRequest);
        assert_eq!(body.error.param.as_deref(), Some(param), "{query}: {}", body.error.message);
    }
}

#[test]
fn n_grams_beside_a_pack_are_used_listed_and_reloaded() {
    let folder = folder("es", |_| {});
    let server = Server::start(administered(folder.path()));
    let (audio, _) = clip("es");
    let plain = server.answer("lang=es&alternatives=10&beam=64", &audio);
    let (other, _) = other_reading(plain.alternatives.as_ref().unwrap());

    let file = folder.path().join("es.arpa");
    fs::write(&file, arpa(&other.split(' ').collect::<Vec<_>>())).unwrap();
    let told: Reloaded = server.admin(Method::POST, "reload").send().unwrap().json().unwrap();
    assert_eq!(told.replaced, ["es"], "other n-grams are another generation");
    let list: PackList = server.get("/v1/packs").json().unwrap();
    let words = other.split(' ').collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(list.packs[0].lm, Some(LanguageModel { order: 1, words: words + 3 }));
    let guided = server.answer("lang=es&decoder=beam&beam=64&lm_weight=2", &audio);
    assert_eq!((guided.text, guided.pack.generation), (other, 2));
    assert_eq!(server.answer("lang=es&decoder=beam&beam=64&lm_weight=0", &audio).text, plain.text);

    let told: Reloaded = server.admin(Method::POST, "reload").send().unwrap().json().unwrap();
    assert_eq!(told.kept, ["es"], "nothing has changed since");
    fs::write(&file, "\\data\\\nngram 1=oops").unwrap();
    let told: Reloaded = server.admin(Method::POST, "reload").send().unwrap().json().unwrap();
    assert_eq!((told.replaced, told.quarantined), (vec!["es".into()], vec!["es.arpa".into()]));
    assert_eq!(
        server.answer("lang=es&decoder=beam&beam=64", &audio).text,
        plain.text,
        "it serves without them"
    );
}

#[test]
fn a_packs_calibration_is_applied_and_a_wrong_one_refused() {
    let even = serde_json::json!({ "calibration": { "slope": 0.0, "offset": 0.0 } });
    let calibrated = folder("tr", |pack| pack.meta.training = even);
    let server = Server::start(administered(calibrated.path()));
    for query in ["lang=tr", "lang=tr&decoder=beam"] {
        let words = server.answer(query, &clip("tr").0).words.unwrap();
        assert!(!words.is_empty() && words.iter().all(|w| w.confidence == 0.5), "{query}: {words:?}");
    }

    let wrong = serde_json::json!({ "calibration": { "slope": -1.0, "offset": 0.0 } });
    let pack = to_bytes(
        &Pack { meta: s3router_masks::Meta { training: wrong, ..demo("tr").meta }, ..demo("tr") },
        Codec::Rans,
    );
    let response = server.admin(Method::PUT, "packs/tr").body(pack.unwrap()).send().unwrap();
    let body = assert_error(response, ErrorKind::InvalidRequest);
    assert!(body.error.message.contains("training.calibration"), "{}", body.error.message);
}

#[test]
fn a_classifier_answers_its_label_and_is_asked_for_nothing_else() {
    let folder = folder("tr", |pack| {
        pack.meta.kind = Kind::Classifier;
        pack.meta.language = "speaker".into();
    });
    let server = Server::start(administered(folder.path()));
    let (audio, _) = clip("tr");
    assert_eq!(server.answer("lang=speaker", &audio).words.unwrap().len(), 1);
    for (query, param) in
        [("lang=speaker&decoder=beam", "decoder"), ("lang=auto&languages=speaker", "languages")]
    {
        let body = assert_error(server.transcribe(query, &audio), ErrorKind::InvalidRequest);
        assert_eq!(body.error.param.as_deref(), Some(param));
    }
    assert_error(server.transcribe("lang=auto", &audio), ErrorKind::LanguageNotFound);
    let aligned = server.post("/align?lang=speaker&text=a").body(audio).send().unwrap();
    assert_error(aligned, ErrorKind::InvalidRequest);
}
