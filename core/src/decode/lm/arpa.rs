//! The ARPA reader: `\data\`, counts, one section per order, `\end\`; every error names its line.

use super::{Level, Lm, MAX_ORDER, NONE};
use crate::{Error, Result};
use std::{fs::File, io::BufRead, io::BufReader, path::Path};

const LN_10: f32 = std::f32::consts::LN_10;

/// SRILM's log10 of zero; also what `-inf` is read as.
const ZERO: f32 = -99.0;

impl Lm {
    /// Opens an ARPA text file.
    ///
    /// # Errors
    /// One line naming the file, the line, what is wrong there and how to mend it.
    pub fn open(path: &Path) -> Result<Self> {
        let file =
            File::open(path).map_err(|e| Error::Model(format!("language model {}: {e}", path.display())))?;
        Self::read(BufReader::new(file)).map_err(|e| Error::Model(format!("{}: {e}", path.display())))
    }

    /// Reads ARPA text.
    ///
    /// # Errors
    /// As [`Lm::open`], without the file's name.
    pub fn read(input: impl BufRead) -> Result<Self> {
        let mut lines = Lines { input, number: 0, line: String::new() };
        let counts = counts(&mut lines)?;
        let (mut lm, unigrams) = unigrams(&mut lines, counts[0])?;
        lm.levels.push(unigrams);
        for (n, &count) in counts.iter().enumerate().skip(1) {
            let level = ngrams(&mut lines, &mut lm, n + 1, count)?;
            lm.levels.push(level);
        }
        if lines.text() != "\\end\\" {
            return Err(lines.error("the file ends without `\\end\\`: it was cut short, copy it again"));
        }
        Ok(lm)
    }
}

/// Lines of the file, empty ones passed over, the number kept for errors.
struct Lines<R> {
    input: R,
    number: usize,
    line: String,
}

impl<R: BufRead> Lines<R> {
    /// Moves to the next line that is not empty; `false` at the end of the file.
    fn advance(&mut self) -> Result<bool> {
        loop {
            self.line.clear();
            self.number += 1;
            match self.input.read_line(&mut self.line) {
                Ok(0) => return Ok(false),
                Ok(_) if self.text().is_empty() => {}
                Ok(_) => return Ok(true),
                Err(e) => {
                    return Err(self.error(&format!(
                        "cannot be read ({e}): give UTF-8 ARPA text, unzipped, not KenLM's binary"
                    )));
                }
            }
        }
    }

    /// The line, without white space around it.
    fn text(&self) -> &str {
        self.line.trim_matches(|c: char| c.is_ascii_whitespace())
    }

    fn error(&self, what: &str) -> Error {
        Error::Model(format!("language model, line {}: {what}", self.number))
    }
}

/// The header: how many n-grams of each order; leaves the first section's title as the current line.
fn counts(lines: &mut Lines<impl BufRead>) -> Result<Vec<usize>> {
    while lines.advance()? && lines.text() != "\\data\\" {}
    if lines.text() != "\\data\\" {
        return Err(lines.error("no `\\data\\` in the file: give ARPA text (lmplz -o 3 < text > model.arpa)"));
    }
    let mut counts = Vec::new();
    while lines.advance()? && !lines.text().starts_with('\\') {
        let stated = lines.text().strip_prefix("ngram ").and_then(|rest| rest.split_once('='));
        let parsed: Option<(usize, usize)> =
            stated.and_then(|(n, count)| Some((n.trim().parse().ok()?, count.trim().parse().ok()?)));
        match parsed {
            Some((order, count)) if order == counts.len() + 1 => counts.push(count),
            _ => return Err(lines.error(&format!("expected `ngram {}=COUNT`", counts.len() + 1))),
        }
    }
    match counts.len() {
        0 => Err(lines.error("`\\data\\` announces no n-grams: the file is empty or cut short")),
        1..=MAX_ORDER => Ok(counts),
        n => Err(lines.error(&format!("order {n} is above {MAX_ORDER}: rebuild with lmplz -o {MAX_ORDER}"))),
    }
}

/// One line of a section: its words (n of them) and both numbers, in natural logarithm.
struct Entry<'a> {
    words: Vec<&'a str>,
    prob: f32,
    backoff: f32,
}

/// Calls `each` for the lines of section `n` until the next title; there must be `count` of them.
fn section<R: BufRead>(
    lines: &mut Lines<R>,
    n: usize,
    count: usize,
    mut each: impl FnMut(Entry<'_>) -> Result<(), String>,
) -> Result<()> {
    if lines.text() != format!("\\{n}-grams:") {
        return Err(lines.error(&format!("expected `\\{n}-grams:`")));
    }
    let mut seen = 0;
    while lines.advance()? && !is_title(lines.text()) {
        seen += 1;
        if seen > count {
            return Err(lines.error(&format!("more {n}-grams than the {count} that `\\data\\` announces")));
        }
        entry(lines.text(), n).and_then(&mut each).map_err(|what| lines.error(&what))?;
    }
    if seen != count {
        return Err(lines.error(&format!(
            "{seen} {n}-grams where `\\data\\` announces {count}: the file was cut or edited, build it again"
        )));
    }
    Ok(())
}

fn is_title(line: &str) -> bool {
    line == "\\end\\" || line.strip_prefix('\\').is_some_and(|rest| rest.ends_with("-grams:"))
}

fn entry(line: &str, n: usize) -> Result<Entry<'_>, String> {
    // ASCII space only: a word may hold a no-break space.
    let mut fields = line.split([' ', '\t']).filter(|field| !field.is_empty());
    let prob = number(fields.next(), "log10 probability")?;
    if prob > 0.0 {
        return Err(format!("log10 probability {prob} is above 0: build the model again"));
    }
    let words: Vec<_> = fields.by_ref().take(n).collect();
    if words.len() < n {
        return Err(format!("{} words where a {n}-gram has {n}", words.len()));
    }
    let backoff = match fields.next() {
        None => 0.0,
        field => number(field, "log10 backoff")?,
    };
    match fields.next() {
        None => Ok(Entry { words, prob: prob * LN_10, backoff: backoff * LN_10 }),
        Some(extra) => {
            Err(format!("`{extra}` after a {n}-gram and its backoff: expected the end of the line"))
        }
    }
}

fn number(field: Option<&str>, what: &str) -> Result<f32, String> {
    match field.map(|f| (f, f.parse::<f32>())) {
        Some((_, Ok(x))) if x.is_finite() => Ok(x),
        Some((_, Ok(f32::NEG_INFINITY))) => Ok(ZERO),
        Some((text, _)) => Err(format!("`{text}` is no {what}: expected a finite number")),
        None => Err(format!("no {what} in the line")),
    }
}

/// Section 1: the words, sorted, become the numbers by which all else is named.
fn unigrams(lines: &mut Lines<impl BufRead>, count: usize) -> Result<(Lm, Level)> {
    let mut entries: Vec<(String, f32, f32)> = Vec::new();
    section(lines, 1, count, |e| {
        entries.push((e.words[0].to_owned(), e.prob, e.backoff));
        Ok(())
    })?;
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    if let Some(pair) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(lines.error(&format!("the 1-gram `{}` is listed twice: remove one", pair[0].0)));
    }
    let bytes: usize = entries.iter().map(|e| e.0.len()).sum();
    if u32::try_from(bytes.max(count)).is_err() {
        return Err(lines.error("more than 4 GiB of words: prune the vocabulary"));
    }
    let mut lm = Lm {
        bytes: Vec::new(),
        ends: Vec::new(),
        levels: Vec::new(),
        begin: None,
        end: None,
        unknown: (ZERO * LN_10, None),
    };
    let mut level = Level::default();
    for (word, prob, backoff) in &entries {
        lm.bytes.extend_from_slice(word.as_bytes());
        lm.ends.push(lm.bytes.len() as u32);
        level.prob.push(*prob);
        level.backoff.push(*backoff);
    }
    (lm.begin, lm.end) = (lm.word("<s>"), lm.word("</s>"));
    let listed = lm.word("<unk>").or_else(|| lm.word("<UNK>"));
    // The least probability that is one: `<s>` is never said, and SRILM writes it as log 0.
    let said = (0..).zip(&level.prob).filter(|&(w, &p)| Some(w) != lm.begin && p > ZERO * LN_10);
    let least = said.map(|(_, &p)| p).fold(f32::INFINITY, f32::min);
    let unlisted = if least.is_finite() { least } else { ZERO * LN_10 };
    lm.unknown = (listed.map_or(unlisted, |w| level.prob[w as usize]), listed);
    Ok((lm, level))
}

/// Section n ≥ 2: each n-gram hangs under its (n-1)-gram, which must be listed; fills that level's `first`.
fn ngrams(lines: &mut Lines<impl BufRead>, lm: &mut Lm, n: usize, count: usize) -> Result<Level> {
    let mut entries: Vec<(u32, u32, f32, f32)> = Vec::new();
    section(lines, n, count, |e| {
        let mut node = NONE;
        for (k, text) in e.words[..n - 1].iter().enumerate() {
            let word = lm.word(text).ok_or_else(|| unlisted(text))?;
            node = if k == 0 { Some(word) } else { lm.child(k - 1, node, word) }.ok_or_else(|| {
                format!(
                    "`{}` begins a {n}-gram and is no {}-gram itself: build the model again",
                    e.words[..=k].join(" "),
                    k + 1
                )
            })?;
        }
        let word = lm.word(e.words[n - 1]).ok_or_else(|| unlisted(e.words[n - 1]))?;
        entries.push((node, word, e.prob, e.backoff));
        Ok(())
    })?;
    entries.sort_unstable_by_key(|&(node, word, ..)| (node, word));
    if entries.windows(2).any(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1)) {
        return Err(lines.error(&format!("a {n}-gram is listed twice: build the model again")));
    }
    if entries.len() >= NONE as usize {
        return Err(lines.error(&format!("{count} {n}-grams are too many: prune the model")));
    }
    let mut level = Level::default();
    let parents = lm.levels[n - 2].prob.len();
    let mut first = vec![0; parents + 1];
    for (node, word, prob, backoff) in entries {
        first[node as usize + 1] += 1;
        level.word.push(word);
        level.prob.push(prob);
        level.backoff.push(backoff);
    }
    for i in 0..parents {
        first[i + 1] += first[i];
    }
    lm.levels[n - 2].first = first;
    Ok(level)
}

fn unlisted(word: &str) -> String {
    format!("`{word}` is no 1-gram: build the model again")
}
