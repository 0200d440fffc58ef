//! A WebSocket client that fails loudly.

use super::Server;
use serde_json::{Value, json};
use std::{
    net::TcpStream,
    time::{Duration, Instant},
};
use tungstenite::{
    Message, WebSocket,
    client::IntoClientRequest,
    handshake::client::Response,
    http::{HeaderName, HeaderValue},
};

/// One connection.
pub(crate) struct Socket {
    inner: WebSocket<TcpStream>,
    pub(crate) response: Response,
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Every text frame that was left, in order.
    pub(crate) messages: Vec<Value>,
    /// Of the close frame; 1006 without one.
    pub(crate) code: u16,
}

impl Socket {
    /// Connects, or returns the status and body of the refusal.
    pub(crate) fn connect(
        server: &Server,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, (u16, Value)> {
        let mut request = format!("ws://{}{path}", server.address).into_client_request().unwrap();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        match tungstenite::client(request, server.socket()) {
            Ok((inner, response)) => Ok(Self { inner, response }),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                let body = response.body().as_deref().unwrap_or_default();
                Err((response.status().as_u16(), serde_json::from_slice(body).unwrap_or_default()))
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn open(server: &Server, path: &str) -> Self {
        Self::connect(server, path, &[]).unwrap()
    }

    pub(crate) fn say(&mut self, message: &Value) {
        self.inner.send(Message::text(message.to_string())).unwrap();
    }

    pub(crate) fn say_text(&mut self, text: &str) {
        self.inner.send(Message::text(text)).unwrap();
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.inner.send(Message::binary(bytes.to_vec())).unwrap();
    }

    /// The bytes in pieces, as fast as they are taken.
    pub(crate) fn send_all(&mut self, bytes: &[u8], piece: usize) {
        bytes.chunks(piece).for_each(|chunk| self.send(chunk));
    }

    /// The next text frame; `None` when the connection is over.
    pub(crate) fn next(&mut self) -> Option<Value> {
        self.frame().ok()
    }

    fn frame(&mut self) -> Result<Value, u16> {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            // Pings keep coming from a server that has nothing to say.
            assert!(Instant::now() < end, "nothing came for half a minute");
            match self.inner.read() {
                Ok(Message::Text(text)) => return Ok(serde_json::from_str(&text).unwrap()),
                Ok(Message::Close(frame)) => return Err(frame.map_or(1005, |f| f.code.into())),
                Ok(_) => {}
                Err(tungstenite::Error::Io(e)) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("nothing came for half a minute")
                }
                Err(_) => return Err(1006),
            }
        }
    }

    /// The next frame, which must be of this type.
    #[track_caller]
    pub(crate) fn expect(&mut self, kind: &str) -> Value {
        let message = self.next().unwrap_or_else(|| panic!("closed instead of {kind}"));
        assert_eq!(message["type"], kind, "{message}");
        message
    }

    /// The next frame of this type, whatever comes before it.
    #[track_caller]
    pub(crate) fn until(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next().unwrap_or_else(|| panic!("closed instead of {kind}"));
            if message["type"] == kind {
                return message;
            }
            assert_ne!(message["type"], "error", "{message}");
        }
    }

    /// Everything to the end.
    pub(crate) fn end(mut self) -> Ended {
        let mut messages = Vec::new();
        loop {
            match self.frame() {
                Ok(message) => messages.push(message),
                Err(code) => {
                    // Says goodbye too.
                    let _ = self.inner.flush();
                    return Ended { messages, code };
                }
            }
        }
    }

    /// `stop`, and everything to the end, which must be a good one.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Vec<Value> {
        self.say(&json!({ "type": "stop" }));
        let Ended { messages, code } = self.end();
        assert_eq!(code, 1000, "{messages:?}");
        assert_eq!(messages.last().unwrap()["type"], "closed");
        messages
    }

    /// Goes away without a word.
    pub(crate) fn leave(self) {
        let _ = self.inner.get_ref().shutdown(std::net::Shutdown::Both);
    }

    /// Fails a read that takes longer.
    pub(crate) fn patience(&self, time: Duration) {
        self.inner.get_ref().set_read_timeout(Some(time)).unwrap();
    }
}

impl Ended {
    /// Its messages of one type.
    pub(crate) fn of(&self, kind: &str) -> Vec<&Value> {
        of(&self.messages, kind)
    }
}

/// The messages of one type.
pub(crate) fn of<'a>(messages: &'a [Value], kind: &str) -> Vec<&'a Value> {
    messages.iter().filter(|m| m["type"] == kind).collect()
}

/// The samples of a WAV of [`super::wav`] as 16-bit PCM.
pub(crate) fn pcm(wav: &[u8]) -> Vec<u8> {
    super::samples(wav).iter().flat_map(|x| ((x * 32767.0) as i16).to_le_bytes()).collect()
}
