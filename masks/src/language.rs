//! Language tags: `zh-TW`, `zh_tw`, `zh-Hant-TW` are one language, and every answer carries the canonical id.
//!
//! A request names a language in any spelling; the answer depends on what is loaded. In order: a pack's
//! id, one of its aliases, then the pack whose tag does not contradict the request's (RFC 4647's lookup,
//! widened: `sv` finds `sv_SE`, `en-US` finds `en`, but `zh-CN` never finds `zh_TW`).

/// Codes and names of the eleven shipped languages, by two-letter code. Others bring their own aliases.
const NAMES: [(&str, &[&str]); 11] = [
    ("en", &["eng", "english"]),
    ("es", &["spa", "spanish", "español", "espanol", "castellano", "castilian"]),
    ("fr", &["fra", "fre", "french", "français", "francais"]),
    ("it", &["ita", "italian", "italiano"]),
    ("ky", &["kir", "kyrgyz", "kirghiz", "кыргызча"]),
    ("nl", &["nld", "dut", "dutch", "nederlands", "flemish"]),
    ("ru", &["rus", "russian", "русский"]),
    ("sv", &["swe", "swedish", "svenska"]),
    ("tr", &["tur", "turkish", "türkçe", "turkce"]),
    ("tt", &["tat", "tatar", "татарча"]),
    ("zh", &["zho", "chi", "cmn", "chinese", "mandarin", "中文", "國語", "华语"]),
];

/// Names as close as this are worth suggesting (Jaro-Winkler, 0..=1).
const NEAR: f64 = 0.8;

/// What a loaded pack answers to.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Canonical id.
    pub id: &'a str,
    /// The pack's own aliases.
    pub aliases: &'a [String],
}

/// No pack, or more than one, answers to the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The id of the loaded pack whose name is nearest, if any is near.
    pub suggestion: Option<String>,
}

/// The canonical spelling of a tag: `ZH-tw` → `zh_TW`, `zh-Hant-TW` → `zh_TW`, `tur` → `tr`.
///
/// What is no language tag, such as the name of a task, stays as it is.
pub fn canonical(tag: &str) -> String {
    match Tag::parse(tag) {
        Some(tag) => tag.to_string(),
        None => tag.into(),
    }
}

/// The index of the loaded pack that `asked` names.
///
/// # Errors
/// [`Unknown`] with the nearest id.
pub fn resolve(asked: &str, loaded: &[Names]) -> Result<usize, Unknown> {
    let key = fold(asked);
    let named = |names: &Names| fold(names.id) == key || names.aliases.iter().any(|a| fold(a) == key);
    if let Some(index) = loaded.iter().position(|n| fold(n.id) == key).or(loaded.iter().position(named)) {
        return Ok(index);
    }
    let unknown = || Unknown { suggestion: nearest(&key, loaded) };
    let asked = Tag::parse(asked).or_else(|| Tag::from_name(&key)).ok_or_else(unknown)?;
    let mut best: Vec<(usize, usize)> = loaded
        .iter()
        .enumerate()
        .filter_map(|(index, names)| Some((Tag::parse(names.id)?.agreement(&asked)?, index)))
        .collect();
    best.sort_by_key(|&(agreement, index)| (std::cmp::Reverse(agreement), index));
    match best.as_slice() {
        [] => Err(unknown()),
        [(first, _), (second, _), ..] if first == second => Err(unknown()),
        [(_, index), ..] => Ok(*index),
    }
}

/// A language, perhaps with a script and a region.
#[derive(Debug, PartialEq, Eq)]
struct Tag {
    language: String,
    script: Option<String>,
    region: Option<String>,
}

impl Tag {
    fn parse(text: &str) -> Option<Self> {
        let folded = fold(text);
        let mut parts = folded.split('_');
        let code = parts.next().filter(|p| matches!(p.len(), 2 | 3) && is_alphabetic(p))?;
        let mut tag = Self { language: two_letters(code).into(), script: None, region: None };
        for part in parts {
            let is_region = (part.len() == 2 && is_alphabetic(part))
                || (part.len() == 3 && part.bytes().all(|b| b.is_ascii_digit()));
            if part.len() == 4 && is_alphabetic(part) && tag.script.is_none() && tag.region.is_none() {
                tag.script = Some(part[..1].to_ascii_uppercase() + &part[1..]);
            } else if is_region && tag.region.is_none() {
                tag.region = Some(part.to_ascii_uppercase());
            } else {
                return None;
            }
        }
        Some(tag)
    }

    fn from_name(key: &str) -> Option<Self> {
        let (code, _) = NAMES.iter().find(|(_, names)| names.contains(&key))?;
        Some(Self { language: (*code).into(), script: None, region: None })
    }

    /// How many subtags two tags share, `None` when they contradict each other.
    fn agreement(&self, other: &Self) -> Option<usize> {
        if self.language != other.language {
            return None;
        }
        let scripts = compatible(self.full_script(), other.full_script())?;
        Some(scripts + compatible(self.region.as_deref(), other.region.as_deref())?)
    }

    /// The script, or the one that a Chinese region implies.
    fn full_script(&self) -> Option<&str> {
        let implied = match (self.language.as_str(), self.region.as_deref()) {
            ("zh", Some("TW" | "HK" | "MO")) => Some("Hant"),
            ("zh", Some("CN" | "SG" | "MY")) => Some("Hans"),
            _ => None,
        };
        self.script.as_deref().or(implied)
    }
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let plain = Self { language: self.language.clone(), script: None, region: self.region.clone() };
        let implied = plain.full_script() == self.script.as_deref();
        f.write_str(&self.language)?;
        for part in self.script.iter().filter(|_| !implied).chain(&self.region) {
            write!(f, "_{part}")?;
        }
        Ok(())
    }
}

/// 1 if equal, 0 if one side is silent.
fn compatible(a: Option<&str>, b: Option<&str>) -> Option<usize> {
    match (a, b) {
        (Some(a), Some(b)) => (a == b).then_some(1),
        _ => Some(0),
    }
}

fn nearest(key: &str, loaded: &[Names]) -> Option<String> {
    let mut best: Option<(f64, &str)> = None;
    for names in loaded {
        let code = two_letters(names.id.split(['_', '-']).next().unwrap_or_default());
        let known = NAMES.iter().find(|(two, _)| *two == code).map_or(&[][..], |(_, names)| names);
        let own = names.aliases.iter().map(String::as_str);
        for name in own.chain([names.id, code]).chain(known.iter().copied()) {
            let score = strsim::jaro_winkler(key, &fold(name));
            if score >= NEAR && best.is_none_or(|(other, _)| score > other) {
                best = Some((score, names.id));
            }
        }
    }
    best.map(|(_, id)| id.into())
}

fn fold(name: &str) -> String {
    name.trim().to_lowercase().replace('-', "_")
}

fn is_alphabetic(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphabetic())
}

fn two_letters(code: &str) -> &str {
    NAMES.iter().find(|(_, names)| code.len() == 3 && names.contains(&code)).map_or(code, |(two, _)| two)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELEVEN: [&str; 11] = ["en", "es", "fr", "it", "ky", "nl", "ru", "sv_SE", "tr", "tt", "zh_TW"];

    fn find(asked: &str, ids: &[&str]) -> Option<String> {
        let loaded: Vec<_> = ids.iter().map(|id| Names { id, aliases: &[] }).collect();
        resolve(asked, &loaded).ok().map(|index| ids[index].to_owned())
    }

    #[test]
    fn every_usual_spelling_finds_the_canonical_id() {
        for (spellings, id) in [
            (
                &[
                    "zh_TW",
                    "zh-TW",
                    "zh_tw",
                    "ZH-TW",
                    "zh-Hant-TW",
                    "zh",
                    "zh-Hant",
                    "zho",
                    "cmn-Hant-TW",
                    "Chinese",
                ][..],
                "zh_TW",
            ),
            (&["sv_SE", "sv-SE", "sv", "SV", "swe", "Swedish", "svenska", "sv-Latn-SE", " sv "], "sv_SE"),
            (&["en", "EN", "en-US", "en_GB", "eng", "English"], "en"),
            (&["tr", "tr-TR", "tur", "Türkçe", "TURKISH"], "tr"),
            (&["ky-KG", "kir"], "ky"),
        ] {
            for spelling in spellings {
                assert_eq!(find(spelling, &ELEVEN).as_deref(), Some(id), "{spelling}");
            }
        }
    }

    #[test]
    fn a_contradiction_finds_nothing() {
        for asked in ["zh-CN", "zh-Hans", "zh_HK", "sv-FI", "de", "", "_", "auto", "../etc/passwd", "tr_"] {
            assert_eq!(find(asked, &ELEVEN), None, "{asked}");
        }
    }

    #[test]
    fn what_is_loaded_decides() {
        assert_eq!(find("zh", &["zh_CN"]).as_deref(), Some("zh_CN"));
        assert_eq!(find("zh", &["zh_CN", "zh_TW"]), None, "either would be a guess");
        assert_eq!(find("zh-Hans", &["zh_CN", "zh_TW"]).as_deref(), Some("zh_CN"));
        assert_eq!(find("en-GB", &["en", "en_GB", "en_US"]).as_deref(), Some("en_GB"));
        assert_eq!(find("en-AU", &["en", "en_GB", "en_US"]).as_deref(), Some("en"));
    }

    #[test]
    fn a_pack_answers_to_its_own_aliases_and_task_names() {
        let aliases = ["Klingon".to_owned(), "tlh-Latn".to_owned()];
        let loaded = [Names { id: "keyword_spotting", aliases: &[] }, Names { id: "tlh", aliases: &aliases }];
        assert_eq!(resolve("klingon", &loaded), Ok(1));
        assert_eq!(resolve("TLH_latn", &loaded), Ok(1));
        assert_eq!(resolve("keyword-spotting", &loaded), Ok(0));
    }

    #[test]
    fn a_slip_is_answered_with_the_nearest() {
        let loaded: Vec<_> = ELEVEN.iter().map(|id| Names { id, aliases: &[] }).collect();
        for (slip, id) in [("turkisch", "tr"), ("zh_WT", "zh_TW"), ("sv_S", "sv_SE"), ("frnech", "fr")] {
            assert_eq!(resolve(slip, &loaded), Err(Unknown { suggestion: Some(id.into()) }), "{slip}");
        }
        assert_eq!(resolve("xyzzy", &loaded), Err(Unknown { suggestion: None }));
    }

    #[test]
    fn canonical_spelling_keeps_what_is_no_tag() {
        for (from, to) in [
            ("ZH-tw", "zh_TW"),
            ("zh-Hant-TW", "zh_TW"),
            ("zh_hans", "zh_Hans"),
            ("sr-latn-rs", "sr_Latn_RS"),
            ("es-419", "es_419"),
            ("tur", "tr"),
            ("ace", "ace"),
            ("keyword_spotting", "keyword_spotting"),
            ("Intent", "Intent"),
        ] {
            assert_eq!(canonical(from), to);
        }
    }
}
