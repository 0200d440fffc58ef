//! A span of time as a flag: `0.5`, `30`.

use std::{fmt, str::FromStr, time::Duration};

/// Seconds, not negative, at most a day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seconds(f64);

impl Seconds {
    const DAY: f64 = 24.0 * 60.0 * 60.0;

    /// `seconds` clamped to 0..=86400.
    pub const fn new(seconds: f64) -> Self {
        Self(seconds.clamp(0.0, Self::DAY))
    }

    /// As the timers want it.
    pub fn duration(self) -> Duration {
        Duration::from_secs_f64(self.0)
    }

    /// The number itself.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(s) if (0.0..=Self::DAY).contains(&s) => Ok(Self(s)),
            _ => Err(format!("expected seconds from 0 to {}, such as 0.5 or 30", Self::DAY)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sane_number_is_a_span() {
        assert_eq!("0.5".parse::<Seconds>().unwrap().duration(), Duration::from_millis(500));
        for wrong in ["-1", "NaN", "inf", "1e9", "5s", ""] {
            assert!(wrong.parse::<Seconds>().is_err(), "{wrong}");
        }
    }
}
