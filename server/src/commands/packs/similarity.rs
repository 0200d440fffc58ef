//! `s3router packs similarity`.

use super::{
    source::{Found, PackSource, position},
    table, write_json,
};
use anyhow::{Result, bail};
use s3router_masks::{Overlap, compare};
use serde_json::{Value, json};
use std::io::Write;

/// Flags of `packs similarity`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Masks that keep 92 % of their weights share most of them by chance: their cosine is 0.92 when they are
independent. φ (the correlation of the bits) is 0 then, 1 for equal masks; the Jaccard index is
dropped by both / dropped by either. With two languages, each weight is listed.")]
pub(super) struct SimilarityArgs {
    /// Languages to compare; all packs when none is named.
    #[arg(value_name = "LANG")]
    languages: Vec<String>,
    #[command(flatten)]
    source: PackSource,
    /// Machine-readable.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &SimilarityArgs, out: &mut dyn Write) -> Result<()> {
    let packs = args.source.open()?.sound;
    let chosen: Vec<&Found> = if args.languages.is_empty() {
        packs.iter().collect()
    } else {
        let found = args.languages.iter().map(|asked| Ok(&packs[position(&packs, asked)?]));
        found.collect::<Result<_>>()?
    };
    match chosen.as_slice() {
        [] | [_] => bail!("a comparison needs two packs: name two languages, or a folder with more"),
        [first, second] => pair(first, second, args.json, out),
        many => matrix(many, args.json, out),
    }
}

fn pair(first: &Found, second: &Found, as_json: bool, out: &mut dyn Write) -> Result<()> {
    let comparison = compare(&first.opened.pack, &second.opened.pack)?;
    if as_json {
        let weights: serde_json::Map<_, _> =
            comparison.weights.iter().map(|(name, o)| (name.clone(), measures(o))).collect();
        let mut value = measures(&comparison.overall);
        value["first"] = first.language().into();
        value["second"] = second.language().into();
        value["weights"] = weights.into();
        return write_json(out, &value);
    }
    let mut rows = vec![table::row(["weight", "φ", "Jaccard of dropped", "cosine of kept", "differing"])];
    let named = comparison.weights.iter().map(|(name, overlap)| (name.as_str(), overlap));
    for (name, o) in named.chain([("all", &comparison.overall)]) {
        let cells = [o.phi(), o.jaccard_dropped(), o.cosine(), o.differing()].map(number);
        rows.push([vec![name.to_owned()], cells.to_vec()].concat());
    }
    Ok(table::write(out, &rows)?)
}

fn matrix(packs: &[&Found], as_json: bool, out: &mut dyn Write) -> Result<()> {
    let mut pairs = Vec::new();
    let mut rows = vec![vec!["φ".to_owned()]];
    rows[0].extend(packs.iter().map(|p| p.language().to_owned()));
    for (i, first) in packs.iter().enumerate() {
        let mut row = vec![first.language().to_owned()];
        for second in &packs[..i] {
            let overall = compare(&first.opened.pack, &second.opened.pack)?.overall;
            row.push(number(overall.phi()));
            let mut value = measures(&overall);
            value["first"] = second.language().into();
            value["second"] = first.language().into();
            pairs.push(value);
        }
        rows.push(row);
    }
    if as_json { write_json(out, &json!({ "pairs": pairs })) } else { Ok(table::write(out, &rows)?) }
}

fn measures(overlap: &Overlap) -> Value {
    json!({
        "phi": overlap.phi(),
        "jaccard_dropped": overlap.jaccard_dropped(),
        "cosine": overlap.cosine(),
        "differing": overlap.differing(),
        "weights_in_common": overlap.weights,
    })
}

fn number(value: Option<f64>) -> String {
    value.map_or("-".into(), |x| format!("{x:.4}"))
}
