//! A GPU on the CPU, for tests: PTX run thread by thread, every access checked.
//!
//! [`Module::parse`] reads PTX, [`launch`] runs a kernel on a [`Heap`]. Warps act together where the language says so
//! (shuffles, `ldmatrix`, `mma.sync`), blocks meet at barriers, and shared memory that two threads use without a
//! barrier between is an error, as is any access outside of an allocation, misaligned, or an instruction not known.
//!
//! Built as a cdylib it answers for `libcuda.so.1`, `libcublas.so.13` and `libcurand.so.10` (`driver`, `blas`), so
//! that candle's whole CUDA backend runs on it: real uploads, real PTX, real launches, slow arithmetic. Streams and events
//! are kept as clocks (`order`): work that may run beside other work on the same memory is an error. It shows what a
//! kernel computes and that it is well-behaved; it shows nothing about time, nor about races between blocks.

mod arithmetic;
mod blas;
mod driver;
mod memory;
mod order;
mod ptx;
mod run;

pub use memory::Heap;
pub use ptx::{Kernel, Module};
pub use run::{Grid, launch};
