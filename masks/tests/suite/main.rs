//! The pack file from outside: what opens, what is refused and why.

mod attacks;
mod backbone;
mod folder;
mod roundtrip;
mod support;
