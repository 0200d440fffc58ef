//! `s3router demo`: the server with its embedded model, asked over HTTP by its own clips.

use crate::{App, Config, listen, telemetry};
use anyhow::{Context, Result, bail};
use s3router_core::demo::{CLIPS, Clip};
use s3router_proto::Answer;
use std::{
    io::{Write, stdout},
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, task::spawn_blocking};

/// Flags of `demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  s3router demo --once        # transcribe eleven clips over HTTP, print them, stop")]
pub struct DemoArgs {
    /// Where the demo listens.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Stop after the clips instead of serving on.
    #[arg(long)]
    once: bool,
}

/// Serves the embedded demo, posts one clip of each language to it, prints what came back, serves on.
///
/// # Errors
/// When the address is taken or a clip is not transcribed.
pub fn run(args: DemoArgs) -> Result<()> {
    let mut config = Config::default();
    config.bind.listen = args.listen;
    // The table below tells it better than a log line a request.
    config.telemetry.log = "warn".into();
    let _telling = telemetry::init(&config.telemetry)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let outcome = runtime.block_on(async {
        let signals = listen::signals()?;
        let listener = TcpListener::bind(args.listen)
            .await
            .with_context(|| format!("cannot listen on {}: --listen names another port", args.listen))?;
        let address = listener.local_addr().context("the socket has no address")?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let shutdown = async move {
            tokio::select! {
                () = signals => {}
                Ok(()) = stopped => {}
            }
        };
        let serve = listen::serve(listener, App::build(config)?, shutdown);
        let client = async move {
            let shown = spawn_blocking(move || show(address)).await.context("the demo's client panicked")?;
            if args.once || shown.is_err() {
                let _ = stop.send(());
            } else {
                writeln!(stdout(), "{}", farewell(address))?;
            }
            shown
        };
        let (served, shown) = tokio::join!(serve, client);
        shown.and(served)
    });
    runtime.shutdown_background();
    outcome
}

/// Posts every clip, one request each, and prints a line of each answer.
fn show(address: SocketAddr) -> Result<()> {
    let mut out = stdout();
    wait_until_ready(address)?;
    writeln!(out, "\n{:<6} {:<11} {:>8}  what the pack heard, and what was said", "lang", "clip", "took")?;
    for Clip { language, file, bytes, reference } in CLIPS {
        let begun = Instant::now();
        let mut response = ureq::post(format!("http://{address}/transcribe?lang={language}"))
            .send(bytes)
            .with_context(|| format!("POST /transcribe?lang={language} with {file}"))?;
        let took = begun.elapsed().as_millis();
        let answer: Answer = serde_json::from_reader(response.body_mut().as_reader())?;
        writeln!(
            out,
            "{:<6} {file:<11} {took:>5} ms  {}\n{:<28}  {reference}",
            answer.lang, answer.text, ""
        )?;
    }
    Ok(())
}

/// Asks `/readyz` until the warm-up transcription has succeeded.
fn wait_until_ready(address: SocketAddr) -> Result<()> {
    let begun = Instant::now();
    while ureq::get(format!("http://{address}/readyz")).call().is_err() {
        if begun.elapsed() > Duration::from_secs(60) {
            bail!("the demo is not ready after 60 s: `s3router doctor` says what is wrong");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn farewell(address: SocketAddr) -> String {
    format!(
        "\nServing on http://{address} (a page for your own clips; Ctrl-C stops). From a shell:\n  \
         curl --data-binary @core/demo/clips/tr.wav 'http://{address}/transcribe?lang=tr'\n"
    )
}
