//! One file per route, named as the URL; `errors` goes through the closed list.

mod admin;
mod errors;
mod lifecycle;
mod metrics;
mod openai;
mod openapi;
mod packs;
mod transcribe;
