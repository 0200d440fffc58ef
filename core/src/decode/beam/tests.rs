use super::super::posteriors::ln_add;
use super::*;
use crate::cancel::counted;
use crate::decode::brute::{collapse, paths, random_logits};
use crate::decode::{Lm, greedy, text, words};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Nothing pruned but by the width.
fn exhaustive<'a>(width: usize) -> Beam<'a> {
    Beam {
        width,
        best: 1,
        symbols: usize::MAX,
        min_posterior: 0.0,
        gap: f64::INFINITY,
        words: None,
        terms: None,
    }
}

fn vocab(v: usize, separator: Option<&str>) -> Vocab {
    Vocab::new(["<pad>", "a", "b", "|", "c", "t"][..v].iter().map(|s| s.to_string()).collect(), separator)
        .unwrap()
}

/// ln p of every text: the sum over all alignments, one by one.
fn all_texts(logits: &[f32], vocab: &Vocab) -> BTreeMap<Vec<usize>, f64> {
    let (v, frames) = (vocab.len(), log_posteriors(logits, vocab, &Cancel::default()).unwrap());
    let mut texts = BTreeMap::new();
    for path in paths(logits.len() / v, v) {
        let ln_p: f64 = path.iter().enumerate().map(|(t, &k)| f64::from(frames[t * v + k])).sum();
        let sum = texts.entry(collapse(&path)).or_insert(f64::NEG_INFINITY);
        *sum = ln_add(*sum, ln_p);
    }
    texts
}

fn indices(hypothesis: &Hypothesis) -> Vec<usize> {
    hypothesis.symbols.iter().map(|s| s.index).collect()
}

/// One frame per index, its logit `sharp` above the others.
fn spoken(best: &[usize], v: usize, sharp: f32) -> Vec<f32> {
    best.iter().flat_map(|&b| (0..v).map(move |i| if i == b { sharp } else { 0.0 })).collect()
}

/// How often the right path beats each of the others, in the frames that say `a` but might say `b`.
fn doubtful(best: &[usize], v: usize, frame: usize, other: usize, behind: f32) -> Vec<f32> {
    let mut logits = spoken(best, v, 10.0);
    logits[frame * v + other] = 10.0 - behind;
    logits
}

fn heard(logits: &[f32], vocab: &Vocab, options: &Beam<'_>) -> String {
    let best = beam(logits, vocab, options).unwrap();
    text(&words(&best[0].symbols, vocab, 0.02), vocab)
}

#[test]
fn who_leaves_ends_it_at_the_next_frame() {
    let (vocab, logits) = (vocab(4, Some("|")), random_logits(3, 20, 4));
    let options = Beam { width: 8, best: 3, ..Beam::default() };
    // Posteriors, search, and the times of three texts.
    counted::ends_at_any_look(100, |cancel| beam_until(&logits, &vocab, &options, cancel));
}

proptest! {
    #[test]
    fn a_wide_beam_equals_the_sum_over_all_alignments(seed: u64, v in 2usize..=4, t in 0usize..=5) {
        let (vocab, logits) = (vocab(v, None), random_logits(seed, t, v));
        let exact = all_texts(&logits, &vocab);
        let found = beam(&logits, &vocab, &Beam { best: exact.len(), ..exhaustive(exact.len()) }).unwrap();
        prop_assert_eq!(found.len(), exact.len(), "every text is found, once");
        for hypothesis in &found {
            let expected = exact[&indices(hypothesis)];
            prop_assert!((hypothesis.score - expected).abs() < 1e-6, "{hypothesis:?} is not {expected}");
        }
        prop_assert!(found.windows(2).all(|w| w[0].score >= w[1].score), "best first");
    }

    #[test]
    fn a_narrow_beam_never_claims_more_than_the_text_has(seed: u64, width in 1usize..40) {
        let (vocab, logits) = (vocab(4, Some("|")), random_logits(seed, 6, 4));
        let exact = all_texts(&logits, &vocab);
        let best = exact.values().copied().fold(f64::NEG_INFINITY, f64::max);
        for hypothesis in beam(&logits, &vocab, &Beam { best: width, ..exhaustive(width) }).unwrap() {
            prop_assert!(hypothesis.score <= exact[&indices(&hypothesis)] + 1e-6);
            prop_assert!(hypothesis.score <= best + 1e-6, "no beam beats the whole");
        }
    }

    #[test]
    fn on_clear_speech_the_narrowest_beam_is_greedy(said in proptest::collection::vec(0usize..4, 0..60)) {
        let (vocab, logits) = (vocab(4, Some("|")), spoken(&said, 4, 8.0));
        let one = beam(&logits, &vocab, &exhaustive(1)).unwrap().remove(0);
        let greedy = greedy(&logits, &vocab).unwrap();
        prop_assert_eq!(indices(&one), greedy.iter().map(|s| s.index).collect::<Vec<_>>());
        for (a, b) in one.symbols.iter().zip(&greedy) {
            prop_assert_eq!(&a.frames, &b.frames);
            prop_assert!((a.confidence - b.confidence).abs() < 1e-5);
        }
    }

    #[test]
    fn times_rise_texts_differ_and_a_second_run_is_equal(seed: u64, t in 0usize..40) {
        let (vocab, logits) = (vocab(4, Some("|")), random_logits(seed, t, 4));
        let options = Beam { best: 8, ..Beam::default() };
        let found = beam(&logits, &vocab, &options).unwrap();
        prop_assert_eq!(&found, &beam(&logits, &vocab, &options).unwrap());
        let texts: HashSet<_> = found.iter().map(|h| text(&words(&h.symbols, &vocab, 0.02), &vocab)).collect();
        prop_assert_eq!(texts.len(), found.len());
        for hypothesis in &found {
            prop_assert!(hypothesis.symbols.iter().all(|s| !s.frames.is_empty() && s.frames.end <= t));
            prop_assert!(hypothesis.symbols.windows(2).all(|w| w[0].frames.end <= w[1].frames.start));
        }
    }
}

const LM: &str = "\\data\\\nngram 1=5\nngram 2=2\n\\1-grams:\n-99 <s> -0.3\n-1 </s>\n-0.8 cat -0.3\n-0.8 at -0.3\n\
    -2 <unk>\n\\2-grams:\n-0.1 cat at\n-0.1 at cat\n\\end\\";

#[test]
fn the_word_model_decides_where_the_audio_does_not() {
    let lm = Lm::read(LM.as_bytes()).unwrap();
    let vocab = vocab(6, Some("|"));
    // c b t, the b being one nat ahead of an a
    let logits = doubtful(&[4, 2, 5, 0], 6, 1, 1, 1.0);
    let words = Some(WordModel::new(&lm));
    assert_eq!(heard(&logits, &vocab, &Beam::default()), "cbt");
    assert_eq!(heard(&logits, &vocab, &Beam { words, ..Beam::default() }), "cat");
    let deaf = WordModel { alpha: 0.0, unknown: 0.0, ..WordModel::new(&lm) };
    assert_eq!(heard(&logits, &vocab, &Beam { words: Some(deaf), ..Beam::default() }), "cbt");
}

#[test]
fn the_score_is_acoustic_plus_weighted_words() {
    let lm = Lm::read(LM.as_bytes()).unwrap();
    let vocab = vocab(6, Some("|"));
    let words = WordModel { lm: &lm, alpha: 0.7, beta: 0.3, unknown: -5.0 };
    let found = beam(
        &spoken(&[4, 1, 5, 3, 1, 5, 3, 2], 6, 15.0),
        &vocab,
        &Beam { words: Some(words), ..exhaustive(400) },
    )
    .unwrap();
    let best = &found[0];
    let sentence = text(&crate::decode::words(&best.symbols, &vocab, 0.02), &vocab);
    assert_eq!(sentence, "cat at b");
    let expected = 0.7 * lm.sentence("cat at b") + 3.0 * 0.3 - 5.0;
    assert!(
        (best.score - best.acoustic - expected).abs() < 1e-4,
        "{} {expected}",
        best.score - best.acoustic
    );
}

#[test]
fn scripts_without_spaces_score_each_character_as_a_word() {
    let arpa = "\\data\\\nngram 1=4\nngram 2=1\n\\1-grams:\n-99 <s> 0\n-1 a -0.5\n-1 b -0.5\n-1 c\n\\2-grams:\n-0.01 a c\n\\end\\";
    let lm = Lm::read(arpa.as_bytes()).unwrap();
    let vocab = vocab(6, None);
    let logits = doubtful(&[1, 2, 0], 6, 1, 4, 0.5);
    assert_eq!(heard(&logits, &vocab, &Beam::default()), "ab");
    assert_eq!(heard(&logits, &vocab, &Beam { words: Some(WordModel::new(&lm)), ..Beam::default() }), "ac");
}

#[test]
fn a_key_term_is_heard_where_it_fits_and_only_there() {
    let vocab = vocab(6, Some("|"));
    let terms = KeyTerms::new([("cat", 1.0)], &vocab).unwrap();
    let options = Beam { terms: Some(&terms), ..Beam::default() };
    assert_eq!(heard(&doubtful(&[4, 2, 5, 0], 6, 1, 1, 1.0), &vocab, &options), "cat");
    assert_eq!(heard(&doubtful(&[4, 2, 5, 1], 6, 1, 1, 1.0), &vocab, &options), "cbta", "no part of a word");
    assert_eq!(heard(&doubtful(&[4, 2, 5, 0], 6, 1, 1, 9.0), &vocab, &options), "cbt", "audio outweighs it");
}

#[test]
fn a_beam_of_nothing_and_broken_logits_are_errors() {
    let vocab = vocab(4, Some("|"));
    assert!(beam(&[0.0; 8], &vocab, &exhaustive(0)).unwrap_err().to_string().contains("width is 0"));
    assert!(beam(&[0.0; 7], &vocab, &exhaustive(1)).is_err());
    assert!(beam(&[0.0, f32::NAN, 0.0, 0.0], &vocab, &exhaustive(1)).is_err());
    assert!(beam(&[], &vocab, &Beam::default()).unwrap()[0].symbols.is_empty(), "no audio, no text");
}
