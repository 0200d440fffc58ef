//! Packs in an object store that speaks S3: `s3://BUCKET/PREFIX`.
//!
//! Credentials, region and endpoint are the usual `AWS_*` variables. The crate's own HTTP client would bring a second
//! TLS stack into the program, so its requests go through ureq, which the hub uses already.

use anyhow::{Context, bail};
use object_store::{
    ClientOptions, ObjectStore, ObjectStoreExt,
    aws::AmazonS3Builder,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
        HttpService,
    },
    path::Path,
};
use s3router_masks::{Opened, Registry, Result, open_bytes};
use std::{path::PathBuf, time::Duration};

/// Reads every `*.safetensors` right under the prefix. Blocks.
///
/// # Errors
/// No such bucket, no permission, no network; two packs that answer to one name; a prefix without any pack.
pub(super) fn read(url: &str) -> anyhow::Result<Registry> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let files = runtime.block_on(fetch(url)).with_context(|| format!("packs of {url}"))?;
    if files.is_empty() {
        bail!("{url} holds no *.safetensors: is the prefix right?");
    }
    Ok(Registry::collect(files)?)
}

async fn fetch(url: &str) -> anyhow::Result<Vec<(PathBuf, Result<Opened>)>> {
    let store = AmazonS3Builder::from_env().with_url(url).with_http_connector(Ureq).build()?;
    let prefix =
        url.strip_prefix("s3://").and_then(|rest| rest.split_once('/')).map_or("", |(_, prefix)| prefix);
    let listed = store.list_with_delimiter(Some(&Path::parse(prefix.trim_end_matches('/'))?)).await?;
    let mut files = Vec::new();
    for object in listed.objects {
        if object.location.extension() == Some("safetensors") {
            let bytes = store.get(&object.location).await?.bytes().await?;
            files.push((PathBuf::from(object.location.as_ref()), open_bytes(&bytes)));
        }
    }
    Ok(files)
}

/// Sends object_store's requests by ureq, each on a thread that may block.
#[derive(Debug)]
struct Ureq;

impl HttpConnector for Ureq {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_global(Some(Duration::from_secs(10 * 60)));
        Ok(HttpClient::new(Sender(config.build().into())))
    }
}

#[derive(Debug)]
struct Sender(ureq::Agent);

#[async_trait::async_trait]
impl HttpService for Sender {
    async fn call(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let agent = self.0.clone();
        let sent = tokio::task::spawn_blocking(move || send(&agent, request)).await;
        sent.unwrap_or_else(|panicked| Err(HttpError::new(HttpErrorKind::Unknown, panicked)))
    }
}

fn send(agent: &ureq::Agent, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
    let failed = |e: ureq::Error| {
        let kind = match e {
            ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => HttpErrorKind::Connect,
            _ => HttpErrorKind::Request,
        };
        HttpError::new(kind, e)
    };
    // Only reads are made here, and their bodies are empty.
    let (head, _) = request.into_parts();
    let (head, mut body) = agent.run(ureq::http::Request::from_parts(head, ())).map_err(failed)?.into_parts();
    let bytes = body.with_config().limit(MAX_OBJECT).read_to_vec().map_err(failed)?;
    Ok(HttpResponse::from_parts(head, HttpResponseBody::from(bytes)))
}

/// As much as the largest pack file that is opened at all.
const MAX_OBJECT: u64 = 2 << 30;
