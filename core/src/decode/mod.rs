//! Logits → text with word times and confidences.
//!
//! The way down: [`greedy`] turns logits `(T, V)` into [`Symbol`]s (best path, repeats collapsed, blanks
//! dropped), [`words`] gathers symbols into [`Word`]s by the [`Vocab`]'s separator. [`beam`] does the same
//! with a search over whole texts, an n-gram model ([`lm`]) and [`KeyTerms`]; [`align`] with a text that is
//! known. Each has a way to stop it (`_until`). [`confidence`] makes a word's confidence the probability that it is right.

mod align;
mod beam;
#[cfg(test)]
mod brute;
pub mod confidence;
mod fusion;
mod greedy;
mod keyterms;
pub mod lm;
mod posteriors;
mod spell;
mod vocab;
mod words;

pub use align::{Alignment, align, align_symbols, align_until};
pub use beam::{Beam, Hypothesis, beam, beam_until};
pub use fusion::WordModel;
pub use greedy::{Symbol, greedy, greedy_until};
pub use keyterms::KeyTerms;
pub use lm::Lm;
pub use spell::spell;
pub use vocab::Vocab;
pub use words::{Word, text, words};
