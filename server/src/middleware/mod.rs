//! What happens around every route: one name, one log line, one record, one error envelope.

pub mod auth;
pub mod request;
