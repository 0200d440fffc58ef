//! The socket: connections in, and an orderly end.

use crate::{admin, app::App, router::router};
use anyhow::{Context, Result, bail};
use axum::{Router, body::Body, http::Request};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout_at},
};
use tower::ServiceExt;

/// Serves `app` until `shutdown` resolves and the accepted requests are answered.
///
/// The order of leaving: `/readyz` and new work answer 503 while accepted work finishes, then the port closes
/// and idle connections with it. Work that is not done when the deadline passes is an error.
///
/// # Errors
/// When the backbone cannot be loaded, or accepted work outlasts the deadline.
pub async fn serve(listener: TcpListener, app: Arc<App>, shutdown: impl Future<Output = ()>) -> Result<()> {
    let service = router(Arc::clone(&app));
    let head = app.config.limits.head_timeout.duration();
    let patience = app.config.bind.shutdown_seconds;
    let connections = GracefulShutdown::new();
    let (drained, end) = {
        let mut accepting = pin!(accept(&listener, &service, &connections, head));
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
    accept(&listener, &admin::router(app), &GracefulShutdown::new(), head).await;
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
async fn accept(listener: &TcpListener, service: &Router, connections: &GracefulShutdown, head: Duration) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => spawn(stream, service.clone(), connections, head),
            // Out of file descriptors, most likely: those in use will be freed.
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn spawn(stream: TcpStream, service: Router, connections: &GracefulShutdown, head: Duration) {
    // Answers are small and written whole: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(service.map_request(|r: Request<_>| r.map(Body::new)));
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(head);
    http.http2().timer(TokioTimer::new()).keep_alive_interval(Some(Duration::from_secs(20)));
    let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    let watched = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = watched.await {
            tracing::debug!("connection ended: {error}");
        }
    });
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
