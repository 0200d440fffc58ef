use crate::schedule::Tenant;
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::{path::PathBuf, sync::Arc};
use subtle::{ConditionallySelectable, ConstantTimeEq};

/// Who may ask. Without a key the server is open to whoever reaches it.
#[derive(Clone, Default, clap::Args)]
#[command(next_help_heading = "Access")]
pub struct Auth {
    /// File of API keys, one a line: `KEY [name=acme] [per_minute=600] [concurrent=8] [weight=2]`; `#` starts a
    /// comment. A key is sent as `Authorization: Bearer KEY`.
    #[arg(long, env = "S3ROUTER_API_KEY_FILE", value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// API keys, comma-separated. Other users of the machine can read flags: prefer the variable or the file.
    #[arg(
        long,
        env = "S3ROUTER_API_KEYS",
        hide_env_values = true,
        value_name = "KEYS",
        value_delimiter = ','
    )]
    pub api_keys: Vec<String>,
}

impl std::fmt::Debug for Auth {
    /// Never the keys themselves.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("api_key_file", &self.api_key_file).finish_non_exhaustive()
    }
}

impl Auth {
    /// Every key of flags, environment and file, with its limits.
    ///
    /// # Errors
    /// When the file cannot be read, has a line that is no key, or holds no key: an operator who names a file
    /// wants a closed door.
    pub fn keys(&self) -> Result<Keys> {
        self.keys_named("--api-key-file")
    }

    /// The same for secrets whose file has another flag.
    pub(super) fn keys_named(&self, flag: &str) -> Result<Keys> {
        let mut keys = Keys::default();
        for key in self.api_keys.iter().map(|k| k.trim()).filter(|k| !k.is_empty()) {
            keys.add(key, &[])?;
        }
        if let Some(path) = &self.api_key_file {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {flag} {}", path.display()))?;
            let before = keys.0.len();
            for (line, number) in text.lines().zip(1..) {
                let words: Vec<&str> =
                    line.split('#').next().unwrap_or_default().split_whitespace().collect();
                let Some((key, limits)) = words.split_first() else { continue };
                keys.add(key, limits).with_context(|| format!("{flag} {}, line {number}", path.display()))?;
            }
            ensure!(keys.0.len() > before, "{flag} {} holds no key: write one a line", path.display());
        }
        Ok(keys)
    }
}

/// SHA-256 of each key, compared whole, in a time that tells nothing about the key, not even its length; and
/// whose it is.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<([u8; 32], Arc<Tenant>)>);

impl Keys {
    /// Whether a key is asked for at all.
    pub fn required(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whose key this is; every key is looked at, found or not.
    pub fn find(&self, key: &str) -> Option<&Arc<Tenant>> {
        let asked = digest(key);
        let mut found = u64::MAX;
        for ((known, _), i) in self.0.iter().zip(0u64..) {
            found.conditional_assign(&i, known.ct_eq(&asked));
        }
        self.0.get(usize::try_from(found).ok()?).map(|(_, tenant)| tenant)
    }

    /// Whether `key` is one of them.
    pub fn contains(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    fn add(&mut self, key: &str, limits: &[&str]) -> Result<()> {
        let id = self.0.len() as u64 + 1;
        let mut tenant = Tenant::named(id, &format!("key-{id}"));
        for limit in limits {
            // Not the line itself: it holds a secret.
            let number = |value: &str| {
                let n = value.parse::<u32>().ok().filter(|n| *n > 0);
                n.with_context(|| format!("`{limit}`: expected a whole number from 1"))
            };
            match limit.split_once('=') {
                Some(("name", name)) if !name.is_empty() => tenant.name = name.into(),
                Some(("per_minute", n)) => tenant = tenant.per_minute(number(n)?),
                Some(("concurrent", n)) => tenant = tenant.concurrent(number(n)?),
                Some(("weight", n)) => tenant.weight = number(n)?,
                _ => bail!("after the key come name=, per_minute=, concurrent= and weight= only"),
            }
        }
        self.0.push((digest(key), Arc::new(tenant)));
        Ok(())
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_file(text: &str) -> Result<Keys> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("keys");
        std::fs::write(&file, text)?;
        Auth { api_key_file: Some(file), api_keys: vec!["flag".into(), String::new()] }.keys()
    }

    #[test]
    fn keys_come_from_flags_and_file_and_blank_lines_open_nothing() {
        let keys =
            from_file("# ours\nfirst # laptop\n\nsecond name=acme per_minute=60 concurrent=2 weight=3\n")
                .unwrap();
        for (key, name) in [("flag", "key-1"), ("first", "key-2"), ("second", "acme")] {
            assert_eq!(keys.find(key).unwrap().name, name);
        }
        for wrong in ["", "# ours", "third", "name=acme"] {
            assert!(keys.find(wrong).is_none(), "{wrong:?}");
        }
        let acme = keys.find("second").unwrap();
        assert_eq!((acme.weight, acme.id), (3, 3));
        assert!(!Auth::default().keys().unwrap().required());
    }

    #[test]
    fn a_file_that_opens_nothing_or_cannot_be_understood_is_an_error_that_tells_no_secret() {
        assert!(from_file("# none yet\n").is_err(), "an empty file must not open the door");
        for line in ["sesame per_minute=0", "sesame concurent=3", "sesame open", "sesame weight=two"] {
            let error = format!("{:#}", from_file(&format!("\n{line}\n")).unwrap_err());
            assert!(error.contains("line 2") && !error.contains("sesame"), "{error}");
        }
    }
}
