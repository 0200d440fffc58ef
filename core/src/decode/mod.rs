//! Logits → text with word times and confidences.
//!
//! The way down: [`greedy`] turns logits `(T, V)` into [`Symbol`]s (best path, repeats collapsed, blanks
//! dropped), [`words`] gathers symbols into [`Word`]s by the [`Vocab`]'s separator.

mod greedy;
pub mod lm;
mod vocab;
mod words;

pub use greedy::{Symbol, greedy};
pub use lm::Lm;
pub use vocab::Vocab;
pub use words::{Word, text, words};
