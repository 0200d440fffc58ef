//! The promises of [`super`], over real speech in random cuts, with answers in random order.

use super::*;
use crate::{
    audio::{self, Channels, Limits},
    decode::Word,
    demo::CLIPS,
};
use proptest::prelude::*;
use std::sync::LazyLock;

impl Language for &'static str {
    fn space(&self) -> &str {
        " "
    }
}

/// Speech, pauses, a hum that is no speech, and speech without an end: 16 kHz.
static AUDIO: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let speech = |language: &str| {
        let clip = CLIPS.iter().find(|c| c.language == language).unwrap();
        audio::decode(clip.bytes, None, Channels::Mix, &Limits::default()).unwrap().swap_remove(0)
    };
    let hum = (0..16_000).map(|i| 0.05 * (i as f32 * 0.02).sin()).collect::<Vec<f32>>();
    let silence = |seconds: f64| vec![0.0; (seconds * 16_000.0) as usize];
    [speech("tr"), silence(0.9), hum, silence(2.3), speech("en"), speech("ru"), silence(7.5), speech("es")]
        .concat()
});

fn settings() -> Settings {
    Settings { longest: Duration::from_secs(5), ..Settings::default() }
}

/// An engine for tests: a word each 0.4 s, named by the sound in it.
fn hear<L: Clone>(read: &Read<L>) -> Heard<L> {
    let words: Vec<Word> = read
        .samples
        .chunks(6400)
        .enumerate()
        .map(|(i, chunk)| {
            let sum = chunk.iter().fold(0u32, |sum, x| sum.rotate_left(1) ^ x.to_bits());
            let start = i as f64 * 0.4;
            Word { word: format!("{sum:x}"), start, end: start + 0.4, confidence: 1.0 }
        })
        .collect();
    let text = words.iter().map(|w| w.word.as_str()).collect::<Vec<_>>().join(" ");
    let seconds = read.samples.len() as f64 / 16_000.0;
    let transcript = Transcript { text, words, seconds, emissions: None };
    Heard { language: read.language.clone(), transcript, alternatives: Vec::new() }
}

/// What a client does at a sample of the stream.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Flush,
    Switch(&'static str),
}

/// Plays `AUDIO` in `cuts`, answers a reading when `answers` says so (false: later), reads partials if asked.
fn play(
    cuts: &[usize],
    deeds: &[(usize, Deed)],
    answers: &[bool],
    interim: bool,
) -> Vec<Event<&'static str>> {
    let audio = &AUDIO[..];
    let mut stream = Stream::new(settings(), "tr");
    let (mut events, mut open) = (Vec::new(), Vec::new());
    let mut answers = answers.iter().cycle();
    let mut cuts = cuts.iter().cycle();
    let (mut at, mut deeds) = (0, deeds.iter().peekable());
    let mut now = Duration::ZERO;
    loop {
        let stop = deeds.peek().map_or(audio.len(), |(sample, _)| *sample);
        let to = (at + cuts.next().unwrap()).min(stop);
        stream.push(&audio[at..to], now);
        (at, now) = (to, now + Duration::from_millis(20));
        if at == stop {
            match deeds.next() {
                Some((_, Deed::Flush)) => stream.flush(),
                Some((_, Deed::Switch(language))) => stream.switch(language),
                None => stream.stop(),
            }
        }
        open.extend(std::iter::from_fn(|| stream.due()));
        open.extend(interim.then(|| stream.interim()).flatten());
        let over = at == audio.len() && deeds.peek().is_none();
        while !open.is_empty() && (over || *answers.next().unwrap()) {
            // The youngest first: the order of answers is the engine's business.
            let read = open.pop().unwrap();
            stream.heard(read.ticket, hear(&read), now);
        }
        events.extend(std::iter::from_fn(|| stream.event()));
        if matches!(events.last(), Some(Event::Closed { .. })) {
            return events;
        }
    }
}

/// Finals without what depends on the clock.
fn finals(events: &[Event<&'static str>]) -> Vec<(u64, f64, f64, String, &'static str)> {
    let only = |event: &Event<&'static str>| match event {
        Event::Final { utterance, start, end, text, language, .. } => {
            Some((*utterance, *start, *end, text.clone(), *language))
        }
        _ => None,
    };
    events.iter().filter_map(only).collect()
}

fn deeds() -> impl Strategy<Value = Vec<(usize, Deed)>> {
    let deed = prop_oneof![Just(Deed::Flush), Just(Deed::Switch("ru")), Just(Deed::Switch("en"))];
    prop::collection::vec((0..AUDIO.len(), deed), 0..5).prop_map(|mut deeds| {
        deeds.sort_by_key(|(at, _)| *at);
        deeds
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_cut_any_order_of_answers_with_partials_or_without_gives_the_same_finals(
        cuts in prop::collection::vec(1usize..20_000, 1..20),
        deeds in deeds(),
        answers in prop::collection::vec(any::<bool>(), 1..20),
        interim in any::<bool>(),
    ) {
        let answers = [answers, vec![true]].concat();
        let whole = play(&[AUDIO.len()], &deeds, &[true], false);
        let cut = play(&cuts, &deeds, &answers, interim);
        prop_assert_eq!(finals(&whole), finals(&cut));
    }

    #[test]
    fn finals_tile_the_time_line_and_each_flush_is_answered_in_its_place(
        cuts in prop::collection::vec(1usize..20_000, 1..20),
        deeds in deeds(),
    ) {
        let events = play(&cuts, &deeds, &[true, false], true);
        let mut told = 0.0;
        let mut flushes = deeds.iter().filter(|(_, deed)| matches!(deed, Deed::Flush)).map(|(at, _)| *at);
        for event in &events {
            match event {
                Event::Final { start, end, words, .. } => {
                    prop_assert_eq!(*start, told);
                    prop_assert!(end > start && end - start <= 5.0 + 20.0);
                    prop_assert!(words.iter().all(|w| w.start >= *start && w.end <= *end + 0.4));
                    told = *end;
                }
                Event::Flushed => prop_assert_eq!(told, flushes.next().unwrap() as f64 / 16_000.0),
                _ => {}
            }
        }
        prop_assert!(flushes.next().is_none());
        prop_assert_eq!(told, AUDIO.len() as f64 / 16_000.0);
        let count = finals(&events).len() as u64;
        prop_assert_eq!(events.last(), Some(&Event::Closed { seconds: told, finals: count }));
    }

    #[test]
    fn stable_only_grows_within_an_utterance_and_partials_precede_its_final(
        cuts in prop::collection::vec(1usize..9_000, 1..20),
        answers in prop::collection::vec(any::<bool>(), 1..20),
    ) {
        let events = play(&cuts, &[], &[answers, vec![true]].concat(), true);
        let (mut open, mut settled) = (0, String::new());
        for event in &events {
            match event {
                Event::Partial { utterance, stable, .. } => {
                    if *utterance != open {
                        (open, settled) = (*utterance, String::new());
                    }
                    prop_assert!(stable.starts_with(&settled), "{} after {}", stable, settled);
                    settled.clone_from(stable);
                }
                Event::Final { utterance, text, revised, .. } if *utterance == open => {
                    prop_assert_eq!(*revised, !text.starts_with(&settled));
                }
                _ => {}
            }
        }
    }
}

#[test]
fn the_work_is_a_bounded_multiple_of_the_audio_and_so_is_what_is_held() {
    let mut stream = Stream::new(settings(), "tr");
    let (mut read, mut whole, mut held) = (0, 0, 0);
    for (i, piece) in AUDIO.chunks(320).enumerate() {
        let now = Duration::from_millis(20 * i as u64);
        stream.push(piece, now);
        let mut reads: Vec<_> = std::iter::from_fn(|| stream.due()).collect();
        reads.extend(stream.interim());
        for r in reads {
            *if r.ticket.whole { &mut whole } else { &mut read } += r.samples.len();
            stream.heard(r.ticket, hear(&r), now);
        }
        held = held.max(stream.buffer.len());
    }
    assert!(whole <= AUDIO.len(), "no sample is read twice for finals: {whole} of {}", AUDIO.len());
    assert!(read <= 11 * AUDIO.len(), "partials cost a multiple: {read} of {}", AUDIO.len());
    assert!(held <= 6 * 16_000, "{held} samples are held");
}

#[test]
fn a_language_begins_with_the_next_utterance() {
    let first = finals(&play(&[4000], &[], &[true], false))[0].2;
    let during = (first * 16_000.0) as usize / 2;
    let said: Vec<_> = finals(&play(&[4000], &[(during, Deed::Switch("ru"))], &[true], false))
        .into_iter()
        .map(|(.., language)| language)
        .collect();
    assert_eq!(said[0], "tr", "an open utterance keeps its language");
    assert!(said[1..].iter().all(|l| *l == "ru"), "{said:?}");
}

#[test]
fn speech_in_a_row_is_parted_at_its_pauses() {
    let events = play(&[1600], &[], &[true], false);
    let causes: Vec<_> = events
        .iter()
        .filter_map(|e| match e {
            Event::Ended { cause, .. } => Some(*cause),
            _ => None,
        })
        .collect();
    for cause in [Cause::Pause, Cause::Length, Cause::Stop] {
        assert!(causes.contains(&cause), "{causes:?}");
    }
}

#[test]
fn what_has_no_answer_ends_the_stream_after_the_finals_before_it() {
    let mut stream = Stream::new(settings(), "tr");
    let clip = AUDIO.len() / 3;
    for part in AUDIO.chunks(clip).take(3) {
        stream.push(part, Duration::ZERO);
        stream.flush();
    }
    let reads: Vec<_> = std::iter::from_fn(|| stream.due()).collect();
    let told = |stream: &mut Stream<_>| std::iter::from_fn(|| stream.event()).collect::<Vec<_>>();
    // The second has no answer, all others have; the first comes last.
    let (lost, rest) = (reads[1].ticket, reads.iter().skip(2));
    rest.for_each(|read| stream.heard(read.ticket, hear(read), Duration::ZERO));
    stream.break_off(lost);
    assert!(finals(&told(&mut stream)).is_empty());
    stream.heard(reads[0].ticket, hear(&reads[0]), Duration::ZERO);
    let events = told(&mut stream);
    let last = finals(&events).last().unwrap().2;
    assert!(finals(&events).len() as u64 == lost.utterance && last <= reads[1].ticket.from as f64 / 16_000.0);
    assert!(matches!(events.last(), Some(Event::Closed { finals, .. }) if *finals == lost.utterance));
    stream.break_off(lost);
    assert!(stream.event().is_none(), "once is enough");
}

#[test]
fn what_was_cleared_is_in_no_final() {
    let mut stream = Stream::new(settings(), "tr");
    stream.push(&AUDIO[..24_000], Duration::ZERO);
    assert_eq!(stream.clear(), 0.0);
    stream.push(&AUDIO[24_000..32_000], Duration::ZERO);
    stream.stop();
    let read = stream.due().unwrap();
    assert!(read.samples.len() <= 8_000);
    stream.heard(read.ticket, hear(&read), Duration::ZERO);
    let events: Vec<_> = std::iter::from_fn(|| stream.event()).collect();
    assert_eq!(finals(&events)[0].1, 1.5);
}

#[test]
fn an_empty_stream_closes_at_once() {
    let mut stream = Stream::new(settings(), "tr");
    stream.flush();
    stream.stop();
    let events: Vec<_> = std::iter::from_fn(|| stream.event()).collect();
    assert_eq!(events, [Event::Flushed, Event::Closed { seconds: 0.0, finals: 0 }]);
}

#[test]
fn silence_after_a_flush_is_silence_wherever_the_flush_cut() {
    for loud in [16_128, 16_129, 16_256, 16_383] {
        let hum: Vec<f32> = (0..loud).map(|i| 0.05 * (i as f32 * 0.02).sin()).collect();
        let mut stream = Stream::new(settings(), "tr");
        stream.push(&hum, Duration::ZERO);
        stream.flush();
        assert!(stream.due().is_some(), "a pack may know more than the detector");
        stream.push(&[0.0; 16_000], Duration::ZERO);
        stream.stop();
        assert!(stream.due().is_none(), "after {loud} samples");
    }
}

#[test]
fn silence_is_final_without_the_engine() {
    let mut stream = Stream::new(settings(), "tr");
    stream.push(&vec![0.0; 16_000 * 12], Duration::ZERO);
    stream.stop();
    assert!(stream.due().is_none());
    let events: Vec<_> = std::iter::from_fn(|| stream.event()).collect();
    let finals = finals(&events);
    assert_eq!(finals.len(), 3, "{finals:?}");
    assert_eq!(finals.last().unwrap().2, 12.0);
}
