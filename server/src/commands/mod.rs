//! One file per command: its flags as a struct, and `run`.

pub mod demo;
pub mod doctor;
pub mod serve;
pub mod transcribe;
