//! Another machine's engine: `POST /transcribe`, again when it is busy.

use super::{Heard, inputs::Input};
use crate::intake::query::Format;
use anyhow::{Context, Result, anyhow, ensure};
use axum::http::{HeaderMap, StatusCode, Uri, uri::Scheme};
use backon::{BlockingRetryable, ExponentialBuilder};
use s3router_core::audio::RawFormat;
use s3router_proto::ErrorBody;
use std::{cell::Cell, path::PathBuf, rc::Rc, time::Duration};
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// How long a server may take to answer the door.
pub(super) const DOOR: Duration = Duration::from_secs(10);

/// Flags of asking a server.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Asking a server")]
pub(super) struct RemoteArgs {
    /// Server to ask instead of loading a model here, such as http://127.0.0.1:8080.
    #[arg(long, env = "S3ROUTER_SERVER", value_name = "URL")]
    server: Option<String>,
    /// API key. Other users of the machine can read flags: prefer the variable.
    #[arg(long, env = "S3ROUTER_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub(super) api_key: Option<String>,
    /// Trust this certificate authority (PEM) instead of the public ones: for a server that has its certificate from
    /// within the house.
    #[arg(long, env = "S3ROUTER_CA_CERT", value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// Files sent at a time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
    /// How often one file is sent again when the server is busy, starting or out of reach. It says when, with
    /// `Retry-After`; else the pauses double from half a second.
    #[arg(long, default_value_t = 8)]
    pub(super) retries: usize,
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

    /// Who alone may vouch for the server, where that is told.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn authorities(&self) -> Result<Option<Vec<CertificateDer<'static>>>> {
        let Some(path) = &self.ca_cert else { return Ok(None) };
        let chain = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.with_context(|| format!("cannot read --ca-cert {} as PEM", path.display()))?;
        ensure!(!chain.is_empty(), "--ca-cert {}: no certificate in it", path.display());
        Ok(Some(chain))
    }

    fn roots(&self) -> Result<RootCerts> {
        let own = self.authorities()?;
        let own = own.map(|own| own.iter().map(|c| Certificate::from_der(c).to_owned()).collect::<Vec<_>>());
        Ok(own.map_or(RootCerts::WebPki, |own| RootCerts::new_with_certs(&own)))
    }

    pub(super) fn client(&self, url: &str, format: Format, raw: Option<&RawFormat>) -> Result<Client> {
        let url = address(url, "transcribe")?.to_string();
        let mut query = vec![("format", format.name().to_owned())];
        if let Some(raw) = raw {
            query.extend([("encoding", raw.encoding.to_string()), ("rate", raw.rate_hz.to_string())]);
        }
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(DOOR))
            .tls_config(TlsConfig::builder().root_certs(self.roots()?).build())
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

/// A route of the server that the user names.
///
/// # Errors
/// When that is no address.
pub(super) fn address(server: &str, route: &str) -> Result<Uri> {
    let known = |uri: &Uri| {
        [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&uri.scheme()) && uri.host().is_some()
    };
    let uri = format!("{}/{route}", server.trim_end_matches('/')).parse().ok().filter(known);
    uri.with_context(|| format!("--server `{server}`: expected something such as http://127.0.0.1:8080"))
}

/// Why there is no answer, and whether asking again may help.
pub(super) struct Failure {
    error: anyhow::Error,
    again: bool,
    /// When the server wants to be asked again.
    after: Option<Duration>,
}

impl Failure {
    /// The server is not there, now.
    pub(super) fn unreachable(url: &impl std::fmt::Display, error: impl Into<anyhow::Error>) -> Self {
        let error = error.into().context(format!("no answer from {url}"));
        Self { error, again: true, after: None }
    }

    /// The server answered, but not with what was asked for.
    pub(super) fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let after = headers.get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
        let why = serde_json::from_slice::<ErrorBody>(body).map(|e| e.error.message);
        let error = anyhow!("{} ({status})", why.unwrap_or_else(|_| "the server refused".into()));
        let again = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
        Self { error, again, after: after.map(Duration::from_secs) }
    }
}

/// Asks until there is an answer, or as often as is sensible.
pub(super) fn patiently<T>(retries: usize, ask: impl FnMut() -> Result<T, Failure>) -> Result<T> {
    let wish = Rc::new(Cell::new(None));
    let wished = Rc::clone(&wish);
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(30))
        .with_max_times(retries)
        .with_jitter();
    // Not before the server wants it, and spread out even then.
    let sleep = move |pause: Duration| {
        std::thread::sleep(wished.take().map_or(pause, |after| after + pause.min(Duration::from_secs(1))));
    };
    ask.retry(pauses)
        .when(|failure| failure.again)
        .notify(|failure, _| wish.set(failure.after))
        .sleep(sleep)
        .call()
        .map_err(|failure| failure.error)
}

impl Client {
    pub(super) fn hear(&self, input: &Input) -> Heard {
        let bytes = input.read()?;
        let body = patiently(self.retries, || self.ask(&bytes, &input.lang))?;
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
        let unreachable = |error: ureq::Error| Failure::unreachable(&self.url, error);
        let mut response = request.send(bytes).map_err(unreachable)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.body_mut().with_config().limit(1 << 30).read_to_string().map_err(unreachable)?;
        if status.is_success() {
            return Ok(body);
        }
        Err(Failure::refused(status, &headers, body.as_bytes()))
    }
}
