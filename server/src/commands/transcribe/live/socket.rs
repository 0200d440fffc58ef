//! Asking a server, over its WebSocket.

use super::{
    super::remote::{DOOR, Failure, RemoteArgs, address, patiently},
    QUIET, Wish, microphone,
    told::Told,
};
use crate::commands::output::Output;
use anyhow::{Context, Result, bail};
use axum::http::{HeaderMap, HeaderValue, Uri, header, uri::Scheme};
use futures_util::{SinkExt, StreamExt};
use s3router_proto::stream::{ClientMessage, SUBPROTOCOL};
use std::sync::Arc;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName},
    },
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest},
};

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

type Socket = WebSocketStream<Box<dyn Wire>>;

/// Streams standard input to its end and writes what is heard.
///
/// # Errors
/// When the server cannot be had, refuses, or breaks off.
pub(in super::super) fn run(remote: &RemoteArgs, server: &str, wish: &Wish, out: &mut Output) -> Result<()> {
    let uri = address(server, "transcribe/stream")?;
    let roots = roots(remote.authorities()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let door = || runtime.block_on(connect(&uri, &roots, remote.api_key.as_deref()));
    let socket = patiently(remote.retries, door)?;
    runtime.block_on(converse(socket, wish, out))
}

/// Who may vouch for the server.
fn roots(own: Option<Vec<CertificateDer<'static>>>) -> Result<RootCertStore> {
    let Some(own) = own else { return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }) };
    let mut roots = RootCertStore::empty();
    for certificate in own {
        roots.add(certificate).context("--ca-cert")?;
    }
    Ok(roots)
}

async fn connect(uri: &Uri, roots: &RootCertStore, key: Option<&str>) -> Result<Socket, Failure> {
    let unreachable = |error: anyhow::Error| Failure::unreachable(uri, error);
    let wire = timeout(DOOR, wire(uri, roots))
        .await
        .context("it does not open the door")
        .flatten()
        .map_err(unreachable)?;
    let request = request(uri, key).map_err(unreachable)?;
    match client_async(request, wire).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => {
            let body = answer.body().as_deref().unwrap_or_default();
            Err(Failure::refused(answer.status(), answer.headers(), body))
        }
        Err(error) => Err(unreachable(error.into())),
    }
}

async fn wire(uri: &Uri, roots: &RootCertStore) -> Result<Box<dyn Wire>> {
    let tls = uri.scheme() == Some(&Scheme::HTTPS);
    let host = uri.host().context("no host")?.trim_matches(['[', ']']);
    let tcp = TcpStream::connect((host, uri.port_u16().unwrap_or(if tls { 443 } else { 80 }))).await?;
    tcp.set_nodelay(true)?;
    if !tls {
        return Ok(Box::new(tcp));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())?;
    Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, tcp).await?))
}

fn request(uri: &Uri, key: Option<&str>) -> Result<tungstenite::handshake::client::Request> {
    let scheme = if uri.scheme() == Some(&Scheme::HTTPS) { "wss" } else { "ws" };
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(scheme.parse()?);
    let mut request = Uri::from_parts(parts)?.into_client_request()?;
    let headers: &mut HeaderMap = request.headers_mut();
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    if let Some(key) = key {
        let mut value =
            HeaderValue::try_from(format!("Bearer {key}")).context("the API key fits no header")?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(request)
}

/// Sends and listens at once: a server that has to be waited for goes on telling.
async fn converse(socket: Socket, wish: &Wish<'_>, out: &mut Output<'_>) -> Result<()> {
    let (mut to, mut from) = socket.split();
    let speak = async {
        to.send(text(&ClientMessage::Start(wish.start()))?).await?;
        let mut pieces = microphone();
        loop {
            let next = tokio::select! {
                next = timeout(QUIET, pieces.recv()) => next,
                // Ctrl-C ends the audio; what was said is still told.
                _ = tokio::signal::ctrl_c() => Ok(None),
            };
            match next {
                Ok(Some(piece)) => to.send(Message::Binary(piece?)).await?,
                Ok(None) => break,
                Err(_) => to.send(text(&ClientMessage::Keepalive)?).await?,
            }
        }
        to.send(text(&ClientMessage::Stop)?).await.map_err(anyhow::Error::from)
    };
    let listen = async {
        let mut told = Told::new(wish.format, out);
        while let Some(message) = from.next().await {
            match message {
                Ok(Message::Text(text)) => told.take(&text)?,
                Ok(_) => {}
                // Over TLS a connection often ends without a goodbye.
                Err(_) if told.is_all() => break,
                Err(error) => return Err(error).context("the connection to the server broke off"),
            }
        }
        told.end()
    };
    tokio::pin!(listen);
    tokio::select! {
        heard = &mut listen => heard,
        // Why the server takes no more is what it says; why standard input gives no more it cannot know.
        spoken = speak => match spoken {
            Err(error) if error.is::<std::io::Error>() => Err(error),
            _ => tokio::select! {
                heard = &mut listen => heard,
                _ = tokio::signal::ctrl_c() => bail!("interrupted before the last words were told"),
            },
        },
    }
}

fn text(message: &ClientMessage) -> Result<Message> {
    Ok(Message::text(serde_json::to_string(message)?))
}
