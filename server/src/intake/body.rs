//! Reading a body within its limits: bytes, silence of the peer, total time.

use crate::{
    config::Limits,
    error::{ApiError, Result},
};
use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, header},
};
use futures_util::StreamExt;
use s3router_proto::ErrorKind;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

/// How many bytes a body may have, and what to do about more.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// The limit.
    pub bytes: usize,
    /// Ends the sentence "the body is larger than N bytes, the limit here: ".
    pub mend: &'static str,
}

const AUDIO: &str = "send a compressed format such as FLAC or Opus, or raise --max-body-bytes";

/// The whole body, if all that can be checked without it is well: a refusal comes before megabytes are read.
///
/// # Errors
/// That of `checked`, 413 past the byte limit, at once when `Content-Length` says so; 408 when it comes too slowly; 400 when the
/// client breaks off.
pub async fn read_if<T>(
    checked: Result<T>,
    headers: &HeaderMap,
    body: Body,
    limits: &Limits,
) -> Result<(T, Bytes)> {
    let most = Most { bytes: limits.max_body_bytes, mend: AUDIO };
    read_if_within(checked, headers, body, limits, most).await
}

/// The same under another limit of bytes.
///
/// # Errors
/// As `read_if`.
pub async fn read_if_within<T>(
    checked: Result<T>,
    headers: &HeaderMap,
    body: Body,
    limits: &Limits,
    most: Most,
) -> Result<(T, Bytes)> {
    match checked {
        Ok(checked) => {
            Ok((checked, read(headers, body, limits, most).instrument(tracing::info_span!("upload")).await?))
        }
        Err(error) => {
            discard(headers, body).await;
            Err(error)
        }
    }
}

/// The whole body.
///
/// # Errors
/// 413 past the byte limit, at once when `Content-Length` says so; 408 when it comes too slowly; 400 when the
/// client breaks off.
async fn read(headers: &HeaderMap, body: Body, limits: &Limits, most: Most) -> Result<Bytes> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > most.bytes as u64) {
        return Err(too_large(most, "declares more"));
    }
    let end = Instant::now() + limits.body_timeout.duration();
    let mut stream = body.into_data_stream();
    let mut chunks = Vec::new();
    let mut received = 0usize;
    loop {
        let idle = Instant::now() + limits.idle_timeout.duration();
        let next = timeout_at(idle.min(end), stream.next()).await.map_err(|_| {
            let why = if idle < end { format!("nothing for {} s", limits.idle_timeout) } else { format!("not whole after {} s", limits.body_timeout) };
            ApiError::new(
                ErrorKind::BodyTimeout,
                format!("the body stopped at {received} bytes ({why}): send it faster, or raise --body-timeout and --idle-timeout"),
            )
        })?;
        match next {
            None => break,
            Some(Ok(chunk)) => {
                received += chunk.len();
                if received > most.bytes {
                    return Err(too_large(most, "is larger"));
                }
                chunks.push(chunk);
            }
            Some(Err(e)) => {
                let message = format!("the body broke off after {received} bytes: {e}");
                return Err(ApiError::new(ErrorKind::InvalidRequest, message));
            }
        }
    }
    Ok(if chunks.len() == 1 { chunks.remove(0) } else { chunks.concat().into() })
}

/// Lets the client of a request that a middleware refuses hear why.
pub async fn forget(request: Request) {
    let (head, body) = request.into_parts();
    discard(&head.headers, body).await;
}

/// Reads and forgets a body that was refused unread, within reason: closing a socket with unread bytes resets
/// it, and the client would see that instead of the answer. A client that waits for `100 Continue` sends none.
async fn discard(headers: &HeaderMap, body: Body) {
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let mut stream = body.into_data_stream();
    let mut left = 1024 * 1024;
    let until = Instant::now() + Duration::from_secs(1);
    while let Ok(Some(Ok(chunk))) = timeout_at(until, stream.next()).await {
        if chunk.len() >= left {
            return;
        }
        left -= chunk.len();
    }
}

fn too_large(most: Most, how: &str) -> ApiError {
    let Most { bytes, mend } = most;
    ApiError::new(
        ErrorKind::PayloadTooLarge,
        format!("the body {how} than {bytes} bytes, the limit here: {mend}"),
    )
}
