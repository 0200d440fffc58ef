//! What a client sends: a query, and a body of audio as it is or inside a form.

pub mod align;
pub mod audio;
pub mod body;
pub mod decoding;
pub mod form;
pub mod identify;
pub mod openai;
pub mod query;
pub mod start;
pub mod upload;
pub mod values;
