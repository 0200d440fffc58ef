//! Telling languages apart: every pack hears every language's clips, as `/identify` has them heard.

use super::{Candidate, logits};
use anyhow::{Context, Result};
use s3router_core::{
    Engine, Utterance,
    decode::confidence::{calibration_error, reliability},
    identify::{self, Ear, Heard, excerpt, fit, probabilities},
};
use std::{fmt, path::Path, sync::Arc};

/// Clips heard at a time, each by every pack.
const AT_ONCE: usize = 8;

/// What was fitted, and how often the right language comes first.
#[derive(Debug, serde::Serialize)]
pub struct Languages {
    /// The packs' languages, the order of everything else here.
    pub languages: Vec<String>,
    /// What each pack's `training.identification` holds.
    pub ears: Vec<Ear>,
    /// Clips fitted on.
    pub fitted: usize,
    /// Clips judged.
    pub judged: usize,
    /// Share of them whose language came first, by bare doubt.
    pub accuracy_before: f64,
    /// The same as fitted.
    pub accuracy: f64,
    /// How far the first language's probability is from how often it is right, 0 to 1.
    pub calibration_error: f32,
    /// Clips judged, by language spoken (row) and heard (column).
    pub confusion: Vec<Vec<usize>>,
}

/// Fits on the validation lists, judges on the test lists; of each list at most `most` clips.
pub(super) fn judge(engine: &Engine, candidates: &[Candidate], most: usize) -> Result<Languages> {
    let valid = hear(engine, candidates, most, |of| &of.valid)?;
    let ears = fit(&valid)?;
    let test = hear(engine, candidates, most, |of| &of.test)?;
    let n = candidates.len();
    let fitted: Vec<_> = ears.iter().copied().map(Some).collect();
    let (mut confusion, mut sure) = (vec![vec![0; n]; n], Vec::new());
    for clip in &test {
        let (best, share) = first(&clip.doubts, &fitted);
        confusion[clip.truth][best] += 1;
        sure.push((share, best == clip.truth));
    }
    let share = |right: usize| right as f64 / test.len().max(1) as f64;
    let bare = test.iter().filter(|clip| first(&clip.doubts, &vec![None; n]).0 == clip.truth).count();
    Ok(Languages {
        languages: candidates.iter().map(|of| of.pack.meta.language.clone()).collect(),
        ears,
        fitted: valid.len(),
        judged: test.len(),
        accuracy_before: share(bare),
        accuracy: share((0..n).map(|i| confusion[i][i]).sum()),
        calibration_error: calibration_error(&reliability(&sure, 10)),
        confusion,
    })
}

/// The likeliest pack, and its probability.
fn first(doubts: &[f64], ears: &[Option<Ear>]) -> (usize, f32) {
    let shares = probabilities(doubts, ears);
    shares.into_iter().enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default()
}

fn hear<'a>(
    engine: &Engine,
    candidates: &'a [Candidate],
    most: usize,
    list: impl Fn(&'a Candidate) -> &'a Path,
) -> Result<Vec<Heard>> {
    let mut heard = Vec::new();
    for (truth, of) in candidates.iter().enumerate() {
        of.each(list(of), most, AT_ONCE, |clips| {
            let batch: Vec<_> = clips
                .iter()
                .flat_map(|clip| {
                    let samples: Arc<[f32]> = clip.samples[excerpt(&clip.samples)].into();
                    candidates.iter().map(move |c| Utterance::new(Arc::clone(&samples), &c.pack))
                })
                .collect();
            let doubts = batch.iter().zip(logits(engine, &batch)?).map(|(utterance, logits)| {
                let doubt = identify::doubt(&logits, utterance.pack.vocab.len());
                doubt.context("a clip is shorter than a frame of the backbone")
            });
            let doubts = doubts.collect::<Result<Vec<_>>>()?;
            heard.extend(doubts.chunks(candidates.len()).map(|d| Heard { doubts: d.to_vec(), truth }));
            Ok(())
        })?;
    }
    Ok(heard)
}

/// A Markdown table.
impl fmt::Display for Languages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.languages.join(" | ");
        writeln!(f, "| spoken \\ heard | {names} |\n|---{}|", "|---".repeat(self.languages.len()))?;
        for (name, row) in self.languages.iter().zip(&self.confusion) {
            let cells: Vec<String> =
                row.iter().map(|&n| if n == 0 { String::new() } else { n.to_string() }).collect();
            writeln!(f, "| {name} | {} |", cells.join(" | "))?;
        }
        write!(
            f,
            "{:.2} % of {} clips are heard in their language ({:.2} % by bare doubt)",
            100.0 * self.accuracy,
            self.judged,
            100.0 * self.accuracy_before
        )
    }
}
