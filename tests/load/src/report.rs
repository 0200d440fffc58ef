//! Tables for people, the same as JSON for programs.

use crate::tally::Tally;
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::{fmt, fs, path::Path};

/// One question and its answer.
pub(crate) struct Section {
    title: String,
    rows: Vec<Tally>,
    findings: Vec<(&'static str, f64, String)>,
}

impl Section {
    pub(crate) fn new(title: impl Into<String>, rows: Vec<Tally>) -> Self {
        Self { title: title.into(), rows, findings: Vec::new() }
    }

    /// A number that the section was made for, and what to say of it.
    pub(crate) fn finding(mut self, name: &'static str, value: f64, said: String) -> Self {
        self.findings.push((name, value, said));
        self
    }

    fn json(&self) -> Value {
        let findings: Map<String, Value> =
            self.findings.iter().map(|(name, value, _)| ((*name).to_owned(), json!(value))).collect();
        let rows: Vec<Value> = self.rows.iter().map(Tally::json).collect();
        json!({ "title": self.title, "rows": rows, "findings": findings })
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "### {}\n\n{}", self.title, Tally::HEAD)?;
        self.rows.iter().try_for_each(|row| write!(f, "{row}"))?;
        writeln!(f)?;
        self.findings.iter().try_for_each(|(_, _, said)| writeln!(f, "- {said}"))?;
        writeln!(f)
    }
}

/// All sections, as Markdown.
pub(crate) fn markdown(command: &str, sections: &[Section]) -> String {
    let sections: String = sections.iter().map(Section::to_string).collect();
    format!("`{command}` on {}\n\n{sections}", machine())
}

/// `table.md` and `results.json` in a folder.
pub(crate) fn write(folder: &Path, command: &str, sections: &[Section]) -> Result<()> {
    let at = |name: &str| folder.join(name);
    let said = || format!("cannot write to {}", folder.display());
    fs::create_dir_all(folder).with_context(said)?;
    fs::write(at("table.md"), markdown(command, sections)).with_context(said)?;
    let sections: Vec<Value> = sections.iter().map(Section::json).collect();
    let results = json!({
        "command": command, "machine": machine(), "version": env!("CARGO_PKG_VERSION"), "sections": sections,
    });
    fs::write(at("results.json"), serde_json::to_string_pretty(&results)? + "\n").with_context(said)
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(':')).map(|(_, m)| m.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = s3router_core::kernels::Tier::best().name();
    format!("{cores} cores of {} (kernels: {kernel}); the client shares them", model.unwrap_or("a CPU"))
}
