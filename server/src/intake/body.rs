//! Reading a body within its limits: bytes, silence of the peer, total time.

use crate::{
    config::Limits,
    error::{ApiError, Result},
};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
};
use futures_util::StreamExt;
use s3router_proto::ErrorKind;
use tokio::time::{Instant, timeout_at};

/// The whole body.
///
/// # Errors
/// 413 past the byte limit, at once when `Content-Length` says so; 408 when it comes too slowly; 400 when the
/// client breaks off.
pub async fn read(headers: &HeaderMap, body: Body, limits: &Limits) -> Result<Bytes> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limits.max_body_bytes as u64) {
        return Err(too_large(limits, "declares more"));
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
                if received > limits.max_body_bytes {
                    return Err(too_large(limits, "is larger"));
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

fn too_large(limits: &Limits, how: &str) -> ApiError {
    ApiError::new(
        ErrorKind::PayloadTooLarge,
        format!(
            "the body {how} than {} bytes, the limit here: send a compressed format such as FLAC or Opus, or raise --max-body-bytes",
            limits.max_body_bytes
        ),
    )
}
