//! The learning rate over a run: warm-up, hold, exponential decay.

use crate::{Error, Result};

/// fairseq's tri-stage schedule (`optim/lr_scheduler/tri_stage_lr_scheduler.py`).
///
/// With `u` updates already done and stages of `w`, `h`, `d` updates (each truncated, of `updates`):
/// linear from `initial` to 1 for `u < w`, then 1 for `h`, then `exp(ln(last) (u − w − h) / d)`, then `last`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TriStage {
    /// Fractions of the run spent in warm-up, hold and decay.
    pub stages: [f64; 3],
    /// Factor at the very first update.
    pub initial: f64,
    /// Factor at the end; 1e-4 freezes the mask, 0.05 leaves it chattering.
    pub last: f64,
}

impl Default for TriStage {
    fn default() -> Self {
        Self { stages: [0.1, 0.4, 0.5], initial: 0.01, last: 1e-4 }
    }
}

impl TriStage {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// Stages that are no shares of one run, factors that no decay can reach.
    pub fn check(&self) -> Result<()> {
        let [w, h, d] = self.stages;
        let invalid = |text: String| Err(Error::InvalidRequest(text));
        if ![w, h, d].iter().all(|s| (0.0..=1.0).contains(s)) || w + h + d > 1.0 + 1e-9 {
            return invalid(format!("schedule.stages are [{w}, {h}, {d}]: give shares of the run, 1 in all"));
        }
        let (initial, last) = (self.initial, self.last);
        if !((0.0..=1.0).contains(&initial) && last > 0.0 && last <= 1.0) {
            return invalid(format!(
                "schedule.initial is {initial}, .last {last}: give 0 to 1, the last above 0, since the decay is exponential"
            ));
        }
        Ok(())
    }

    /// The factor on the peak rate for the update after `done` of `updates`.
    pub fn factor(&self, done: usize, updates: usize) -> f64 {
        let [w, h, d] = self.stages.map(|share| (updates as f64 * share).floor());
        let u = done as f64;
        if u < w {
            self.initial + (1.0 - self.initial) * u / w
        } else if u < w + h {
            1.0
        } else if u <= w + h + d && d > 0.0 {
            (self.last.ln() * (u - w - h) / d).exp()
        } else {
            self.last
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_warms_up_holds_and_decays_as_fairseq_does() {
        let lr = |u| 5e-5 * TriStage::default().factor(u, 15_000);
        for (done, expected) in [
            (0, 5e-7),
            (750, 5e-5 * 0.505),
            (1_500, 5e-5),
            (7_499, 5e-5),
            (7_500, 5e-5),
            (11_250, 5e-5 * 1e-2),
            (15_000, 5e-9),
            (20_000, 5e-9),
        ] {
            assert!((lr(done) / expected - 1.0).abs() < 1e-9, "{done}: {} != {expected}", lr(done));
        }
        let travel: f64 = (0..15_000).map(lr).sum();
        assert!((travel - 0.379).abs() < 2e-3, "integral {travel}, method notes say 0.379");
    }

    #[test]
    fn what_would_end_in_no_number_is_refused() {
        let with = |stages, initial, last| TriStage { stages, initial, last }.check();
        assert!(TriStage::default().check().is_ok());
        assert!(with([0.1, 0.5, 0.4], 0.0, 1.0).is_ok());
        for wrong in [
            with([0.1, 0.4, 0.5], 0.01, 0.0),
            with([0.1, 0.4, 0.5], f64::NAN, 0.1),
            with([0.5, 0.4, 0.5], 0.01, 0.1),
            with([-0.1, 0.4, 0.5], 0.01, 0.1),
        ] {
            assert!(wrong.is_err());
        }
    }

    #[test]
    fn a_run_too_short_for_its_stages_still_has_a_rate() {
        for u in 0..4 {
            assert!(TriStage::default().factor(u, 1).is_finite());
        }
    }
}
