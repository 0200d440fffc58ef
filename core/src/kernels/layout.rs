//! How weights and their masks lie in memory.

use super::{Tier, Unit};
use crate::Precision;

/// The element and the order of packed weights; a mask follows the order of the weights that it masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// f32 in panels as wide as the tier's register tile.
    Panels(Tier),
    /// bf16 in pairs of tiles, `[n / 32][k / 32][n / 16 % 2][k / 2 % 16][n % 16][k % 2]`: 32 outputs a panel; the same
    /// for every unit.
    Tiles(Unit),
}

impl Layout {
    /// What serves a [resolved](Precision::resolve) precision best on this machine.
    pub fn of(precision: Precision) -> Self {
        match (precision, Unit::best()) {
            (Precision::Bf16, Some(unit)) => Self::Tiles(unit),
            _ => Self::Panels(Tier::best()),
        }
    }

    /// `avx2`, as logs and `s3router doctor` print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Panels(tier) => tier.name(),
            Self::Tiles(unit) => unit.name(),
        }
    }

    /// Itself, or [`Tier::Scalar`]'s where the machine lacks it.
    pub(super) fn or_scalar(self) -> Self {
        match self {
            Self::Panels(tier) if tier.is_available() => self,
            Self::Tiles(unit) if unit.is_available() => self,
            _ => Self::Panels(Tier::Scalar),
        }
    }

    /// Whether these are tiles, of whatever unit.
    pub(super) fn is_tiles(self) -> bool {
        matches!(self, Self::Tiles(_))
    }

    /// Outputs side by side in a panel.
    pub(super) fn cols(self) -> usize {
        match self {
            Self::Panels(tier) => tier.panel(),
            Self::Tiles(_) => 32,
        }
    }

    /// The best layout for a convolution of so few channels: a tile's step is 32 of one tap.
    pub(super) fn for_channels(self, channels: usize) -> Self {
        match self {
            Self::Tiles(_) if channels < 32 => Self::Panels(Tier::best()),
            _ => self,
        }
    }
}

impl From<Tier> for Layout {
    fn from(tier: Tier) -> Self {
        Self::Panels(tier)
    }
}
