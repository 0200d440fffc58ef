//! `If-Match` and `If-None-Match`: change a pack only if it is still the one that was looked at.

use crate::error::{ApiError, Result};
use axum::http::{HeaderMap, HeaderName, header};
use s3router_proto::ErrorKind;

/// What must hold of the pack in service before it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing: the last to come wins.
    Any,
    /// `If-Match: "3"`.
    Generation(u64),
    /// `If-Match: *`.
    Exists,
    /// `If-None-Match: *`.
    Absent,
}

impl Condition {
    /// Reads the headers.
    ///
    /// # Errors
    /// 400 for anything but one quoted generation or `*`.
    pub fn of(headers: &HeaderMap) -> Result<Self> {
        match (text(headers, &header::IF_MATCH)?, text(headers, &header::IF_NONE_MATCH)?) {
            (None, None) => Ok(Self::Any),
            (Some("*"), None) => Ok(Self::Exists),
            (None, Some("*")) => Ok(Self::Absent),
            (Some(tag), None) => {
                let number = tag.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(tag);
                number.parse().map(Self::Generation).map_err(|_| {
                    ApiError::invalid(
                        "If-Match",
                        format!("`If-Match: {tag}`: expected one generation in quotes, as in \"3\", or *"),
                    )
                })
            }
            (_, Some(_)) => Err(ApiError::invalid(
                "If-None-Match",
                "`If-None-Match` is understood as * and alone: put only what is not there yet",
            )),
        }
    }

    /// Whether a pack at `generation` (`None`: not in service) may be changed.
    ///
    /// # Errors
    /// 412 with both generations.
    pub fn check(self, lang: &str, generation: Option<u64>) -> Result<()> {
        let holds = match self {
            Self::Any => true,
            Self::Generation(wanted) => generation == Some(wanted),
            Self::Exists => generation.is_some(),
            Self::Absent => generation.is_none(),
        };
        if holds {
            return Ok(());
        }
        let is = match generation {
            Some(generation) => format!("`{lang}` is at generation {generation}"),
            None => format!("`{lang}` is not in service"),
        };
        let wanted = match self {
            Self::Generation(wanted) => format!("generation {wanted}"),
            Self::Absent => "none".into(),
            Self::Any | Self::Exists => "any generation".into(),
        };
        Err(ApiError::new(
            ErrorKind::GenerationMismatch,
            format!("{is} and you expected {wanted}: look at GET /v1/packs and decide again"),
        ))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(|v| v.to_str().map(str::trim));
    match (first, values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(text)), None) => Ok(Some(text)),
        _ => Err(ApiError::invalid(name.as_str(), format!("one plain `{name}` header is understood"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn of(name: HeaderName, value: &str) -> Result<Condition> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        Condition::of(&headers)
    }

    #[test]
    fn one_generation_or_a_star_is_read_and_the_rest_refused() {
        assert_eq!(Condition::of(&HeaderMap::new()).unwrap(), Condition::Any);
        assert_eq!(of(header::IF_MATCH, "\"3\"").unwrap(), Condition::Generation(3));
        assert_eq!(of(header::IF_MATCH, "3").unwrap(), Condition::Generation(3), "as curl users write it");
        assert_eq!(of(header::IF_MATCH, "*").unwrap(), Condition::Exists);
        assert_eq!(of(header::IF_NONE_MATCH, "*").unwrap(), Condition::Absent);
        for odd in ["W/\"3\"", "\"3\", \"4\"", "\"three\"", "\"\"", "-1"] {
            assert_eq!(of(header::IF_MATCH, odd).unwrap_err().param.as_deref(), Some("If-Match"), "{odd}");
        }
        assert!(of(header::IF_NONE_MATCH, "\"3\"").is_err());
    }

    #[test]
    fn a_mismatch_says_both_generations() {
        let wrong = Condition::Generation(3).check("tr", Some(4)).unwrap_err();
        assert_eq!(wrong.kind, ErrorKind::GenerationMismatch);
        assert!(wrong.message.contains("generation 4") && wrong.message.contains("generation 3"));
        assert!(Condition::Generation(1).check("tr", None).is_err());
        assert!(
            Condition::Exists.check("tr", None).is_err() && Condition::Absent.check("tr", Some(1)).is_err()
        );
        assert!(
            Condition::Exists.check("tr", Some(9)).is_ok() && Condition::Absent.check("tr", None).is_ok()
        );
    }
}
