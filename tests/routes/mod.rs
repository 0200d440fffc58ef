//! One file per route, named as the URL; `errors` goes through the closed list.

mod access;
mod admin;
mod align;
mod errors;
mod hearing;
mod identify;
mod leaving;
mod lifecycle;
mod metrics;
mod openai;
mod openapi;
mod packs;
mod reading;
mod realtime;
mod resilience;
mod scheduling;
mod stream;
mod train;
mod transcribe;
mod vosk;
