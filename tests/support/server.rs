//! A server on a port of its own, and clips to send to it.
//!
//! `Server::demo()` is shared by every test that changes nothing; `Server::start(config)` is one's own, with
//! small limits; `Server::with(config, around)` puts a delay or a fault around the real engine.

use reqwest::{
    Method,
    blocking::{Client, RequestBuilder, Response},
};
use s3router_core::{
    Engine, Result as CoreResult,
    piece::{Part, Piece},
};
use s3router_proto::{Answer, ErrorBody, ErrorKind};
use s3router_server::{
    App, Config,
    app::{Loaded, Model},
    config::{Admin, EngineConfig, Limits},
    error::status,
    listen, load,
};
use serde_json::Value;
use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{Arc, LazyLock, OnceLock},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

#[path = "socket.rs"]
pub(crate) mod socket;

/// What may be put around the engine: called with a batch and the engine itself. The engine may call it again
/// from within, when small jobs cut in: a lock that it takes must be free by then.
pub(crate) type Around =
    Box<dyn Fn(&[&Piece], &mut dyn FnMut() -> CoreResult<Vec<Part>>) -> CoreResult<Vec<Part>> + Send + Sync>;

/// The real engine with something around it.
struct Wrapped(Arc<dyn Model>, Arc<Around>);

impl Model for Wrapped {
    fn host(&self) -> &Engine {
        self.0.host()
    }

    fn compute(&self, pieces: &[&Piece], pause: &mut dyn FnMut() -> CoreResult<()>) -> CoreResult<Vec<Part>> {
        self.1(pieces, &mut || self.0.compute(pieces, pause))
    }
}

/// A running server; it leaves in order when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Of the admin listener, where the configuration has a token for one.
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) app: Arc<App>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

/// The token of [`administered`] servers.
pub(crate) const ADMIN_TOKEN: &str = "open sesame";

/// [`small`], with an admin listener and packs of one's own.
pub(crate) fn administered(folder: &std::path::Path) -> Config {
    let engine = EngineConfig { packs: Some(folder.into()), ..EngineConfig::default() };
    let admin = Admin { admin_token: Some(ADMIN_TOKEN.into()), ..Admin::default() };
    Config { engine, admin, ..small() }
}

static DEMO: LazyLock<Server> = LazyLock::new(|| Server::start(small()));

/// Limits small enough to run into.
pub(crate) fn small() -> Config {
    Config { limits: Limits::for_testing(), ..Config::default() }
}

impl Server {
    /// The shared one.
    pub(crate) fn demo() -> &'static Self {
        &DEMO
    }

    /// One's own, ready.
    pub(crate) fn start(config: Config) -> Self {
        Self::loading(App::build(config).unwrap()).ready()
    }

    /// One's own, with something around its engine.
    pub(crate) fn with(config: Config, around: Around) -> Self {
        let around = Arc::new(around);
        let device = OnceLock::new();
        let app = App::start(config, move |engine| {
            let Loaded { model, packs } = load::load(engine, &device)?;
            Ok(Loaded { model: Arc::new(Wrapped(model, Arc::clone(&around))), packs })
        });
        Self::loading(app.unwrap()).ready()
    }

    /// Not ready yet.
    pub(crate) fn loading(app: Arc<App>) -> Self {
        let (told, address) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = Arc::clone(&app);
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let served = runtime.block_on(async {
                let bind = async || tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                let (listener, admin) = (bind().await, bind().await);
                told.send((listener.local_addr().unwrap(), admin.local_addr().unwrap())).unwrap();
                if served.config.admin.tokens().unwrap().required() {
                    tokio::spawn(listen::serve_admin(admin, Arc::clone(&served)));
                }
                let stopped = async { drop(stopped.await) };
                listen::serve(listener, served, stopped).await.map_err(|e| e.to_string())
            });
            runtime.shutdown_background();
            served
        });
        let (address, admin) = address.recv().unwrap();
        let admin = app.config.admin.tokens().unwrap().required().then_some(admin);
        Self { address, admin, app, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn ready(self) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.app.lifecycle.ready()).unwrap();
        self
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        client().get(self.url(path)).send().unwrap()
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        self.get(path).json().unwrap()
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        client().post(self.url(path))
    }

    /// A request to the admin listener, with its token.
    pub(crate) fn admin(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}/admin/{path}", self.admin.unwrap());
        client().request(method, url).bearer_auth(ADMIN_TOKEN)
    }

    /// A clip to `/transcribe?{query}`.
    pub(crate) fn transcribe(&self, query: &str, audio: &[u8]) -> Response {
        self.post(&format!("/transcribe?{query}")).body(audio.to_vec()).send().unwrap()
    }

    /// The same, which must go well.
    #[track_caller]
    pub(crate) fn answer(&self, query: &str, audio: &[u8]) -> Answer {
        let response = self.transcribe(query, audio);
        assert_eq!(response.status(), 200, "{}", response.text().unwrap());
        response.json().unwrap()
    }

    pub(crate) fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        socket
    }

    /// Begins the orderly end without waiting for it.
    pub(crate) fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    /// How it ended by itself.
    pub(crate) fn ended(&mut self) -> Result<(), String> {
        self.thread.take().unwrap().join().unwrap()
    }

    /// How the orderly end went.
    pub(crate) fn stop(&mut self) -> Result<(), String> {
        self.begin_stop();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.thread.is_some() && !std::thread::panicking() {
            let _ = self.stop();
        }
    }
}

fn client() -> &'static Client {
    static CLIENT: LazyLock<Client> = LazyLock::new(|| {
        Client::builder().pool_max_idle_per_host(0).timeout(Duration::from_secs(120)).build().unwrap()
    });
    &CLIENT
}

/// Asks until `yes`.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut yes: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !yes() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Holds an answer to the closed list: status, code, envelope and header. Returns its message.
#[track_caller]
pub(crate) fn assert_error(response: Response, kind: ErrorKind) -> ErrorBody {
    let (code, headers) = (response.status(), response.headers().clone());
    let text = response.text().unwrap();
    let body: ErrorBody = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!((body.error.code, code), (kind, status(kind)), "{text}");
    assert_eq!(headers["x-request-id"], body.request_id.as_str());
    assert_eq!(headers["content-type"], "application/json");
    assert!(!body.error.message.is_empty() && !body.error.message.contains('\n'), "{text}");
    body
}

/// A golden clip as a WAV file, and the text its pack reads.
pub(crate) fn clip(lang: &str) -> (Vec<u8>, String) {
    let path = format!("{}/fixtures/golden/{lang}.safetensors", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(path).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let text = header.metadata().as_ref().unwrap()["text"].clone();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let samples: Vec<f32> = tensors
        .tensor("wav")
        .unwrap()
        .data()
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    (wav(&[&samples]), text)
}

/// The eleven languages.
pub(crate) const LANGUAGES: [&str; 11] =
    ["en", "es", "fr", "it", "ky", "nl", "ru", "sv_SE", "tr", "tt", "zh_TW"];

/// 16 kHz float WAV of some channels.
pub(crate) fn wav(channels: &[&[f32]]) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: channels.len() as u16,
        sample_rate: 16_000,
        bits_per_sample: 32,
        sample_format: hound::SampleFormat::Float,
    };
    let mut file = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
    for i in 0..channels[0].len() {
        for channel in channels {
            writer.write_sample(channel.get(i).copied().unwrap_or(0.0)).unwrap();
        }
    }
    writer.finalize().unwrap();
    file.into_inner()
}

/// The samples of a WAV that [`wav`] wrote.
pub(crate) fn samples(wav: &[u8]) -> Vec<f32> {
    hound::WavReader::new(wav).unwrap().samples::<f32>().map(Result::unwrap).collect()
}

/// Seconds of a tone.
pub(crate) fn tone(seconds: f64) -> Vec<u8> {
    let samples: Vec<f32> =
        (0..(seconds * 16_000.0) as usize).map(|i| 0.2 * (i as f32 * 0.1).sin()).collect();
    wav(&[&samples])
}
