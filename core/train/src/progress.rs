//! Progress on a terminal; nothing at all elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that only a terminal shows.
pub struct Bar(ProgressBar);

impl Bar {
    /// For clips being decoded.
    pub fn clips(total: usize) -> Self {
        Self::new(total, "reading {wide_bar} {pos}/{len} clips, {eta} left")
    }

    /// For updates, `done` of them already.
    pub fn updates(total: usize, done: usize) -> Self {
        let bar = Self::new(total, "update {pos}/{len} {wide_bar} {msg}, {eta} left");
        bar.0.set_position(done as u64);
        bar.0.reset_eta();
        bar
    }

    fn new(total: usize, template: &str) -> Self {
        // The template is ours and constant; should it be wrong, the default style still shows progress.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(ProgressBar::new(total as u64).with_style(style))
    }

    /// One clip done.
    pub fn tick(&self) {
        self.0.inc(1);
    }

    /// One update done.
    pub fn update(&self, done: usize, planned: usize, loss: f64, cer: Option<f64>, rtfx: f64) {
        self.0.set_length(planned as u64);
        self.0.set_position(done as u64);
        let cer = cer.map_or(String::new(), |c| format!("best CER {:.1} %, ", 100.0 * c));
        self.0.set_message(format!("loss {loss:.1}, {cer}{rtfx:.0}× real time"));
    }

    /// Removes the bar.
    pub fn done(&self) {
        self.0.finish_and_clear();
    }
}
