//! The frame step: prefixes in, the best prefixes one frame later out.

use super::Beam;
use crate::decode::fusion::{Fusion, TextState};
use crate::decode::posteriors::ln_add;
use std::{cmp::Ordering, collections::HashMap};

/// No parent, no last symbol, not in the beam.
const NONE: u32 = u32::MAX;

/// A prefix: its parent's symbols and one more. Kept after it leaves the beam: it may come back.
struct Node {
    parent: u32,
    symbol: u32,
    text: TextState,
    /// Text score after a separator, once asked for.
    closed: Option<f64>,
    /// Its place in the beam of this frame.
    place: u32,
}

/// A prefix in the beam, and the ln of its two probabilities.
#[derive(Clone, Copy)]
struct Path {
    node: u32,
    blank: f64,
    symbol: f64,
    /// ln of their sum.
    total: f64,
}

/// A prefix of the next frame: the path at `from`, extended by `extend` unless that is [`NONE`].
struct Candidate {
    rank: f64,
    from: u32,
    extend: u32,
    blank: f64,
    symbol: f64,
    total: f64,
}

impl Candidate {
    /// Best first; equal ranks by path and symbol.
    fn order(&self, other: &Self) -> Ordering {
        other.rank.total_cmp(&self.rank).then((self.from, self.extend).cmp(&(other.from, other.extend)))
    }
}

/// The best `width` candidates of a frame, and which are not worth looking at.
struct Best {
    width: usize,
    gap: f64,
    all: Vec<Candidate>,
    /// What is below cannot be among the best.
    floor: f64,
}

impl Best {
    fn offer(&mut self, candidate: Candidate) {
        if candidate.rank < self.floor || candidate.rank == f64::NEG_INFINITY {
            return;
        }
        self.floor = self.floor.max(candidate.rank - self.gap);
        self.all.push(candidate);
        if self.all.len() >= self.width.saturating_mul(2) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.all.len() > self.width {
            self.all.select_nth_unstable_by(self.width - 1, Candidate::order);
            self.all.truncate(self.width);
            self.floor = self.floor.max(self.all[self.width - 1].rank);
        }
    }
}

/// The prefixes after the frames so far.
pub(super) struct Search<'a> {
    fusion: &'a Fusion<'a>,
    options: &'a Beam<'a>,
    nodes: Vec<Node>,
    children: HashMap<(u32, u32), u32>,
    paths: Vec<Path>,
    best: Best,
    /// `(width, V)`: the extension leads to a prefix that is in the beam itself.
    present: Vec<bool>,
    likely: Vec<u32>,
}

impl<'a> Search<'a> {
    /// Before the first frame: the empty prefix.
    pub(super) fn new(fusion: &'a Fusion<'a>, options: &'a Beam<'a>) -> Self {
        let root = Node { parent: NONE, symbol: NONE, text: fusion.start(), closed: None, place: NONE };
        Self {
            fusion,
            options,
            nodes: vec![root],
            children: HashMap::new(),
            paths: vec![Path { node: 0, blank: 0.0, symbol: f64::NEG_INFINITY, total: 0.0 }],
            best: Best { width: options.width, gap: options.gap, all: Vec::new(), floor: f64::NEG_INFINITY },
            present: Vec::new(),
            likely: Vec::new(),
        }
    }

    /// One frame of log posteriors `(V,)`.
    pub(super) fn advance(&mut self, frame: &[f32]) {
        self.best.floor = f64::NEG_INFINITY;
        for (place, path) in self.paths.iter().enumerate() {
            self.nodes[path.node as usize].place = place as u32;
        }
        self.present.resize(self.paths.len().max(self.present.len() / frame.len()) * frame.len(), false);
        self.stay(frame);
        self.choose_symbols(frame);
        self.extend(frame);
        for path in &self.paths {
            self.nodes[path.node as usize].place = NONE;
        }
        self.present.fill(false);
        self.keep_best();
    }

    /// Every prefix as it is, with what its parent, if in the beam, adds by extending into it.
    fn stay(&mut self, frame: &[f32]) {
        let blank_p = f64::from(frame[self.fusion.vocab.blank()]);
        for (from, path) in self.paths.iter().enumerate() {
            let node = &self.nodes[path.node as usize];
            let mut symbol = f64::NEG_INFINITY;
            if node.parent != NONE {
                let last = node.symbol as usize;
                symbol = path.symbol + f64::from(frame[last]);
                let parent = &self.nodes[node.parent as usize];
                if parent.place != NONE {
                    self.present[parent.place as usize * frame.len() + last] = true;
                    let arriving = arrive(&self.paths[parent.place as usize], parent, last);
                    symbol = ln_add(symbol, arriving + f64::from(frame[last]));
                }
            }
            let blank = path.total + blank_p;
            let total = ln_add(blank, symbol);
            let rank = total + node.text.score;
            self.best.offer(Candidate { rank, from: from as u32, extend: NONE, blank, symbol, total });
        }
    }

    /// The symbols that may extend prefixes in this frame.
    fn choose_symbols(&mut self, frame: &[f32]) {
        let floor = self.options.min_posterior.ln();
        let blank = self.fusion.vocab.blank();
        self.likely.clear();
        self.likely.extend((0..frame.len()).filter(|&k| k != blank && frame[k] >= floor).map(|k| k as u32));
        let likeliest = |a: &u32, b: &u32| frame[*b as usize].total_cmp(&frame[*a as usize]).then(a.cmp(b));
        if self.likely.len() > self.options.symbols {
            self.likely.select_nth_unstable_by(self.options.symbols - 1, likeliest);
            self.likely.truncate(self.options.symbols);
        }
        self.likely.sort_unstable_by(likeliest);
    }

    /// Every prefix with one more symbol, unless that prefix is in the beam and has been seen to.
    fn extend(&mut self, frame: &[f32]) {
        let separator = self.fusion.vocab.separator();
        for (from, path) in self.paths.iter().enumerate() {
            let node = &mut self.nodes[path.node as usize];
            let ceiling = path.total + node.text.score + self.fusion.most;
            for &k in &self.likely {
                let ln_p = f64::from(frame[k as usize]);
                if ceiling + ln_p < self.best.floor {
                    break; // and so is every symbol after it
                }
                let symbol = arrive(path, node, k as usize) + ln_p;
                if self.present[from * frame.len() + k as usize] {
                    continue;
                }
                let text = if Some(k as usize) == separator {
                    *node.closed.get_or_insert_with(|| self.fusion.extend(&node.text, k as usize).score)
                } else {
                    self.fusion.foresee(&node.text, k as usize)
                };
                self.best.offer(Candidate {
                    rank: symbol + text,
                    from: from as u32,
                    extend: k,
                    blank: f64::NEG_INFINITY,
                    symbol,
                    total: symbol,
                });
            }
        }
    }

    /// The best candidates become the paths of the next frame.
    fn keep_best(&mut self) {
        self.best.cut();
        self.best.all.sort_unstable_by(Candidate::order);
        let floor = self.best.floor;
        let mut paths = Vec::with_capacity(self.best.all.len());
        for candidate in self.best.all.drain(..).take_while(|c| c.rank >= floor) {
            let mut node = self.paths[candidate.from as usize].node;
            if candidate.extend != NONE {
                node = child(&mut self.nodes, &mut self.children, self.fusion, node, candidate.extend);
            }
            let Candidate { blank, symbol, total, .. } = candidate;
            paths.push(Path { node, blank, symbol, total });
        }
        self.paths = paths;
    }

    /// The texts in the beam, best first: symbols, score, ln probability.
    pub(super) fn ranked(&self) -> Vec<(Vec<usize>, f64, f64)> {
        let mut ends: Vec<_> = self
            .paths
            .iter()
            .map(|path| {
                let text = self.fusion.finish(&self.nodes[path.node as usize].text);
                (self.symbols(path.node), path.total + text, path.total)
            })
            .collect();
        ends.sort_by(|a, b| b.1.total_cmp(&a.1));
        ends
    }

    fn symbols(&self, mut node: u32) -> Vec<usize> {
        let mut symbols = Vec::new();
        while self.nodes[node as usize].parent != NONE {
            symbols.push(self.nodes[node as usize].symbol as usize);
            node = self.nodes[node as usize].parent;
        }
        symbols.reverse();
        symbols
    }
}

/// What of a path may go on to symbol `k`: a repeat needs a blank in between.
fn arrive(path: &Path, node: &Node, k: usize) -> f64 {
    if node.symbol as usize == k { path.blank } else { path.total }
}

/// The prefix one symbol longer, the same node whenever it is asked for.
fn child(
    nodes: &mut Vec<Node>,
    children: &mut HashMap<(u32, u32), u32>,
    fusion: &Fusion<'_>,
    parent: u32,
    symbol: u32,
) -> u32 {
    *children.entry((parent, symbol)).or_insert_with(|| {
        let text = fusion.extend(&nodes[parent as usize].text, symbol as usize);
        nodes.push(Node { parent, symbol, text, closed: None, place: NONE });
        nodes.len() as u32 - 1
    })
}
