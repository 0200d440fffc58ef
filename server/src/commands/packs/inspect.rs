//! `s3router packs inspect`.

use super::{list::describe, source::PackSource, table, write_json};
use anyhow::Result;
use serde_json::{Value, json};
use std::io::Write;

/// Flags of `packs inspect`.
#[derive(Debug, clap::Args)]
pub(super) struct InspectArgs {
    /// A pack file, or a language of `--packs`.
    #[arg(value_name = "FILE|LANG")]
    pack: String,
    #[command(flatten)]
    source: PackSource,
    /// Machine-readable.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &InspectArgs, out: &mut dyn Write) -> Result<()> {
    let found = args.source.open_one(&args.pack)?;
    let pack = &found.opened.pack;
    let mut about = describe(&found);
    about["vocab"] = json!(pack.meta.vocab);
    about["head"] = json!([pack.meta.vocab.len(), pack.head.dim]);
    if args.json {
        about["masks"] = pack
            .masks
            .iter()
            .map(|(name, m)| json!({"name": name, "shape": [m.rows(), m.cols()], "kept": m.count_ones()}))
            .collect();
        return write_json(out, &about);
    }
    if let Value::Object(about) = &about {
        let width = about.keys().map(String::len).max().unwrap_or(0);
        for (key, value) in about.iter().filter(|(_, value)| !value.is_null()) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            writeln!(out, "{key:width$}  {text}")?;
        }
    }
    writeln!(out)?;
    let mut rows = vec![table::row(["mask", "out", "in", "dropped", "density"])];
    for (name, mask) in &pack.masks {
        rows.push(vec![
            name.clone(),
            mask.rows().to_string(),
            mask.cols().to_string(),
            table::count((mask.len() - mask.count_ones()) as u64),
            table::percent(mask.count_ones() as f64 / mask.len() as f64),
        ]);
    }
    Ok(table::write(out, &rows)?)
}
