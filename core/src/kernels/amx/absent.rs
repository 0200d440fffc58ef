//! Where there is no AMX to compile for: no layout of tiles ever comes to be, so none of this is reached.

use super::{Conv, Positional, Segment, Stack, linear::Linear, misfit, scratch};
use crate::Result;

pub(super) fn available() -> bool {
    false
}

pub(super) fn linear(_: &Linear<'_>, _: &[f32], _: &[Segment<'_>], _: &mut [f32]) {}

pub(super) fn piece(_: &[Conv<'_>], _: &[f32], _: &mut [f32], _: &mut scratch::Scratch) {}

#[allow(unsafe_code)]
pub(super) unsafe fn positional(_: &Positional<'_>, _: usize, _: &[f32], _: *mut f32, _: &mut scratch::Pack) {
}

pub(super) fn stack(_: &Stack<'_>, _: &[f32], _: &mut [f32]) -> Result<()> {
    Err(misfit("no AMX for this target".into()))
}
