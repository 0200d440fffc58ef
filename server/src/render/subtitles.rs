//! Segments → SubRip and WebVTT.

use s3router_proto::Segment;
use std::fmt::Write;

/// SubRip.
pub fn srt(segments: &[Segment]) -> String {
    let mut out = String::new();
    for (i, s) in segments.iter().enumerate() {
        let _ = writeln!(out, "{}\n{} --> {}\n{}\n", i + 1, clock(s.start, ','), clock(s.end, ','), s.text);
    }
    out
}

/// WebVTT; channels are voices.
pub fn vtt(segments: &[Segment]) -> String {
    let mut out = String::from("WEBVTT\n\n");
    for s in segments {
        let voice = s.channel.map_or_else(String::new, |c| format!("<v channel {c}>"));
        let text = s.text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = writeln!(out, "{} --> {}\n{voice}{text}\n", clock(s.start, '.'), clock(s.end, '.'));
    }
    out
}

/// `00:00:01,250`.
fn clock(seconds: f64, point: char) -> String {
    let ms = (seconds.max(0.0) * 1000.0).round() as u64;
    let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{h:02}:{m:02}:{s:02}{point}{:03}", ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cue(text: &str, channel: Option<usize>) -> [Segment; 1] {
        [Segment { id: 0, start: 3661.2504, end: 3662.0, text: text.into(), confidence: 1.0, channel }]
    }

    #[test]
    fn subrip_counts_from_one_and_ends_each_cue_with_a_blank_line() {
        assert_eq!(srt(&cue("selam", None)), "1\n01:01:01,250 --> 01:01:02,000\nselam\n\n");
    }

    #[test]
    fn webvtt_escapes_what_would_be_markup() {
        let text = vtt(&cue("a <b> & c", Some(1)));
        assert_eq!(text, "WEBVTT\n\n01:01:01.250 --> 01:01:02.000\n<v channel 1>a &lt;b&gt; &amp; c\n\n");
    }
}
