//! `multipart/form-data`: the audio as `file`, anything else a parameter.

use crate::error::{ApiError, Result};
use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};
use futures_util::stream;

/// A body taken apart.
#[derive(Debug, Default)]
pub struct Form {
    /// The bytes of `file`.
    pub file: Option<Bytes>,
    /// Text fields in their order.
    pub fields: Vec<(String, String)>,
}

/// The boundary, if this is a form at all; whatever else `Content-Type` says, audio is told by its content.
pub fn boundary(headers: &HeaderMap) -> Option<Result<String>> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let is_form = kind.trim_start().to_ascii_lowercase().starts_with("multipart/");
    is_form.then(|| multer::parse_boundary(kind).map_err(|e| broken(&e)))
}

/// Takes the form apart.
///
/// # Errors
/// 400 for a broken form, a second `file`, or a text field that is not UTF-8.
pub async fn read(body: Bytes, boundary: String) -> Result<Form> {
    let once = stream::once(async move { Ok::<_, std::convert::Infallible>(body) });
    let mut parts = multer::Multipart::new(once, boundary);
    let mut form = Form::default();
    while let Some(part) = parts.next_field().await.map_err(|e| broken(&e))? {
        let name = part.name().unwrap_or_default().to_owned();
        if name == "file" {
            if form.file.is_some() {
                return Err(ApiError::invalid("file", "two `file` parts: send one file a request"));
            }
            form.file = Some(part.bytes().await.map_err(|e| broken(&e))?);
        } else if part.file_name().is_some() {
            return Err(ApiError::invalid(
                &name,
                format!("unknown file part `{name}`: the audio's name is `file`"),
            ));
        } else {
            let bytes = part.bytes().await.map_err(|e| broken(&e))?;
            let text = String::from_utf8(bytes.into())
                .map_err(|_| ApiError::invalid(&name, format!("the form field `{name}` is not UTF-8")))?;
            form.fields.push((name, text));
        }
    }
    Ok(form)
}

impl Form {
    /// The audio.
    ///
    /// # Errors
    /// 400 when the form has none.
    pub fn audio(self) -> Result<Bytes> {
        self.file.ok_or_else(|| {
            ApiError::invalid("file", "the form has no `file` part: send the audio with `-F file=@clip.wav`")
        })
    }
}

fn broken(error: &multer::Error) -> ApiError {
    ApiError::new(s3router_proto::ErrorKind::InvalidRequest, format!("the multipart form is broken: {error}"))
}
