//! Streams: audio without an end in, partials and finals out, for every transport.
//!
//! [`s3router_core::stream`] cuts the audio and keeps the promises; a [`Session`] drives it (decoding, the engine
//! through the one scheduler, limits, draining) and knows no transport. A transport does this and nothing more:
//!
//! ```ignore
//! let slot = Slot::take(&app, tenant)?;               // 503 loading or draining, 429 too many streams
//! let mut session = Session::open(&app, slot, wish)?; // `Wish`: pack, encoding, pauses
//! loop {
//!     tokio::select! {
//!         output = session.next() => match output {   // cancel-safe; drives everything, so poll it always
//!             Output::Event(Event::Closed { .. }) => break, // always the last one
//!             Output::Hungry => {}                          // `hungry()` is true again
//!             output => tell_the_client(output),
//!         },
//!         message = from_the_client(), if session.hungry() => session.give(input_of(message)), // back-pressure
//!     }
//! }
//! ```
//!
//! Dropping a session cancels its work in every stage. `socket` does the above for the three WebSocket dialects:
//! `native` (`s3router.v1`), `realtime` (OpenAI), `vosk`; each only translates.

pub mod asyncapi;
pub(crate) mod native;
pub(crate) mod realtime;
mod realtime_session;
mod session;
mod slot;
pub(crate) mod socket;
mod speech;
pub(crate) mod vosk;
mod wish;

pub use session::{Input, Output, Session};
pub use slot::Slot;
pub use speech::Speech;
pub use wish::Wish;

/// The longest utterance, seconds.
pub(crate) const LONGEST_S: f64 = 20.0;
