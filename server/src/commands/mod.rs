//! One file per command: its flags as a struct, and `run`.

pub mod bench;
pub mod convert;
pub mod demo;
pub mod doctor;
pub mod emissions;
pub mod health;
mod manifest;
mod output;
pub mod packs;
mod random;
pub mod serve;
pub mod transcribe;
