//! Another machine's engine: `POST /transcribe`, again when it is busy.

use super::{Heard, inputs::Input};
use crate::intake::query::Format;
use anyhow::{Context, Result, anyhow};
use backon::{BlockingRetryable, ExponentialBuilder};
use s3router_core::audio::RawFormat;
use s3router_proto::ErrorBody;
use std::{cell::Cell, rc::Rc, time::Duration};

/// Flags of asking a server.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Asking a server")]
pub(super) struct RemoteArgs {
    /// Server to ask instead of loading a model here, such as http://127.0.0.1:8080.
    #[arg(long, env = "S3ROUTER_SERVER", value_name = "URL")]
    server: Option<String>,
    /// API key. Other users of the machine can read flags: prefer the variable.
    #[arg(long, env = "S3ROUTER_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<String>,
    /// Files sent at a time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
    /// How often one file is sent again when the server is busy, starting or out of reach. It says when, with
    /// `Retry-After`; else the pauses double from half a second.
    #[arg(long, default_value_t = 8)]
    retries: usize,
}

impl std::fmt::Debug for RemoteArgs {
    /// Never the key itself.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteArgs").field("server", &self.server).finish_non_exhaustive()
    }
}

impl RemoteArgs {
    pub(super) fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    pub(super) fn parallel(&self) -> usize {
        self.parallel.into()
    }

    pub(super) fn client(&self, url: &str, format: Format, raw: Option<&RawFormat>) -> Result<Client> {
        let url = format!("{}/transcribe", url.trim_end_matches('/'));
        url.parse::<axum::http::Uri>()
            .ok()
            .filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")))
            .with_context(|| format!("--server `{url}`: expected something such as http://127.0.0.1:8080"))?;
        let mut query = vec![("format", format.name().to_owned())];
        if let Some(raw) = raw {
            query.extend([("encoding", raw.encoding.to_string()), ("rate", raw.rate_hz.to_string())]);
        }
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .build();
        let line = matches!(format, Format::Json | Format::VerboseJson);
        let (key, retries) = (self.api_key.clone(), self.retries);
        Ok(Client { agent: config.into(), url, query, key, retries, line })
    }
}

/// One server, asked in one way.
pub(super) struct Client {
    agent: ureq::Agent,
    url: String,
    query: Vec<(&'static str, String)>,
    key: Option<String>,
    retries: usize,
    /// Whether an answer is a line of its own.
    line: bool,
}

/// Why there is no answer, and whether asking again may help.
struct Failure {
    error: anyhow::Error,
    again: bool,
    /// When the server wants to be asked again.
    after: Option<Duration>,
}

impl Client {
    pub(super) fn hear(&self, input: &Input) -> Heard {
        let bytes = input.read()?;
        let wish = Rc::new(Cell::new(None));
        let wished = Rc::clone(&wish);
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(500))
            .with_max_delay(Duration::from_secs(30))
            .with_max_times(self.retries)
            .with_jitter();
        let body = (|| self.ask(&bytes, &input.lang))
            .retry(pauses)
            .when(|failure| failure.again)
            .notify(|failure, _| wish.set(failure.after))
            // Not before the server wants it, and spread out even then.
            .sleep(move |pause: Duration| {
                std::thread::sleep(
                    wished.take().map_or(pause, |after| after + pause.min(Duration::from_secs(1))),
                );
            })
            .call()
            .map_err(|failure| failure.error)?;
        Ok(if self.line { body + "\n" } else { body })
    }

    fn ask(&self, bytes: &[u8], lang: &str) -> Result<String, Failure> {
        let mut request = self.agent.post(&self.url).query("lang", lang);
        for (name, value) in &self.query {
            request = request.query(name, value);
        }
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let unreachable = |error: ureq::Error| {
            let error = anyhow!(error).context(format!("no answer from {}", self.url));
            Failure { error, again: true, after: None }
        };
        let mut response = request.send(bytes).map_err(unreachable)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.body_mut().with_config().limit(1 << 30).read_to_string().map_err(unreachable)?;
        if status.is_success() {
            return Ok(body);
        }
        let after = headers.get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
        let why = serde_json::from_str::<ErrorBody>(&body).map(|e| e.error.message);
        let error = anyhow!("{} ({status})", why.unwrap_or_else(|_| "the server refused".into()));
        Err(Failure {
            error,
            again: [429, 503].contains(&status.as_u16()),
            after: after.map(Duration::from_secs),
        })
    }
}
