//! A body and its parameters, wherever the client put them: query, or fields of a form.

use super::{body, form, values::Pairs};
use crate::{app::App, error::Result, lifecycle::Working, middleware::request::Trace};
use axum::{
    body::{Body, Bytes},
    http::HeaderMap,
};

/// What a route works on.
#[derive(Debug)]
pub struct Upload<T> {
    /// Holds off the end of a draining server.
    pub working: Working,
    /// The parameters, understood.
    pub asked: T,
    /// The audio as it came.
    pub audio: Bytes,
}

/// Receives a request. What the query alone decides is refused before the body is read.
///
/// # Errors
/// 503 and 429 before any work, those of `understand`, and whatever is wrong with the body.
pub async fn receive<T>(
    app: &App,
    trace: &Trace,
    mut pairs: Pairs,
    headers: &HeaderMap,
    body: Body,
    understand: impl Fn(&Pairs) -> Result<T>,
) -> Result<Upload<T>> {
    let boundary = form::boundary(headers);
    let checked = app.enter().and_then(|working| {
        let asked = if boundary.is_none() { Some(understand(&pairs)?) } else { None };
        Ok((working, asked))
    });
    trace.enter("upload");
    let ((working, asked), audio) = body::read_if(checked, headers, body, &app.config.limits).await?;
    match (asked, boundary.transpose()?) {
        (Some(asked), _) => Ok(Upload { working, asked, audio }),
        (None, boundary) => {
            let mut form = form::read(audio, boundary.unwrap_or_default()).await?;
            pairs.append(&mut form.fields);
            let audio = form.audio()?;
            Ok(Upload { working, asked: understand(&pairs)?, audio })
        }
    }
}
