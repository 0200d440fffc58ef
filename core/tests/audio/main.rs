//! Audio as it comes: containers, headers that lie, limits, resampling, and anything at all.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod formats;
