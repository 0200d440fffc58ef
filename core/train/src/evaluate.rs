//! Greedy transcripts of a data set and their error rates.

use crate::{
    data::batches,
    features::{Utterance, collate},
};
use anyhow::Result;
use candle_core::Tensor;
use s3router_core::{
    Precision, decode,
    gate::{Gates, Segment},
    learn::{
        metrics::{Edits, Rate, char_edits, word_edits},
        vocab::Unit,
    },
    model::{Backbone, ops},
};
use std::sync::Arc;

/// Padded frames evaluated at a time.
const BUDGET: usize = 3000;
/// Seed of the intervals: a figure must not depend on the run that it judges.
const BOOTSTRAP_SEED: u64 = 0;

/// Error rates of a data set. Rates are shares (0.05 is 5 %), counts are of words.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// Word error rate.
    pub wer: f64,
    /// Character error rate; phone error rate when labels are phones.
    pub cer: f64,
    /// What `cer` counts: `characters` or `phones`.
    pub symbols: &'static str,
    /// Words too many.
    pub insertions: usize,
    /// Words missing.
    pub deletions: usize,
    /// Words replaced.
    pub substitutions: usize,
    /// Utterances transcribed.
    pub utterances: usize,
    /// Their audio.
    pub hours: f64,
    /// Utterances left out because their audio or text cannot be used.
    pub skipped: usize,
    /// Words, with a 95 % bootstrap interval.
    pub words: Rate,
    /// Characters or phones, with a 95 % bootstrap interval.
    pub characters: Rate,
}

/// A language as evaluation needs it.
pub struct Reader<'a> {
    /// The shared backbone.
    pub backbone: &'a Backbone,
    /// Masks and stand-in parameters.
    pub gates: Arc<Gates>,
    /// `(V, D)` and `(V,)`.
    pub head: (Tensor, Tensor),
    /// Symbols of the head.
    pub vocab: decode::Vocab,
    /// What a symbol is.
    pub unit: Unit,
}

impl Reader<'_> {
    /// Logits of a batch, one `(T, V)` row-major vector for each utterance, real frames only.
    ///
    /// # Errors
    /// Masks or a head that do not fit the backbone.
    pub fn logits(&self, batch: &[&Utterance]) -> Result<Vec<Vec<f32>>> {
        let features = collate(batch.iter().copied(), self.backbone.device())?;
        let segments = [Segment { rows: 0..batch.len(), gates: self.gates.clone() }];
        let hidden = self.backbone.encode(&features, &segments, None)?;
        let head = |t: &Tensor| t.detach().to_device(self.backbone.device());
        let logits = ops::linear(&hidden, &head(&self.head.0)?, &head(&self.head.1)?, Precision::F32)?;
        let row = |(i, &frames): (usize, &usize)| {
            Ok(logits.get(i)?.narrow(0, 0, frames)?.flatten_all()?.to_vec1()?)
        };
        features.lengths.iter().enumerate().map(row).collect()
    }

    /// Greedy transcripts, in the order of `utterances`.
    ///
    /// # Errors
    /// As [`logits`](Self::logits); logits that are not finite.
    pub fn transcribe(&self, utterances: &[Utterance]) -> Result<Vec<String>> {
        let frames: Vec<_> = utterances.iter().map(|u| u.frames).collect();
        let mut texts = vec![String::new(); utterances.len()];
        for batch in batches::by_length(&frames, BUDGET) {
            let rows: Vec<_> = batch.iter().map(|&i| &utterances[i]).collect();
            for (&i, logits) in batch.iter().zip(self.logits(&rows)?) {
                texts[i] = self.text(&logits)?;
            }
        }
        Ok(texts)
    }

    fn text(&self, logits: &[f32]) -> Result<String> {
        let symbols = decode::greedy(logits, &self.vocab)?;
        Ok(match self.unit {
            Unit::Characters => decode::text(&decode::words(&symbols, &self.vocab, 0.0), &self.vocab),
            Unit::Tokens => {
                let tokens = symbols.iter().map(|s| self.vocab.symbols()[s.index].as_str());
                tokens.collect::<Vec<_>>().join(" ")
            }
        })
    }

    /// Error rates over a data set.
    ///
    /// # Errors
    /// As [`transcribe`](Self::transcribe).
    pub fn report(&self, utterances: &[Utterance], skipped: usize) -> Result<Report> {
        let texts = self.transcribe(utterances)?;
        let pairs = || utterances.iter().zip(&texts).map(|(u, text)| (u.text.as_str(), text.as_str()));
        let of = |edits: fn(&str, &str) -> Edits| {
            Rate::of(
                &pairs().map(|(reference, text)| edits(reference, text)).collect::<Vec<_>>(),
                BOOTSTRAP_SEED,
            )
        };
        let words = of(word_edits);
        let characters = match self.unit {
            Unit::Characters => of(char_edits),
            // Phones stand between spaces as words do.
            Unit::Tokens => words,
        };
        Ok(Report {
            wer: words.rate,
            cer: characters.rate,
            symbols: if self.unit == Unit::Tokens { "phones" } else { "characters" },
            insertions: words.edits.insertions,
            deletions: words.edits.deletions,
            substitutions: words.edits.substitutions,
            utterances: utterances.len(),
            hours: utterances.iter().map(|u| u.seconds).sum::<f64>() / 3600.0,
            skipped,
            words,
            characters,
        })
    }
}
