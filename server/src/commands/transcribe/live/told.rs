//! What is heard, as it is printed.

use crate::{commands::output::Output, intake::query::Format};
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use s3router_proto::stream::ServerMessage;
use std::io::{IsTerminal, stderr};

/// What was told so far.
pub(super) struct Told<'a, 'o> {
    format: Format,
    out: &'a mut Output<'o>,
    /// The open utterance, where a person looks on.
    partial: ProgressBar,
    failure: Option<String>,
    closed: bool,
}

impl<'a, 'o> Told<'a, 'o> {
    pub(super) fn new(format: Format, out: &'a mut Output<'o>) -> Self {
        let partial = if stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        partial.set_style(
            ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        Self { format, out, partial, failure: None, closed: false }
    }

    /// A message of `s3router.v1`.
    pub(super) fn take(&mut self, text: &str) -> Result<()> {
        let message = serde_json::from_str(text).context("the server does not speak s3router.v1")?;
        let line = match message {
            ServerMessage::Partial { stable, unstable, .. } => {
                self.partial.set_message(stable + &unstable);
                (self.format == Format::Json).then(|| text.to_owned())
            }
            ServerMessage::Final { text: said, .. } => {
                self.partial.set_message("");
                match self.format {
                    Format::Json => Some(text.to_owned()),
                    _ => Some(said).filter(|said| !said.is_empty()),
                }
            }
            ServerMessage::Warning { message, .. } => {
                self.partial.suspend(|| eprintln!("warning: {message}"));
                None
            }
            ServerMessage::Error { body, fatal, .. } => {
                self.failure = self.failure.take().or(fatal.then_some(body.error.message));
                None
            }
            ServerMessage::Closed { .. } => {
                self.closed = true;
                None
            }
            ServerMessage::Ready { .. } | ServerMessage::Flushed { .. } => None,
        };
        match line {
            Some(line) => Ok(self.partial.suspend(|| self.out.write(&(line + "\n")))?),
            None => Ok(()),
        }
    }

    /// Whether the stream has come to its end.
    pub(super) fn is_all(&self) -> bool {
        self.closed
    }

    /// Nothing more will be told.
    ///
    /// # Errors
    /// What ended it before its time.
    pub(super) fn end(self) -> Result<()> {
        self.partial.finish_and_clear();
        match self.failure {
            Some(message) => bail!("{message}"),
            None if self.closed => Ok(()),
            None => bail!("the connection to the server broke off"),
        }
    }
}
