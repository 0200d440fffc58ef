//! `s3router serve`.

use crate::{App, Config, listen, load, telemetry};
use anyhow::{Context, Result};
use std::{net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;

/// Flags of `serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3router serve
  s3router serve --backbone hf:facebook/wav2vec2-xls-r-300m --packs packs/ --listen 0.0.0.0:8080
  curl --data-binary @clip.wav 'http://127.0.0.1:8080/transcribe?lang=tr'")]
pub struct ServeArgs {
    /// Everything there is to decide.
    #[command(flatten)]
    pub config: Config,
}

/// Serves until SIGTERM or Ctrl-C.
///
/// # Errors
/// When the address is taken, the backbone cannot be loaded, or accepted requests outlast the shutdown.
pub fn run(args: ServeArgs) -> Result<()> {
    let config = args.config;
    let _telling = telemetry::init(&config.telemetry)?;
    load::threads(config.engine.threads)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let outcome = runtime.block_on(async {
        let shutdown = listen::signals()?;
        let listener = bind(config.bind.listen, "--listen").await?;
        let address = listener.local_addr().context("the socket has no address")?;
        let app = App::build(config)?;
        let scheme = if app.config.network.tls_cert.is_some() { "https" } else { "http" };
        tracing::info!("listening on {scheme}://{address}, loading {}", app.config.engine.backbone);
        warn_if_open(&app);
        start_admin(&app).await?;
        tokio::spawn(listen::reload_on_hangup(Arc::clone(&app))?);
        listen::serve(listener, app, shutdown).await
    });
    // The engine may be in the middle of a batch that nobody waits for.
    runtime.shutdown_background();
    outcome
}

async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: is another server there? {flag} names another port")
    })
}

/// The admin listener, if it has a token.
async fn start_admin(app: &Arc<App>) -> Result<()> {
    if app.admin_tokens.required() {
        let listener = bind(app.config.admin.address(), "--admin-listen").await?;
        let address = listener.local_addr().context("the admin socket has no address")?;
        tracing::info!("admin listener on http://{address}");
        tokio::spawn(listen::serve_admin(listener, Arc::clone(app)));
    }
    Ok(())
}

fn warn_if_open(app: &Arc<App>) {
    if !app.keys.required() && !app.config.bind.listen.ip().is_loopback() {
        tracing::warn!("anyone on the network may use this server: --api-key-file closes it");
    }
    if app.keys.required()
        && app.config.network.tls_cert.is_none()
        && !app.config.bind.listen.ip().is_loopback()
    {
        tracing::warn!(
            "keys and audio cross the network in the clear: --tls-cert, or a proxy that speaks TLS"
        );
    }
}
