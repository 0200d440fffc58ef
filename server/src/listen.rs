//! The socket: connections in, and an orderly end.

use crate::{admin, app::App, middleware::addresses::Peer, router::router, tls::Tls};
use anyhow::{Context, Result, bail};
use axum::{Router, body::Body, http::Request};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout, timeout_at},
};
use tower::ServiceExt;

/// How connections are taken.
#[derive(Clone)]
struct Door {
    service: Router,
    /// Longest wait for a handshake and for the head of a request.
    head: Duration,
    tls: Option<Arc<Tls>>,
}

/// Serves `app` until `shutdown` resolves and the accepted requests are answered.
///
/// The order of leaving: `/readyz` and new work answer 503 while accepted work finishes, then the port closes
/// and idle connections with it. Work that is not done when the deadline passes is an error.
///
/// # Errors
/// When the backbone cannot be loaded, or accepted work outlasts the deadline.
pub async fn serve(listener: TcpListener, app: Arc<App>, shutdown: impl Future<Output = ()>) -> Result<()> {
    let tls = Tls::open(&app.config.network)?;
    if let Some(tls) = &tls {
        tokio::spawn(Arc::clone(tls).renew());
    }
    let head = app.config.limits.head_timeout.duration();
    let door = Door { service: router(Arc::clone(&app)), head, tls };
    let patience = app.config.bind.shutdown_seconds;
    let connections = GracefulShutdown::new();
    let (drained, end) = {
        let mut accepting = pin!(accept(&listener, &door, &connections));
        tokio::select! {
            () = &mut accepting => {}
            why = app.lifecycle.failed() => return Err(why),
            () = shutdown => {}
        }
        tracing::info!("shutting down: accepted requests have {patience} s to finish");
        let end = Instant::now() + patience.duration();
        tokio::select! {
            () = &mut accepting => (Ok(()), end),
            drained = timeout_at(end, app.lifecycle.drain()) => (drained, end),
        }
    };
    drop(listener);
    // Written answers may still be on their way out; a moment is enough for those.
    let flushed =
        timeout_at(end.max(Instant::now() + Duration::from_millis(200)), connections.shutdown()).await;
    if drained.is_err() {
        bail!("accepted requests were not done after {patience} s: raise --shutdown-seconds");
    }
    if flushed.is_err() {
        tracing::warn!("some connections were still open at the end");
    }
    tracing::info!("every accepted request is answered: bye");
    Ok(())
}

/// Serves the admin listener for ever; it ends with the process, after the public one has left.
pub async fn serve_admin(listener: TcpListener, app: Arc<App>) {
    let head = app.config.limits.head_timeout.duration();
    let door = Door { service: admin::router(app), head, tls: None };
    accept(&listener, &door, &GracefulShutdown::new()).await;
}

/// Reloads the packs at every SIGHUP, for ever.
///
/// # Errors
/// When the system grants no signal handler.
pub fn reload_on_hangup(app: Arc<App>) -> Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
        .context("cannot listen for SIGHUP")?;
    Ok(async move {
        #[cfg(unix)]
        while hangup.recv().await.is_some() {
            if let Err(error) = admin::routes::reload_packs(&app).await {
                tracing::error!("SIGHUP: {error}");
            }
        }
        #[cfg(not(unix))]
        drop(app);
    })
}

/// Accepts for ever.
async fn accept(listener: &TcpListener, door: &Door, connections: &GracefulShutdown) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => take(stream, Peer(peer.ip()), door.clone(), connections.watcher()),
            // Out of file descriptors, most likely: those in use will be freed.
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn take(stream: TcpStream, peer: Peer, door: Door, watcher: Watcher) {
    // Answers are small and written whole: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    tokio::spawn(async move {
        let Some(tls) = &door.tls else { return converse(stream, peer, door, watcher).await };
        match timeout(door.head, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => converse(stream, peer, door, watcher).await,
            Ok(Err(error)) => tracing::debug!("no TLS connection: {error}"),
            Err(_) => tracing::debug!("no TLS connection in time"),
        }
    });
}

/// The largest head of a request over HTTP/2; over HTTP/1 hyper's own limit holds, 400 kB and 100 lines.
const HEAD_BYTES: usize = 64 * 1024;

async fn converse<S>(stream: S, peer: Peer, door: Door, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Door { service, head, .. } = door;
    let service = TowerToHyperService::new(service.map_request(move |mut request: Request<_>| {
        request.extensions_mut().insert(peer);
        request.map(Body::new)
    }));
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(head);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .max_header_list_size(HEAD_BYTES as u32);
    let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!("connection ended: {error}");
    }
}

/// Resolves on Ctrl-C or SIGTERM.
///
/// # Errors
/// When the system grants no signal handler.
pub fn signals() -> Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        let _ = tokio::signal::ctrl_c().await.context("cannot listen for Ctrl-C");
    })
}
