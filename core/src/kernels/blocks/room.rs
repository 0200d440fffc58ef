//! Large buffers that go round: a step takes and drops the same dozens of megabytes every time, and an allocator
//! would clear them, hand them back to the system and fault them in again.

use crate::lock::lock;
use std::{
    ops::{Deref, DerefMut},
    sync::Mutex,
};

/// What was given back, whole. No longer than what was in use at once: see [`Buffer::of`].
static FREE: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());

/// Floats borrowed from the round, and back on drop.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: Vec<f32>,
    len: usize,
}

impl Buffer {
    /// `len` floats of unspecified content.
    pub(super) fn of(len: usize) -> Self {
        Self { memory: take(len).unwrap_or_else(|| vec![0.0; len.next_multiple_of(1 << 14)]), len }
    }

    /// A copy.
    pub(super) fn copied(x: &[f32]) -> Self {
        let mut copy = Self::of(x.len());
        copy.copy_from_slice(x);
        copy
    }
}

/// The smallest free buffer that is large enough; where there is none, a smaller one makes room for what comes.
fn take(len: usize) -> Option<Vec<f32>> {
    let mut free = lock(&FREE);
    let fits = free.iter().enumerate().filter(|(_, b)| b.len() >= len).min_by_key(|(_, b)| b.len());
    if let Some((at, _)) = fits {
        return Some(free.swap_remove(at));
    }
    let largest = free.iter().enumerate().max_by_key(|(_, b)| b.len()).map(|(at, _)| at);
    largest.map(|at| free.swap_remove(at));
    None
}

impl Drop for Buffer {
    fn drop(&mut self) {
        lock(&FREE).push(std::mem::take(&mut self.memory));
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[..self.len]
    }
}
