//! One file per command: its flags as a struct, and `run`.

pub mod serve;
