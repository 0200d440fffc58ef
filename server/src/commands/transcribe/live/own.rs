//! An engine here: the server's own stream, without a socket.

use super::{QUIET, Wish, microphone, told::Told};
use crate::{
    App, Config,
    commands::output::Output,
    config::{EngineConfig, Seconds, Streams},
    load,
    schedule::Tenant,
    stream::{
        Input, Output as Heard, Session, Slot,
        native::Native,
        socket::{Dialect, Link, Step},
    },
};
use anyhow::{Result, bail};
use axum::body::Bytes;
use s3router_core::stream::Event;
use tokio::{sync::mpsc, time::timeout};

/// Hears standard input to its end and writes what is heard.
///
/// # Errors
/// When the model or the language cannot be had, or the audio cannot be read.
pub(in super::super) fn run(engine: &EngineConfig, wish: &Wish, out: &mut Output) -> Result<()> {
    load::threads(engine.threads)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        // Nobody else is here to be protected from a long talk.
        let streams = Streams { max_stream_seconds: Seconds::new(f64::MAX), ..Streams::default() };
        let app = App::build(Config { engine: engine.clone(), streams, ..Config::default() })?;
        app.lifecycle.ready().await?;
        let slot = Slot::take(&app, &Tenant::anybody())?;
        let mut native = Native::new(Ok(wish.start()));
        let link = Link { app, request_id: String::new() };
        let mut told = Told::new(wish.format, out);
        for step in native.hello(&link)? {
            if let Step::Open(wish) = step {
                let session = Session::open(&link.app, slot.clone(), *wish)?;
                listen(session, &mut native, &link, &mut told).await?;
            }
        }
        told.end()
    });
    // A look at what nobody waits for any more may be under way.
    runtime.shutdown_background();
    outcome
}

/// Until everything is told.
async fn listen(
    mut session: Session,
    native: &mut Native,
    link: &Link,
    told: &mut Told<'_, '_>,
) -> Result<()> {
    let mut pieces = microphone();
    let mut open = true;
    loop {
        let output = tokio::select! {
            output = session.next() => output,
            input = next(&mut pieces), if open && session.hungry() => {
                let input = input?;
                open = !matches!(input, Input::Stop);
                session.give(input);
                continue;
            }
            // Ctrl-C ends the audio; what was said is still told.
            _ = tokio::signal::ctrl_c() => {
                if !std::mem::take(&mut open) {
                    bail!("interrupted before the last words were told");
                }
                session.give(Input::Stop);
                continue;
            }
        };
        let last = matches!(output, Heard::Event(Event::Closed { .. }));
        for step in native.tell(output, link) {
            if let Step::Say(message) = step {
                told.take(&message)?;
            }
        }
        if last {
            return Ok(());
        }
    }
}

async fn next(pieces: &mut mpsc::Receiver<std::io::Result<Bytes>>) -> Result<Input> {
    Ok(match timeout(QUIET, pieces.recv()).await {
        Ok(Some(piece)) => Input::Audio(piece?),
        Ok(None) => Input::Stop,
        Err(_) => Input::Keepalive,
    })
}
