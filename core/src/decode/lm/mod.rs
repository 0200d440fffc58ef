//! Word n-gram language models with backoff, read from ARPA text files.
//!
//! An n-gram model gives `ln p(w | context)` by its longest n-gram that ends in `w`; each word of context
//! given up on the way costs that context's backoff (Katz 1987; the file format: Doug Paul's ARPA format as
//! written by KenLM's `lmplz` and SRILM, <https://kheafield.com/code/kenlm/>). Natural logarithms here, base
//! ten in the file.
//!
//! Layout: a trie in forward order. Level `n` holds every n-gram, sorted by its (n-1)-gram's place in level
//! `n - 1`, then by its last word; so the children of a node are one sorted slice, and a [`Context`] (the
//! node of each suffix of the last words) is scored by one binary search per order.

mod arpa;

use std::ops::Range;

/// The longest n-gram read; what KenLM is built for unless told otherwise.
pub const MAX_ORDER: usize = 6;

/// No such node.
const NONE: u32 = u32::MAX;

/// A backoff n-gram model. About 16 bytes for an n-gram and the words' own bytes.
#[derive(Clone, Debug)]
pub struct Lm {
    /// All words end to end, sorted; `ends[i]` is where word `i` ends.
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// Level `n - 1` holds the n-grams; level 0 is indexed by word.
    levels: Vec<Level>,
    begin: Option<u32>,
    end: Option<u32>,
    /// ln p of an unknown word without context, and the node its context starts from, if listed.
    unknown: (f32, Option<u32>),
}

/// The n-grams of one order, in trie order.
#[derive(Clone, Debug, Default)]
struct Level {
    /// Last word of each n-gram.
    word: Vec<u32>,
    /// ln p(last word | the words before it).
    prob: Vec<f32>,
    /// ln weight of leaving this n-gram as a context; 0 at the highest order.
    backoff: Vec<f32>,
    /// Children of node `i` are `first[i]..first[i + 1]` of the next level.
    first: Vec<u32>,
}

/// What the model remembers of the words so far: for each `k`, the node of the last `k` words, if listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context([u32; MAX_ORDER - 1]);

/// The words that begin with the letters so far: narrowed letter by letter, no string is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidates {
    low: u32,
    high: u32,
    depth: u32,
}

impl Candidates {
    /// Whether no letter has been added.
    pub fn is_empty(&self) -> bool {
        self.depth == 0
    }

    /// Whether no word of the model begins so.
    pub fn is_unknown(&self) -> bool {
        self.low == self.high
    }
}

impl Lm {
    /// The highest order of n-gram.
    pub fn order(&self) -> usize {
        self.levels.len()
    }

    /// Number of words listed, markers such as `<s>` included.
    pub fn words(&self) -> usize {
        self.ends.len()
    }

    /// The context at the start of a sentence: `<s>`.
    pub fn start(&self) -> Context {
        let mut context = Context([NONE; MAX_ORDER - 1]);
        if let Some(begin) = self.begin.filter(|_| self.order() > 1) {
            context.0[0] = begin;
        }
        context
    }

    /// `ln p(word | context)` and the context after it; `None` is an unknown word.
    ///
    /// Unknown words are scored as the file's `<unk>`; a model without one gives them its least unigram
    /// probability (KenLM would give 1e-100, which no audio outweighs).
    pub fn score(&self, context: &Context, word: Option<u32>) -> (f32, Context) {
        let mut next = Context([NONE; MAX_ORDER - 1]);
        let unigram = word.or(self.unknown.1);
        let mut ln_p = unigram.map_or(self.unknown.0, |w| self.levels[0].prob[w as usize]);
        let mut keep = |n: usize, node: u32| {
            if n < self.order() {
                next.0[n - 1] = node;
            }
        };
        if let Some(word) = unigram {
            keep(1, word);
        }
        // From short contexts to long ones: a longer n-gram replaces the estimate, a missing one pays.
        for (k, &node) in context.0.iter().enumerate().take(self.order().saturating_sub(1)) {
            if node == NONE {
                continue;
            }
            match unigram.and_then(|w| self.child(k, node, w)) {
                Some(child) => {
                    ln_p = self.levels[k + 1].prob[child as usize];
                    keep(k + 2, child);
                }
                None => ln_p += self.levels[k].backoff[node as usize],
            }
        }
        (ln_p, next)
    }

    /// `ln p(</s> | context)`; 0 where the model lists no `</s>`.
    pub fn finish(&self, context: &Context) -> f32 {
        self.end.map_or(0.0, |end| self.score(context, Some(end)).0)
    }

    /// `ln p` of a whole sentence, `<s>` and `</s>` around it; words stand between white space.
    pub fn sentence(&self, text: &str) -> f64 {
        let mut context = self.start();
        let mut total = 0.0;
        for word in text.split_whitespace() {
            let (ln_p, next) = self.score(&context, self.word(word));
            total += f64::from(ln_p);
            context = next;
        }
        total + f64::from(self.finish(&context))
    }

    /// The number of a word; `None` when it is not listed.
    pub fn word(&self, word: &str) -> Option<u32> {
        self.complete(&self.narrow(&self.candidates(), word))
    }

    /// Every word: where spelling begins.
    pub fn candidates(&self) -> Candidates {
        Candidates { low: 0, high: self.ends.len() as u32, depth: 0 }
    }

    /// The candidates that go on with `letters`.
    pub fn narrow(&self, candidates: &Candidates, letters: &str) -> Candidates {
        let depth = candidates.depth as usize;
        let Range { start, end } = candidates.low..candidates.high;
        // Every candidate has `depth` bytes in common, so the tails are sorted, too.
        let tail = |i: u32| &self.bytes_of(i)[depth..];
        let low = partition(start..end, |i| tail(i) < letters.as_bytes());
        let high = partition(low..end, |i| tail(i).starts_with(letters.as_bytes()));
        Candidates { low, high, depth: (depth + letters.len()) as u32 }
    }

    /// The word that the letters so far spell, if it is listed.
    pub fn complete(&self, candidates: &Candidates) -> Option<u32> {
        let whole =
            !candidates.is_unknown() && self.bytes_of(candidates.low).len() == candidates.depth as usize;
        whole.then_some(candidates.low)
    }

    fn bytes_of(&self, word: u32) -> &[u8] {
        let i = word as usize;
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start as usize..self.ends[i] as usize]
    }

    /// The node in level `level + 1` of the n-gram at `node` followed by `word`.
    fn child(&self, level: usize, node: u32, word: u32) -> Option<u32> {
        let first = &self.levels[level].first;
        let children = first[node as usize] as usize..first[node as usize + 1] as usize;
        let found = self.levels[level + 1].word[children.clone()].binary_search(&word).ok()?;
        Some((children.start + found) as u32)
    }
}

/// The first index of a range for which `before` no longer holds (the range is partitioned by it).
fn partition(range: Range<u32>, before: impl Fn(u32) -> bool) -> u32 {
    let Range { start: mut low, end: mut high } = range;
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests;
