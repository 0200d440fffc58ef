//! Columns for people; programs read `--json`.

use std::io::{Result, Write};

/// Writes rows in columns as wide as their widest cell; the first column to the left, the others to the right.
pub(super) fn write(out: &mut dyn Write, rows: &[Vec<String>]) -> Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            line += &if column == 0 { format!("{cell:width$}") } else { format!("  {cell:>width$}") };
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A row of cells.
pub(super) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// `8.77 %`.
pub(super) fn percent(fraction: f64) -> String {
    format!("{:.2} %", 100.0 * fraction)
}

/// `3,145,728`.
pub(super) fn count(n: u64) -> String {
    indicatif::HumanCount(n).to_string()
}

/// `11.16 MB`.
pub(super) fn bytes(n: u64) -> String {
    indicatif::DecimalBytes(n).to_string()
}
