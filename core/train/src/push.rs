//! A finished pack into a running server, by its admin listener.

use anyhow::{Context, Result, bail};
use std::{path::Path, time::Duration};

/// Puts a pack at `url` + `/admin/packs/{language}`; `token` is the admin listener's.
///
/// # Errors
/// No answer, or a refusal: the server's own words.
pub fn push(url: &str, language: &str, pack: &Path, token: Option<&str>) -> Result<()> {
    let bytes = std::fs::read(pack).with_context(|| format!("cannot read {}", pack.display()))?;
    let target = format!("{}/admin/packs/{language}", url.trim_end_matches('/'));
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)));
    let mut request =
        ureq::Agent::from(config.build()).put(&target).header("Content-Type", "application/octet-stream");
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let mut answer = request.send(&bytes[..]).with_context(|| format!("no answer from {target}"))?;
    if !answer.status().is_success() {
        let words = answer.body_mut().read_to_string().unwrap_or_default();
        bail!("{target} refused the pack with {}: {}", answer.status(), words.trim());
    }
    Ok(())
}
