//! A reliability diagram (DeGroot and Fienberg 1983) as SVG: how often words of a given confidence are right.

use s3router_core::decode::confidence::{Bin, calibration_error};
use std::fmt::Write;

const SIDE: f64 = 320.0;
const EDGE: f64 = 48.0;

/// Before and after calibration; on the diagonal confidence is what it claims. A dot's area is its share of words.
pub fn diagram(title: &str, before: &[Bin], after: &[Bin]) -> String {
    let size = SIDE + 2.0 * EDGE;
    let at = |share: f32| f64::from(share) * SIDE;
    let (x, y) = (|share: f32| EDGE + at(share), |share: f32| EDGE + SIDE - at(share));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {size} {size}\" font-family=\"sans-serif\" font-size=\"12\">\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/><text x=\"{EDGE}\" y=\"20\" font-size=\"14\">{}</text>",
        title.replace('&', "&amp;").replace('<', "&lt;")
    );
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let _ = write!(
            out,
            "<path d=\"M{EDGE} {0:.1}h{SIDE}M{1:.1} {EDGE}v{SIDE}\" stroke=\"#ddd\"/>\
             <text x=\"{2}\" y=\"{0:.1}\" text-anchor=\"end\">{tick}</text>\
             <text x=\"{1:.1}\" y=\"{3}\" text-anchor=\"middle\">{tick}</text>",
            y(tick),
            x(tick),
            EDGE - 6.0,
            EDGE + SIDE + 16.0
        );
    }
    let _ = write!(
        out,
        "<path d=\"M{EDGE} {}L{} {EDGE}\" stroke=\"#999\" stroke-dasharray=\"4\"/>",
        EDGE + SIDE,
        EDGE + SIDE
    );
    for (bins, colour, name, line) in
        [(before, "#c33", "as it is", 34.0), (after, "#36c", "calibrated", 48.0)]
    {
        let words: usize = bins.iter().map(|b| b.words).sum();
        for bin in bins.iter().filter(|b| b.words > 0) {
            let radius = 3.0 + 14.0 * (bin.words as f64 / words.max(1) as f64).sqrt();
            let _ = write!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\" fill=\"{colour}\" fill-opacity=\"0.5\"/>",
                x(bin.confidence),
                y(bin.accuracy)
            );
        }
        let error = 100.0 * calibration_error(bins);
        let _ = write!(
            out,
            "<text x=\"{}\" y=\"{}\" fill=\"{colour}\">{name}: error {error:.1} %</text>",
            EDGE + 8.0,
            EDGE + line - 16.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">confidence → share that is right</text></svg>",
        size / 2.0,
        size - 8.0
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3router_core::decode::confidence::reliability;

    #[test]
    fn each_bin_with_words_is_a_dot_and_nothing_is_nan() {
        let words = [(0.15, false), (0.55, true), (0.95, true)];
        let bins = reliability(&words, 10);
        let picture = diagram("tr <demo>", &bins, &bins);
        assert_eq!(picture.matches("<circle").count(), 6);
        assert!(picture.contains("tr &lt;demo>") && !picture.contains("NaN"));
    }
}
