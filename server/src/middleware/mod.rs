//! What happens around every route: one name, one log line, one record, one error envelope.

pub(crate) mod addresses;
pub mod auth;
pub(crate) mod origins;
pub mod request;
