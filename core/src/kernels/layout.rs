//! How weights and their masks lie in memory.

use super::Tier;
use crate::Precision;

/// The element and the order of packed weights; a mask follows the order of the weights that it masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// f32 in panels as wide as the tier's register tile.
    Panels(Tier),
}

impl Layout {
    /// What serves a [resolved](Precision::resolve) precision best on this machine.
    pub fn of(_precision: Precision) -> Self {
        Self::Panels(Tier::best())
    }

    /// `avx2`, as logs and `s3router doctor` print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Panels(tier) => tier.name(),
        }
    }

    /// Itself, or [`Tier::Scalar`]'s where the machine lacks it.
    pub(super) fn or_scalar(self) -> Self {
        match self {
            Self::Panels(tier) if tier.is_available() => self,
            Self::Panels(_) => Self::Panels(Tier::Scalar),
        }
    }

    /// Outputs side by side in a panel.
    pub(super) fn cols(self) -> usize {
        match self {
            Self::Panels(tier) => tier.panel(),
        }
    }
}

impl From<Tier> for Layout {
    fn from(tier: Tier) -> Self {
        Self::Panels(tier)
    }
}
