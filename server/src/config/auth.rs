use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use subtle::{Choice, ConstantTimeEq};

/// Who may ask. Without a key the server is open to whoever reaches it.
#[derive(Clone, Default, clap::Args)]
#[command(next_help_heading = "Access")]
pub struct Auth {
    /// File of API keys, one a line, `#` starts a comment; sent as `Authorization: Bearer KEY`.
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
    /// Every key of flags, environment and file.
    ///
    /// # Errors
    /// When the file cannot be read or holds no key: an operator who names a file wants a closed door.
    pub fn keys(&self) -> Result<Keys> {
        self.keys_named("--api-key-file")
    }

    /// The same for secrets whose file has another flag.
    pub(super) fn keys_named(&self, flag: &str) -> Result<Keys> {
        let mut keys: Vec<String> = self.api_keys.clone();
        if let Some(path) = &self.api_key_file {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {flag} {}", path.display()))?;
            let before = keys.len();
            keys.extend(text.lines().map(|l| l.split('#').next().unwrap_or_default().to_owned()));
            ensure!(
                keys[before..].iter().any(|k| !k.trim().is_empty()),
                "{flag} {} holds no key: write one a line",
                path.display()
            );
        }
        Ok(Keys(keys.iter().map(|k| k.trim()).filter(|k| !k.is_empty()).map(digest).collect()))
    }
}

/// SHA-256 of each key: compared whole, in a time that tells nothing about the key, not even its length.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<[u8; 32]>);

impl Keys {
    /// Whether a key is asked for at all.
    pub fn required(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether `key` is one of them.
    pub fn contains(&self, key: &str) -> bool {
        let asked = digest(key);
        self.0.iter().fold(Choice::from(0), |found, k| found | k.ct_eq(&asked)).into()
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_flags_and_file_and_blank_lines_open_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys");
        std::fs::write(&file, "# ours\nfirst # laptop\n\n").unwrap();
        let auth = Auth { api_key_file: Some(file.clone()), api_keys: vec!["second".into(), String::new()] };
        let keys = auth.keys().unwrap();
        assert!(keys.contains("first") && keys.contains("second"));
        assert!(!keys.contains("") && !keys.contains("# ours") && !keys.contains("third"));

        std::fs::write(&file, "# none yet\n").unwrap();
        assert!(auth.keys().is_err(), "an empty file must not open the door");
        assert!(!Auth::default().keys().unwrap().required());
    }
}
