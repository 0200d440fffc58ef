//! A sweep as a picture: RTFx over the length of the audio, which has a logarithmic axis.

use super::report::Sweep;
use std::fmt::Write;

const W: f64 = 640.0;
const H: f64 = 360.0;
const EDGE: f64 = 56.0;

/// An SVG that needs nothing else.
pub(super) fn svg(sweep: &Sweep) -> String {
    let logs = || sweep.points.iter().map(|p| p.seconds.log10());
    let (first, last) = (logs().fold(f64::INFINITY, f64::min), logs().fold(f64::NEG_INFINITY, f64::max));
    let top = sweep.points.iter().map(|p| p.rtfx).fold(0.0, f64::max) * 1.1;
    let x = |seconds: f64| EDGE + (W - 2.0 * EDGE) * (seconds.log10() - first) / (last - first).max(1e-9);
    let y = |rtfx: f64| H - EDGE - (H - 2.0 * EDGE) * rtfx / top;
    let title =
        format!("{}, {} ({}), {} threads", sweep.backbone, sweep.precision, sweep.kernel, sweep.threads);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {W} {H}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text x=\"{EDGE}\" y=\"24\" font-size=\"14\">{}</text>\n",
        title.replace('&', "&amp;").replace('<', "&lt;")
    );
    for i in 0..=4 {
        let rtfx = top * f64::from(i) / 4.0;
        let _ = writeln!(
            out,
            "<path d=\"M{EDGE} {at:.1}H{}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{at:.1}\" text-anchor=\"end\">{rtfx:.1}</text>",
            W - EDGE,
            EDGE - 6.0,
            at = y(rtfx)
        );
    }
    let line: Vec<_> = sweep.points.iter().map(|p| format!("{:.1},{:.1}", x(p.seconds), y(p.rtfx))).collect();
    let _ = writeln!(
        out,
        "<polyline fill=\"none\" stroke=\"#36c\" stroke-width=\"1.5\" points=\"{}\"/>",
        line.join(" ")
    );
    for p in &sweep.points {
        let (cx, cy) = (x(p.seconds), y(p.rtfx));
        let _ = writeln!(
            out,
            "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\" fill=\"#36c\"/>\
             <text x=\"{cx:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#36c\">{:.1}</text>\
             <text x=\"{cx:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            cy - 8.0,
            p.rtfx,
            H - EDGE + 18.0,
            p.seconds
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">seconds of audio · RTFx: audio seconds per wall second</text></svg>",
        W / 2.0,
        H - 12.0
    );
    out
}
