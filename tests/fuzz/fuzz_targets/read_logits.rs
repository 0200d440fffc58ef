//! Any numbers as logits: an error, or words in the order of time; and a known text lies within the audio.
#![no_main]

use libfuzzer_sys::fuzz_target;
use s3router_core::decode::{Beam, KeyTerms, Vocab, Word, align, beam, greedy, words};

const FRAME: f64 = 0.02;

fn in_order(words: &[Word], frames: usize) {
    assert!(words.iter().all(|w| w.start <= w.end && w.end <= frames as f64 * FRAME + 1e-9));
    assert!(words.iter().all(|w| (0.0..=1.0).contains(&w.confidence)), "{words:?}");
    assert!(words.windows(2).all(|w| w[0].start <= w[1].start));
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, bytes)) = bytes.split_last() else { return };
    let symbols = ["<pad>", "|", "a", "b", "c"].map(String::from).to_vec();
    let vocab = Vocab::new(symbols, (choice & 1 == 0).then_some("|")).expect("a sound vocabulary");
    // Half of them as they are, NaN and all; half as small whole numbers, so that paths compete.
    let logits: Vec<f32> = match choice & 2 {
        0 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        _ => bytes.iter().map(|&b| f32::from(b as i8) / 16.0).collect(),
    };
    let logits = &logits[..(logits.len() / 5 * 5).min(5 * 400)];
    let frames = logits.len() / 5;
    if let Ok(symbols) = greedy(logits, &vocab) {
        in_order(&words(&symbols, &vocab, FRAME), frames);
    }
    let terms = KeyTerms::new([("ab", 2.0), ("ca", -1.0)], &vocab).expect("sound terms");
    let options =
        Beam { width: 1 + usize::from(choice >> 4), best: 3, terms: Some(&terms), ..Beam::default() };
    if let Ok(found) = beam(logits, &vocab, &options) {
        assert!(!found.is_empty() && found.windows(2).all(|w| w[0].score >= w[1].score));
        found.iter().for_each(|h| in_order(&words(&h.symbols, &vocab, FRAME), frames));
    }
    if let Ok(aligned) = align(logits, &vocab, "abca") {
        in_order(&aligned.words(&vocab, FRAME), frames);
        assert!(!aligned.score.is_nan());
    }
});
