//! Anybody's recordings and texts: a list is recognised by its content, a bad clip is reported and skipped.
//!
//! [`list`] reads rows of (audio file, text) in any of four shapes; [`clips`] decodes them;
//! [`batches`] groups them by length.

pub mod batches;
pub mod clips;
pub mod list;
