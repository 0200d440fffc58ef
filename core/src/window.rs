//! Long audio as overlapping windows whose frames line up, so that logits stitch without a seam.
//!
//! A window starts on a multiple of the backbone's hop, so its frame `t` *is* frame `start / hop + t` of
//! the whole. Every frame is taken from the window that sees at least `margin` of audio on both sides of
//! it (but at the ends): attention loses only context farther than that.

use std::ops::Range;

/// How long audio is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windowing {
    /// Longest stretch the backbone sees at once, samples; longer audio is cut.
    pub samples: usize,
    /// Context on each side whose frames are dropped, samples.
    pub margin: usize,
}

impl Default for Windowing {
    /// 20 s with 2 s of context on each side: 1.25 × the work, attention bounded at 1,000 frames, and a
    /// newcomer that waits for a window waits little.
    fn default() -> Self {
        Self { samples: 20 * 16_000, margin: 2 * 16_000 }
    }
}

/// One window: what the backbone hears, and which of its frames count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Samples of the utterance.
    pub samples: Range<usize>,
    /// Frames of this window, counted from its own first one.
    pub frames: Range<usize>,
}

/// Cuts `total` samples into windows whose kept frames cover each frame of the whole exactly once.
///
/// `hop` is the backbone's samples per frame, `frames_of` its frames for a number of samples.
pub fn windows(total: usize, hop: usize, cut: Windowing, frames_of: impl Fn(usize) -> usize) -> Vec<Window> {
    let margin = cut.margin.next_multiple_of(hop);
    // A window must advance: at least one hop between its two margins.
    let longest = (cut.samples / hop * hop).max(2 * margin + hop);
    let step = longest - 2 * margin;
    if total <= longest {
        return vec![Window { samples: 0..total, frames: 0..frames_of(total) }];
    }
    let starts: Vec<usize> = (0..).map(|i| i * step).take_while(|s| s + 2 * margin < total).collect();
    let first_kept = |i: usize| if i == 0 { 0 } else { (starts[i] + margin) / hop };
    (0..starts.len())
        .map(|i| {
            let start = starts[i];
            let end = if i + 1 == starts.len() { total } else { start + longest };
            let kept_end = if i + 1 == starts.len() { frames_of(total) } else { first_kept(i + 1) };
            Window {
                samples: start..end.min(total),
                frames: first_kept(i) - start / hop..kept_end - start / hop,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// XLS-R's formula: 400 samples of receptive field, 320 of hop.
    fn frames_of(samples: usize) -> usize {
        if samples < 400 { 0 } else { (samples - 400) / 320 + 1 }
    }

    proptest! {
        #[test]
        fn kept_frames_cover_the_whole_once_and_every_window_can_deliver_them(
            total in 0usize..400_000, samples in 1usize..100_000, margin in 400usize..20_000,
        ) {
            let cut = Windowing { samples, margin };
            let mut next = 0;
            for w in windows(total, 320, cut, frames_of) {
                prop_assert_eq!(w.samples.start % 320, 0);
                prop_assert_eq!(w.samples.start / 320 + w.frames.start, next);
                prop_assert!(w.frames.end <= frames_of(w.samples.len()));
                next = w.samples.start / 320 + w.frames.end;
            }
            prop_assert_eq!(next, frames_of(total));
        }
    }

    #[test]
    fn short_audio_is_one_window() {
        let one = windows(16_000, 320, Windowing::default(), frames_of);
        assert_eq!(one, [Window { samples: 0..16_000, frames: 0..49 }]);
    }

    #[test]
    fn inner_frames_have_their_margin_on_both_sides() {
        let cut = Windowing::default();
        let all = windows(16_000 * 100, 320, cut, frames_of);
        assert!(all.len() > 2);
        for pair in all.windows(2) {
            let seam = pair[1].samples.start + pair[1].frames.start * 320;
            assert!(seam - pair[1].samples.start >= cut.margin && pair[0].samples.end - seam >= cut.margin);
        }
    }
}
