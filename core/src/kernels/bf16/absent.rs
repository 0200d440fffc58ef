//! Where there is no such unit to compile for: no layout of tiles ever comes to be, so none of this is reached.

use super::{
    Conv, Layer, Norm, Positional, Stack, Unit,
    linear::{Linear, Segments},
    scratch,
};

pub(super) fn available(_: Unit) -> bool {
    false
}

pub(super) fn linear(_: Unit, _: &Linear<'_>, _: &[f32], _: &Segments<'_, '_>, _: &mut [f32]) {}

pub(super) fn piece(_: Unit, _: &[Conv<'_>], _: &[f32], _: &mut [f32], _: &mut scratch::Scratch) {}

#[allow(unsafe_code)]
pub(super) unsafe fn positional(
    _: Unit,
    _: &Positional<'_>,
    _: usize,
    _: &[f32],
    _: *mut f32,
    _: &mut scratch::Pack,
) {
}

#[derive(Default)]
pub(super) struct Space;

pub(super) fn enter(_: &Stack<'_>, _: &[f32], _: usize, _: &mut Space) {}

pub(super) fn layer(_: &Stack<'_>, _: &Layer<'_>, _: Unit, _: usize, _: &mut Space) {}

pub(super) fn leave(_: &Stack<'_>, _: Option<&Norm<'_>>, _: &mut [f32], _: usize, _: &mut Space) {}
