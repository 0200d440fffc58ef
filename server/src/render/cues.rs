//! Words → segments: what a subtitle shows at once.

use super::mean;
use s3router_proto::{Segment, Word};

/// A pause that ends a segment, seconds.
const PAUSE: f64 = 0.7;
/// Longest segment, seconds.
const LONGEST: f64 = 6.0;
/// Widest segment, characters: two lines of a subtitle.
const WIDEST: usize = 84;

/// Segments of each channel, in the order of time; `space` stands between words.
///
/// A segment ends at a pause, and before it would last longer or be wider than a subtitle may.
pub fn segments(words: &[Word], space: &str) -> Vec<Segment> {
    let mut channels: Vec<Option<usize>> = words.iter().map(|w| w.channel).collect();
    channels.sort_unstable();
    channels.dedup();
    let mut segments: Vec<Segment> = channels
        .into_iter()
        .flat_map(|channel| {
            let spoken: Vec<&Word> = words.iter().filter(|w| w.channel == channel).collect();
            runs(&spoken, space)
        })
        .collect();
    segments.sort_by(|a, b| a.start.total_cmp(&b.start));
    for (id, segment) in segments.iter_mut().enumerate() {
        segment.id = id;
    }
    segments
}

fn runs(words: &[&Word], space: &str) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut first = 0;
    let mut width = 0;
    for (i, word) in words.iter().enumerate() {
        let added = word.word.chars().count() + space.len();
        let ends = i > first
            && (word.start - words[i - 1].end > PAUSE
                || word.end - words[first].start > LONGEST
                || width + added > WIDEST);
        if ends {
            segments.push(segment(&words[first..i], space));
            (first, width) = (i, 0);
        }
        width += added;
    }
    if first < words.len() {
        segments.push(segment(&words[first..], space));
    }
    segments
}

fn segment(words: &[&Word], space: &str) -> Segment {
    Segment {
        id: 0,
        start: words.first().map_or(0.0, |w| w.start),
        end: words.last().map_or(0.0, |w| w.end),
        text: words.iter().map(|w| w.word.as_str()).collect::<Vec<_>>().join(space),
        confidence: mean(words.iter().map(|w| w.confidence)),
        channel: words.first().and_then(|w| w.channel),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn word(word: &str, start: f64, end: f64) -> Word {
        Word { word: word.into(), start, end, confidence: 0.5, channel: None }
    }

    #[test]
    fn a_pause_begins_a_new_segment() {
        let words = [word("merhaba", 0.1, 0.5), word("dünya", 0.6, 1.0), word("nasılsın", 2.0, 2.5)];
        let cues = segments(&words, " ");
        let seen: Vec<_> = cues.iter().map(|s| (s.id, s.text.as_str(), s.start, s.end)).collect();
        assert_eq!(seen, [(0, "merhaba dünya", 0.1, 1.0), (1, "nasılsın", 2.0, 2.5)]);
    }

    #[test]
    fn characters_of_a_script_without_spaces_stay_together() {
        let words = [word("你", 0.0, 0.2), word("好", 0.2, 0.4)];
        assert_eq!(segments(&words, "")[0].text, "你好");
    }

    #[test]
    fn channels_do_not_mix_within_a_segment() {
        let on = |channel, start, end| Word { channel: Some(channel), ..word("ja", start, end) };
        let cues = segments(&[on(0, 0.0, 0.4), on(1, 0.2, 0.5), on(0, 0.5, 0.9)], " ");
        let seen: Vec<_> = cues.iter().map(|s| (s.channel, s.text.as_str())).collect();
        assert_eq!(seen, [(Some(0), "ja ja"), (Some(1), "ja")]);
    }

    proptest! {
        #[test]
        fn every_word_is_shown_once_in_a_segment_that_fits(
            gaps in prop::collection::vec((0.0f64..2.0, 0.01f64..3.0, "[a-z]{1,12}"), 0..60),
        ) {
            let mut now = 0.0;
            let words: Vec<Word> = gaps.iter().map(|(gap, length, text)| {
                let start = now + gap;
                now = start + length;
                word(text, start, now)
            }).collect();
            let cues = segments(&words, " ");
            let shown: Vec<&str> = cues.iter().flat_map(|s| s.text.split(' ')).collect();
            prop_assert_eq!(shown, words.iter().map(|w| w.word.as_str()).collect::<Vec<_>>());
            for cue in &cues {
                let alone = !cue.text.contains(' ');
                prop_assert!(alone || (cue.end - cue.start <= LONGEST && cue.text.len() <= WIDEST));
            }
        }
    }
}
