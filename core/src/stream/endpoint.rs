//! Where an utterance begins and ends: frames in, decisions out. Pure: no clock, no audio, no model.

use super::voice::{FRAME, Frame};
use std::collections::VecDeque;

/// Frames above the threshold in a row that are taken for speech: 48 ms; shorter is a click.
const ONSET: usize = 3;
/// Below this part of the threshold a frame is silence; between the two it is neither, so that a score that
/// wavers neither starts nor ends anything.
const RELEASE: f32 = 0.7;
/// Frames that decide how quiet a place is: 80 ms.
const HUSH: usize = 5;
/// Mean square above which sound may not be thrown away unread when nobody was heard (−50 dB): the detector
/// knows voices, a pack may know more.
const AUDIBLE: f32 = 1e-5;

/// What the last frame brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing new.
    None,
    /// Speech began at this sample of the stream.
    Began(u64),
    /// The pause after speech is long enough.
    Ended,
}

/// Follows one stream.
#[derive(Clone, Debug)]
pub(super) struct Endpointer {
    threshold: f32,
    /// Frames of silence that end an utterance; `None` never does.
    patience: Option<usize>,
    frames: u64,
    speaking: bool,
    voiced: usize,
    silent: usize,
    audible: bool,
    /// The sample at which the present stretch begins.
    begun: u64,
    /// Scores since the utterance's audio began, to find a quiet place to cut.
    scores: VecDeque<f32>,
    scores_begin: u64,
}

impl Endpointer {
    /// Speech is above `threshold`; `pause` samples of silence end it, none if `None`.
    pub(super) fn new(threshold: f32, pause: Option<usize>) -> Self {
        Self {
            threshold,
            patience: pause.map(frames),
            frames: 0,
            speaking: false,
            voiced: 0,
            silent: 0,
            audible: false,
            begun: 0,
            scores: VecDeque::new(),
            scores_begin: 0,
        }
    }

    /// Another pause from here on.
    pub(super) fn wait(&mut self, pause: Option<usize>) {
        self.patience = pause.map(frames);
    }

    /// Whether an utterance is open.
    pub(super) fn speaking(&self) -> bool {
        self.speaking
    }

    /// Whether anything could be heard since the last [`begin`](Self::begin), speech or not.
    pub(super) fn audible(&self) -> bool {
        self.audible || self.speaking
    }

    /// A new stretch of audio begins at `sample`. Somebody who was speaking right there goes on speaking.
    pub(super) fn begin(&mut self, sample: u64) {
        self.audible = false;
        self.begun = sample;
        self.speaking = false;
        let frame = sample / FRAME as u64;
        let gone = frame.saturating_sub(self.scores_begin).min(self.scores.len() as u64);
        self.scores.drain(..gone as usize);
        self.scores_begin += gone;
        self.silent = self.silent.min(self.scores.len());
    }

    /// As [`begin`](Self::begin), in the middle of speech that had to be cut.
    pub(super) fn go_on(&mut self, sample: u64) {
        self.begin(sample);
        self.speaking = true;
    }

    /// Takes the next frame.
    pub(super) fn take(&mut self, frame: Frame) -> Turn {
        self.frames += 1;
        if self.scores.is_empty() {
            self.scores_begin = self.frames - 1;
        }
        self.scores.push_back(frame.voice);
        // A frame that a cut went through was loud before the cut, perhaps.
        self.audible |= frame.power > AUDIBLE && (self.frames - 1) * FRAME as u64 >= self.begun;
        self.voiced = if frame.voice >= self.threshold { self.voiced + 1 } else { 0 };
        // One loud frame is a click and does not interrupt a pause.
        let loud = self.voiced >= 2 || (self.silent == 0 && frame.voice >= self.threshold * RELEASE);
        self.silent = if loud { 0 } else { self.silent + 1 };
        if self.speaking {
            let over = self.patience.is_some_and(|patience| self.silent >= patience);
            return if over { Turn::Ended } else { Turn::None };
        }
        if self.voiced < ONSET {
            return Turn::None;
        }
        self.speaking = true;
        Turn::Began((self.frames - self.voiced as u64) * FRAME as u64)
    }

    /// The sample before `end` and not before `earliest` where a cut hurts least: the middle of the quietest 80 ms,
    /// the last of equals.
    pub(super) fn quietest(&self, earliest: u64, end: u64) -> u64 {
        let index = |sample: u64| (sample / FRAME as u64).saturating_sub(self.scores_begin) as usize;
        let (from, to) = (index(earliest) + 1, index(end).min(self.scores.len()));
        let hush = |middle: usize| {
            let window = middle.saturating_sub(HUSH / 2)..(middle + HUSH / 2 + 1).min(self.scores.len());
            self.scores.range(window.clone()).sum::<f32>() / window.len() as f32
        };
        let best = (from..to).map(|i| (hush(i), i)).min_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        best.map_or(end, |(_, i)| (self.scores_begin + i as u64) * FRAME as u64)
    }

    /// Forgets scores before `sample`: nothing will be cut there.
    pub(super) fn forget(&mut self, sample: u64) {
        let gone = (sample / FRAME as u64).saturating_sub(self.scores_begin).min(self.scores.len() as u64);
        self.scores.drain(..gone as usize);
        self.scores_begin += gone;
    }
}

fn frames(samples: usize) -> usize {
    samples.div_ceil(FRAME).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(endpointer: &mut Endpointer, voices: &[(f32, usize)]) -> Vec<(usize, Turn)> {
        let scores = voices.iter().flat_map(|&(voice, n)| std::iter::repeat_n(voice, n));
        scores
            .enumerate()
            .map(|(i, voice)| (i, endpointer.take(Frame { voice, power: 0.0 })))
            .filter(|(_, turn)| *turn != Turn::None)
            .collect()
    }

    #[test]
    fn speech_begins_where_it_was_first_heard_and_ends_after_the_pause() {
        let mut ends = Endpointer::new(0.5, Some(10 * FRAME));
        let turns = follow(&mut ends, &[(0.1, 20), (0.9, 30), (0.1, 10)]);
        assert_eq!(turns, [(22, Turn::Began(20 * FRAME as u64)), (59, Turn::Ended)]);
    }

    #[test]
    fn a_click_neither_begins_nor_prolongs() {
        let mut ends = Endpointer::new(0.5, Some(10 * FRAME));
        assert_eq!(follow(&mut ends, &[(0.1, 20), (0.9, 2), (0.1, 20)]), []);
        let turns = follow(&mut ends, &[(0.9, 20), (0.1, 5), (0.9, 1), (0.1, 4)]);
        assert_eq!(turns.last().unwrap(), &(29, Turn::Ended));
    }

    #[test]
    fn without_patience_only_the_caller_ends() {
        let mut ends = Endpointer::new(0.5, None);
        assert_eq!(follow(&mut ends, &[(0.9, 20), (0.0, 10_000)]).len(), 1);
    }

    #[test]
    fn a_cut_is_made_where_it_is_quiet_and_speech_goes_on() {
        let mut ends = Endpointer::new(0.5, Some(100 * FRAME));
        follow(&mut ends, &[(0.9, 50), (0.2, 7), (0.9, 43)]);
        let cut = ends.quietest(20 * FRAME as u64, 100 * FRAME as u64);
        assert!((50..57).contains(&(cut as usize / FRAME)), "{cut}");
        ends.go_on(cut);
        assert!(ends.speaking());
    }
}
