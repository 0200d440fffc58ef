//! The PTX that ships, run instruction by instruction: what it computes, that it touches nothing else, and that these
//! tests would see it if it did not (mutants).

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod expand;
mod masked_gemm;
mod rows;
mod support;
mod topk;
