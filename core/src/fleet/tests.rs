use super::*;
use crate::{
    Cancel, Precision, Residency, demo,
    engine::{Transcript, Utterance},
    model::{Backbone, Config, Source},
    packs::Packs,
};
use candle_core::Device;
use proptest::prelude::*;
use std::time::Instant;

fn engine() -> Engine {
    Engine::new(Backbone::load_packed(&Source::Demo, &Device::Cpu, Precision::F32).unwrap())
}

fn member(build: impl Fn() -> Result<Engine> + Send + Sync + 'static) -> (String, Build) {
    ("another".into(), Box::new(build))
}

fn said(packs: &Packs, seconds: f32, pitch: f32, language: &str) -> Utterance {
    let samples = (0..(16_000.0 * seconds) as usize).map(|i| 0.2 * (i as f32 * pitch).sin());
    Utterance::new(samples.collect::<Vec<f32>>(), &packs.get(language).unwrap())
}

fn mixture(packs: &Packs) -> Vec<Utterance> {
    let said = |seconds, pitch, language| said(packs, seconds, pitch, language);
    vec![said(0.4, 0.1, "tr"), said(0.7, 0.2, "en"), said(0.3, 0.05, "tr"), said(45.0, 0.15, "fr")]
}

/// What a fleet makes of a batch, as the scheduler would have it made.
fn transcribe(fleet: &Fleet, utterances: &[Utterance]) -> Result<Vec<Transcript>> {
    let cut = utterances.iter().map(|u| fleet.first().cut(u)).collect::<Result<Vec<_>>>()?;
    let mut parts = fleet.compute(&cut.iter().flatten().collect::<Vec<_>>(), &mut || Ok(()))?.into_iter();
    let read = |(utterance, pieces): (&Utterance, &Vec<Piece>)| {
        fleet.first().read(utterance, parts.by_ref().take(pieces.len()).collect(), &Cancel::default())
    };
    utterances.iter().zip(&cut).map(read).collect()
}

fn alone(one: &Engine, utterances: &[Utterance]) -> Vec<Transcript> {
    one.transcribe(utterances).into_iter().collect::<Result<_>>().unwrap()
}

fn texts(transcripts: &[Transcript]) -> Vec<&str> {
    transcripts.iter().map(|t| t.text.as_str()).collect()
}

#[test]
fn several_engines_say_what_one_says_also_of_long_audio_in_windows() {
    let one = Arc::new(engine());
    let packs = demo::packs(one.backbone()).unwrap();
    let fleet = Fleet::new(one.clone(), vec![member(|| Ok(engine())), member(|| Ok(engine()))]).unwrap();
    let utterances = mixture(&packs);
    assert!(fleet.first().cut(&utterances[3]).unwrap().len() > 1, "long enough for windows");
    let found = transcribe(&fleet, &utterances).unwrap();
    assert_eq!(texts(&found), texts(&alone(&one, &utterances)));
    let workers: Vec<_> = fleet.others.iter().filter_map(|m| m.worker()).collect();
    assert_eq!((fleet.devices(), workers.len()), (3, 2));
    assert!(workers.iter().all(|w| !lock(&w.copies).is_empty()), "both had a share, and its packs");
    drop((utterances, packs));
    transcribe(&fleet, &[]).unwrap_err();
    let again = demo::packs(one.backbone()).unwrap();
    transcribe(&fleet, &mixture(&again)).unwrap();
    assert!(workers.iter().all(|w| lock(&w.copies).len() <= 3), "copies go with their originals");
}

#[test]
fn a_device_that_fails_costs_no_answer_and_comes_back() {
    let one = Arc::new(engine());
    let packs = demo::packs(one.backbone()).unwrap();
    let utterances = mixture(&packs);
    let expected = alone(&one, &utterances);
    let built = AtomicU32::new(0);
    // At first another model: none of the packs fits it. Then it cannot be had at all, then it is well.
    let build = move || match built.fetch_add(1, Ordering::Relaxed) {
        0 => Ok(Engine::new(Backbone::random(Config::tiny(), 1, &Device::Cpu)?)),
        1 => Err(Error::Model("no such device".into())),
        _ => Ok(engine()),
    };
    let fleet = Fleet::new(one, vec![member(build), member(|| Ok(engine()))]).unwrap();
    assert_eq!(texts(&transcribe(&fleet, &utterances).unwrap()), texts(&expected));
    let begun = Instant::now();
    while fleet.devices() < 3 {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never came back");
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(texts(&transcribe(&fleet, &utterances).unwrap()), texts(&expected));
    let back = fleet.others[0].worker().unwrap();
    assert!(!lock(&back.copies).is_empty(), "it works again");
}

#[test]
fn a_device_that_is_lost_for_good_leaves_the_others_at_work() {
    let one = Arc::new(engine());
    let packs = demo::packs(one.backbone()).unwrap();
    let utterances = mixture(&packs);
    let built = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&built);
    let build = move || match counted.fetch_add(1, Ordering::Relaxed) {
        0 => Ok(Engine::new(Backbone::random(Config::tiny(), 1, &Device::Cpu)?)),
        _ => Err(Error::Model("it fell off the bus".into())),
    };
    let fleet = Fleet::new(one.clone(), vec![member(build)]).unwrap();
    for _ in 0..2 {
        assert_eq!(texts(&transcribe(&fleet, &utterances).unwrap()), texts(&alone(&one, &utterances)));
    }
    let begun = Instant::now();
    while built.load(Ordering::Relaxed) <= REBUILDS {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is not tried again");
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(fleet.devices(), 1);
    assert!(Fleet::new(one, vec![member(|| Err(Error::Model("none".into())))]).is_err());
}

#[test]
fn a_failure_of_the_first_costs_no_answer_and_is_told() {
    let one = engine();
    let packs = demo::packs(one.backbone()).unwrap();
    let utterances = mixture(&packs);
    let of: Vec<(&Utterance, Piece)> = utterances
        .iter()
        .flat_map(|u| one.cut(u).unwrap().into_iter().map(move |piece| (u, piece)))
        .collect();
    let pieces: Vec<&Piece> = of.iter().map(|(_, piece)| piece).collect();
    // Each part is read as if it were all of its utterance.
    let read = |parts: Vec<Part>| -> Vec<String> {
        of.iter()
            .zip(parts)
            .map(|((u, _), part)| one.read(u, vec![part], &Cancel::default()).unwrap().text)
            .collect()
    };
    // Another model: none of the packs fits it.
    let broken = || Engine::new(Backbone::random(Config::tiny(), 1, &Device::Cpu).unwrap());
    let fleet =
        Fleet::new(Arc::new(broken()), vec![member(|| Ok(engine())), member(|| Ok(engine()))]).unwrap();
    let expected = read(one.compute(&pieces, &mut || Ok(())).unwrap());
    assert_eq!(read(fleet.compute(&pieces, &mut || Ok(())).unwrap()), expected);
    assert!(fleet.suspect());
    assert_eq!(fleet.devices(), 2);
    fleet.compute(&pieces, &mut || Ok(())).expect_err("a suspect's failure is seen by whoever examines it");

    let passing = AtomicU32::new(0);
    let fleet = Fleet::new(Arc::new(engine()), vec![member(|| Ok(engine()))]).unwrap();
    let mut once = || match passing.fetch_add(1, Ordering::Relaxed) {
        0 => Err(Error::Model("a stray bit".into())),
        _ => Ok(()),
    };
    assert_eq!(read(fleet.compute(&pieces, &mut once).unwrap()), expected);
    assert!(fleet.suspect());
    assert_eq!(read(fleet.compute(&pieces, &mut once).unwrap()), expected);
    assert!(!fleet.suspect(), "it has done its share");

    let nobody = Fleet::new(Arc::new(broken()), Vec::new()).unwrap();
    nobody.compute(&pieces, &mut || Ok(())).expect_err("there is no other");
    assert!(!nobody.suspect());
}

#[test]
fn who_ends_the_first_share_ends_the_batch() {
    let one = Arc::new(engine());
    let packs = demo::packs(one.backbone()).unwrap();
    let utterance = said(&packs, 0.5, 0.1, "tr");
    let pieces: Vec<Piece> = (0..4).flat_map(|_| one.cut(&utterance).unwrap()).collect();
    let fleet = Fleet::new(one, vec![member(|| Ok(engine()))]).unwrap();
    let ended = fleet.compute(&pieces.iter().collect::<Vec<_>>(), &mut || Err(Error::Abandoned));
    assert!(matches!(ended, Err(Error::Abandoned)));
    assert_eq!(fleet.devices(), 2, "nobody failed");
}

#[test]
fn each_device_keeps_its_masks_within_its_own_limit() {
    let one = Arc::new(engine());
    let folder = tempfile::tempdir().unwrap();
    for (pack, bytes) in demo::packs(one.backbone()).unwrap().iter().zip(demo::PACKS) {
        std::fs::write(folder.path().join(format!("{}.safetensors", pack.meta.language)), bytes).unwrap();
    }
    let packs = Packs::open(folder.path(), one.backbone()).unwrap();
    let tight = || Ok(engine().with_residency(Residency::new(Some(0))));
    let fleet = Fleet::new(one.clone(), vec![member(tight)]).unwrap();
    let pair = |language: &str| [said(&packs, 0.5, 0.1, language), said(&packs, 0.5, 0.2, language)];
    // A masks' second lease on the other device is a reading of its file.
    for language in ["tr", "en", "tr"] {
        let utterances = pair(language);
        let found = transcribe(&fleet, &utterances).unwrap();
        assert_eq!(texts(&found), texts(&alone(&one, &utterances)));
    }
    let worker = fleet.others[0].worker().unwrap();
    let resident: Vec<_> = lock(&worker.copies).iter().map(|(_, copy)| copy.is_resident()).collect();
    assert_eq!(resident, [true, false], "tr again, en had to go");
}

proptest! {
    #[test]
    fn every_piece_has_one_device_and_none_waits_long(
        lengths in prop::collection::vec(1usize..1000, 1..40),
        devices in 1usize..6,
    ) {
        let shares = shares(&lengths, devices);
        prop_assert!(!shares[0].is_empty());
        let mut all: Vec<usize> = shares.iter().flatten().copied().collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
        let even = lengths.iter().sum::<usize>() / devices;
        let longest = lengths.iter().max().copied().unwrap_or(0);
        for share in &shares {
            prop_assert!(share.iter().map(|&i| lengths[i]).sum::<usize>() <= even + 2 * longest);
        }
    }
}
