//! What a client sends: a query, and a body of audio as it is or inside a form.

pub mod body;
pub mod form;
pub mod openai;
pub mod query;
