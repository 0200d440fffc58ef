//! Many WebSockets at once, each sending a clip as fast as it would be spoken, then keeping still for a while.

use crate::{
    tally::{Outcome, Tally},
    work::Clip,
};
use anyhow::{Context, Result, bail};
use s3router_core::audio::RATE_HZ;
use std::{
    net::TcpStream,
    sync::mpsc,
    thread::sleep,
    time::{Duration, Instant},
};
use tungstenite::{Message, WebSocket};

/// What a microphone hands over at a time.
const CHUNK: Duration = Duration::from_millis(100);

/// `streams` streams, evenly spread over the time of one clip and its pause, for `length` from when the last began; the
/// part `speech` of their time is speech. A latency is the time from the end
/// of an utterance (`flush`, sent right after its last sample) to `flushed`: its final is there.
pub(crate) fn run(
    address: &str,
    clips: &[Clip],
    languages: &[String],
    streams: usize,
    speech: f64,
    length: Duration,
) -> Result<Tally> {
    let heard = if languages == ["auto"] { ", `lang=auto`" } else { "" };
    let mut tally = Tally::new(format!("{streams} streams, {:.0} % speech{heard}", 100.0 * speech))?;
    let (told, heard) = mpsc::channel();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for i in 0..streams {
            let (told, clip) = (told.clone(), &clips[i % clips.len()]);
            let language = languages[i % languages.len()].as_str();
            scope.spawn(move || {
                let cycle = Duration::from_secs_f64(clip.seconds() / speech);
                sleep(cycle * i as u32 / streams as u32);
                let until = begun + cycle + length;
                let outcome = stream(address, clip, language, speech, until, |outcome, took| {
                    let _ = told.send((outcome, took));
                });
                if let Err(error) = outcome {
                    eprintln!("stream {i}: {error:#}");
                    let _ = told.send((Outcome::Failed, Duration::ZERO));
                }
            });
        }
        drop(told);
        for (outcome, took) in heard {
            tally.add(&outcome, took);
        }
    });
    tally.lasted(begun.elapsed());
    Ok(tally)
}

fn stream(
    address: &str,
    clip: &Clip,
    language: &str,
    speech: f64,
    until: Instant,
    mut tell: impl FnMut(Outcome, Duration),
) -> Result<()> {
    let tcp = TcpStream::connect(address).context("cannot connect")?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(Duration::from_secs(30)))?;
    let url = format!("ws://{address}/transcribe/stream?lang={language}&sample_rate={RATE_HZ}");
    let (mut socket, _) = tungstenite::client(url, tcp).map_err(|e| anyhow::anyhow!("no WebSocket: {e}"))?;
    let quiet = (clip.samples.len() as f64 * (1.0 / speech - 1.0)) as usize;
    let mut id = 0;
    while Instant::now() < until {
        send(&mut socket, clip.samples.iter().copied())?;
        id += 1;
        let asked = Instant::now();
        socket.send(Message::text(format!(r#"{{"type":"flush","id":{id}}}"#)))?;
        let words = until_flushed(&mut socket, id)?;
        if words == 0 {
            bail!("nothing was heard in {language}");
        }
        tell(Outcome::Answered(clip.seconds()), asked.elapsed());
        send(&mut socket, std::iter::repeat_n(0.0, quiet))?;
    }
    socket.close(None)?;
    Ok(())
}

/// Samples as they would come from a microphone.
fn send(socket: &mut WebSocket<TcpStream>, samples: impl Iterator<Item = f32>) -> Result<()> {
    let pcm: Vec<u8> =
        samples.flat_map(|s| ((s.clamp(-1.0, 1.0) * f32::from(i16::MAX)) as i16).to_le_bytes()).collect();
    let begun = Instant::now();
    let bytes = (CHUNK.as_secs_f64() * f64::from(RATE_HZ)) as usize * 2;
    for (chunk, n) in pcm.chunks(bytes).zip(1u32..) {
        sleep((begun + CHUNK * n).saturating_duration_since(Instant::now()));
        socket.send(Message::binary(chunk.to_vec()))?;
    }
    Ok(())
}

/// Reads on until the flush is answered; how many finals with a text came before.
fn until_flushed(socket: &mut WebSocket<TcpStream>, id: u64) -> Result<usize> {
    let mut finals = 0;
    loop {
        let Message::Text(text) = socket.read()? else { continue };
        let message: serde_json::Value = serde_json::from_str(text.as_str())?;
        match message["type"].as_str() {
            Some("final") if message["text"].as_str().is_some_and(|t| !t.is_empty()) => finals += 1,
            Some("flushed") if message["id"] == id => return Ok(finals),
            Some("error") => bail!("{}", message["error"]["message"]),
            _ => {}
        }
    }
}
