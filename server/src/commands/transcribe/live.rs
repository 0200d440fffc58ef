//! Standard input as it comes, over the server's WebSocket: partials while somebody speaks, finals as they are made.

use super::remote::{DOOR, Failure, RemoteArgs, address, patiently};
use crate::{commands::output::Output, intake::query::Format};
use anyhow::{Context, Result, bail};
use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, Uri, header, uri::Scheme},
};
use futures_util::{SinkExt, StreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use s3router_core::audio::RawFormat;
use s3router_proto::stream::{ClientMessage, SUBPROTOCOL, ServerMessage, Start};
use std::{
    io::{IsTerminal, Read, stderr, stdin},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest},
};

/// Bytes of standard input on their way; more wait in the pipe.
const PIECES: usize = 16;
const PIECE: usize = 8 * 1024;
/// The server ends a stream from which it hears nothing at all.
const QUIET: Duration = Duration::from_secs(20);

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

type Socket = WebSocketStream<Box<dyn Wire>>;

/// What shall be heard, and how it shall be told.
pub(super) struct Wish<'a> {
    pub(super) lang: &'a str,
    pub(super) raw: Option<RawFormat>,
    /// Text, or each message as a line of JSON.
    pub(super) format: Format,
}

/// Streams standard input to its end and writes what is heard.
///
/// # Errors
/// When the server cannot be had, refuses, or breaks off.
pub(super) fn run(remote: &RemoteArgs, server: &str, wish: &Wish, out: &mut Output) -> Result<()> {
    let uri = address(server, "transcribe/stream")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let door = || runtime.block_on(connect(&uri, remote.api_key.as_deref()));
    let socket = patiently(remote.retries, door)?;
    runtime.block_on(converse(socket, wish, out))
}

async fn connect(uri: &Uri, key: Option<&str>) -> Result<Socket, Failure> {
    let unreachable = |error: anyhow::Error| Failure::unreachable(uri, error);
    let wire =
        timeout(DOOR, wire(uri)).await.context("it does not open the door").flatten().map_err(unreachable)?;
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

async fn wire(uri: &Uri) -> Result<Box<dyn Wire>> {
    let tls = uri.scheme() == Some(&Scheme::HTTPS);
    let host = uri.host().context("no host")?.trim_matches(['[', ']']);
    let tcp = TcpStream::connect((host, uri.port_u16().unwrap_or(if tls { 443 } else { 80 }))).await?;
    tcp.set_nodelay(true)?;
    if !tls {
        return Ok(Box::new(tcp));
    }
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
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
        to.send(text(&ClientMessage::Start(start(wish)))?).await?;
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
            if let Message::Text(text) = message.context("the connection to the server broke off")? {
                told.take(&text)?;
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

fn start(wish: &Wish) -> Start {
    let raw = wish.raw.as_ref();
    Start {
        lang: Some(wish.lang.into()),
        encoding: raw.map(|raw| raw.encoding.to_string()),
        sample_rate: raw.map(|raw| raw.rate_hz),
        ..Start::default()
    }
}

fn text(message: &ClientMessage) -> Result<Message> {
    Ok(Message::text(serde_json::to_string(message)?))
}

/// Standard input as it comes. The thread ends with the program: nothing wakes a read that waits.
fn microphone() -> mpsc::Receiver<std::io::Result<Bytes>> {
    let (give, take) = mpsc::channel(PIECES);
    std::thread::spawn(move || {
        let mut input = stdin().lock();
        let mut buffer = vec![0; PIECE];
        loop {
            let piece = match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => Ok(Bytes::copy_from_slice(&buffer[..n])),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let broken = piece.is_err();
            if give.blocking_send(piece).is_err() || broken {
                break;
            }
        }
    });
    take
}

/// What the server told so far.
struct Told<'a, 'o> {
    format: Format,
    out: &'a mut Output<'o>,
    /// The open utterance, where a person looks on.
    partial: ProgressBar,
    failure: Option<String>,
    closed: bool,
}

impl<'a, 'o> Told<'a, 'o> {
    fn new(format: Format, out: &'a mut Output<'o>) -> Self {
        let partial = if stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        partial.set_style(
            ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        Self { format, out, partial, failure: None, closed: false }
    }

    fn take(&mut self, text: &str) -> Result<()> {
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

    fn end(self) -> Result<()> {
        self.partial.finish_and_clear();
        match self.failure {
            Some(message) => bail!("{message}"),
            None if self.closed => Ok(()),
            None => bail!("the connection to the server broke off"),
        }
    }
}
