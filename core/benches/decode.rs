//! Logits to text: ten seconds of audio (T = 500) under an alphabet (V = 32) and under characters (V = 700).
//!
//! `cargo bench -p s3router-core --bench decode`. What was said is known, so each case checks its answer first.

#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rand::{Rng, SeedableRng, rngs::StdRng};
use s3router_core::decode::{Beam, KeyTerms, Lm, Vocab, WordModel, align_symbols, beam, greedy};
use std::{fmt::Write as _, hint::black_box};

const FRAMES: usize = 500;

/// Blank, separator and letters (a script without spaces has no separator).
fn vocab(v: usize) -> Vocab {
    let separator = (v < 100).then_some("|");
    let symbols = (0..v).map(|i| match i {
        0 => "<pad>".to_owned(),
        1 => "|".to_owned(),
        _ => char::from_u32(0x4e00 + i as u32).map(String::from).unwrap_or_default(),
    });
    Vocab::new(symbols.collect(), separator).unwrap()
}

/// Speech-like logits: runs of blanks and symbols, each frame's right symbol about 6 above noise of ±2; and what is
/// said.
fn logits(v: usize) -> (Vec<f32>, Vec<usize>) {
    let mut rng = StdRng::seed_from_u64(1);
    let (mut said, mut runs) = (0, Vec::new());
    let mut out = Vec::with_capacity(FRAMES * v);
    for t in 0..FRAMES {
        if t % 3 == 0 {
            said = if rng.random_bool(0.5) { 0 } else { rng.random_range(1..v) };
            runs.push(said);
        }
        out.extend((0..v).map(|k| rng.random_range(-2.0..2.0) + if k == said { 6.0 } else { 0.0 }));
    }
    runs.dedup();
    (out, runs.into_iter().filter(|&symbol| symbol != 0).collect())
}

/// A bigram model of 20,000 random words (characters, in the wide vocabulary).
fn lm(vocab: &Vocab) -> Lm {
    let mut rng = StdRng::seed_from_u64(2);
    let letters: Vec<&str> = (0..vocab.len()).filter_map(|i| vocab.written(i)).collect();
    let mut words: Vec<String> = match vocab.separator() {
        None => letters.iter().map(|s| s.to_string()).collect(),
        Some(_) => (0..20_000)
            .map(|_| {
                let length = rng.random_range(1..8);
                (0..length).map(|_| letters[rng.random_range(0..letters.len())]).collect()
            })
            .collect(),
    };
    words.sort();
    words.dedup();
    let mut pairs: Vec<_> = (0..words.len() * 4)
        .map(|_| (rng.random_range(0..words.len()), rng.random_range(0..words.len())))
        .collect();
    pairs.sort();
    pairs.dedup();
    let mut arpa = format!("\\data\\\nngram 1={}\nngram 2={}\n\\1-grams:\n", words.len() + 3, pairs.len());
    arpa += "-99 <s> -0.3\n-1 </s>\n-5 <unk>\n";
    words.iter().for_each(|w| writeln!(arpa, "-4 {w} -0.5").unwrap());
    arpa += "\\2-grams:\n";
    pairs.iter().for_each(|&(a, b)| writeln!(arpa, "-2 {} {}", words[a], words[b]).unwrap());
    arpa += "\\end\\\n";
    Lm::read(arpa.as_bytes()).unwrap()
}

fn decode(c: &mut Criterion) {
    for v in [32, 700] {
        let (vocab, (logits, expected)) = (vocab(v), logits(v));
        let mut group = c.benchmark_group(format!("decode/T500/V{v}"));
        group.sample_size(20);
        group.bench_function("greedy", |b| b.iter(|| greedy(black_box(&logits), &vocab).unwrap()));
        let said: Vec<usize> = greedy(&logits, &vocab).unwrap().iter().map(|s| s.index).collect();
        assert_eq!(said, expected);
        let aligned = align_symbols(&logits, &vocab, &said).unwrap();
        assert!(aligned.symbols.iter().map(|s| s.index).eq(expected.iter().copied()));
        group.bench_function("align", |b| {
            b.iter(|| align_symbols(black_box(&logits), &vocab, &said).unwrap())
        });
        let lm = lm(&vocab);
        let term: String = said.iter().filter_map(|&i| vocab.written(i)).take(5).collect();
        let terms = KeyTerms::new([(term.as_str(), 1.0)], &vocab).unwrap();
        for width in [16, 64] {
            let plain = Beam { width, ..Beam::default() };
            let words = Some(WordModel::new(&lm));
            for (name, options) in [
                ("beam", plain),
                ("beam+lm", Beam { words, ..plain }),
                ("beam+lm+terms", Beam { words, terms: Some(&terms), ..plain }),
            ] {
                // Words may change what is heard; without them it is plain, separators (1) aside.
                let best = beam(&logits, &vocab, &options).unwrap().remove(0);
                let heard = best.symbols.iter().map(|s| s.index).filter(|i| *i != 1);
                assert!(options.words.is_some() || heard.eq(expected.iter().copied().filter(|i| *i != 1)));
                group.bench_with_input(BenchmarkId::new(name, width), &options, |b, options| {
                    b.iter(|| beam(black_box(&logits), &vocab, options).unwrap());
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
