//! Is anybody speaking? 16 kHz samples in pieces of any size → one score per frame of 16 ms (by `earshot`, a
//! small network), and how loud that frame was.

use earshot::Detector;

/// Samples of one frame.
pub(super) const FRAME: usize = 256;

/// One frame as the endpointer sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Frame {
    /// 0 nobody, 1 somebody.
    pub(super) voice: f32,
    /// Mean square of the samples.
    pub(super) power: f32,
}

/// Scores frames on the grid of the stream's own clock: how the audio was cut makes no difference.
pub(super) struct Voice {
    detector: Box<Detector>,
    rest: Vec<f32>,
}

impl Default for Voice {
    fn default() -> Self {
        Self { detector: Detector::default_boxed(), rest: Vec::with_capacity(FRAME) }
    }
}

impl std::fmt::Debug for Voice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Voice").field("rest", &self.rest.len()).finish_non_exhaustive()
    }
}

impl Voice {
    /// How many of `available` samples to take next, so that at most one frame is completed.
    pub(super) fn step(&self, available: usize) -> usize {
        (FRAME - self.rest.len()).min(available)
    }

    /// Takes at most [`step`](Self::step) samples; a frame when they complete one.
    pub(super) fn push(&mut self, samples: &[f32]) -> Option<Frame> {
        self.rest.extend_from_slice(samples);
        if self.rest.len() < FRAME {
            return None;
        }
        let power = self.rest.iter().map(|x| x * x).sum::<f32>() / FRAME as f32;
        // The detector wants full scale ±1; loud float files exceed it.
        self.rest.iter_mut().for_each(|x| *x = x.clamp(-1.0, 1.0));
        let voice = self.detector.predict_f32(&self.rest);
        self.rest.clear();
        Some(Frame { voice, power })
    }
}
