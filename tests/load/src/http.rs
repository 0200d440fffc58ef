//! Requests: as fast as clients can, or at times drawn beforehand. Connections are kept.

use crate::{
    tally::{Outcome, Tally},
    work::{Clip, Deck},
};
use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{collections::HashMap, future::Future, time::Duration};
use tokio::time::{Instant, sleep_until};

/// A client of one server, and what each clip should come to.
pub(crate) struct Target {
    client: reqwest::Client,
    base: String,
    path: &'static str,
    expected: HashMap<(usize, String), String>,
}

impl Target {
    pub(crate) fn new(address: &str) -> Result<Self> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(120)).build()?;
        let base = format!("http://{address}");
        Ok(Self { client, base, path: "/transcribe?words=false&lang=", expected: HashMap::new() })
    }

    /// The same, asking something else than a transcript of a language; one is appended to a path that ends in `=`.
    pub(crate) fn asking(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    /// Hears every clip alone and in turn: under load each must come to the same text.
    pub(crate) async fn learn(&mut self, clips: &[Clip], languages: &[String]) -> Result<()> {
        for (i, language) in languages.iter().enumerate() {
            for clip in [&clips[i % clips.len()]] {
                let (status, body) = self.post(clip, language).await.context("the server gave no answer")?;
                ensure!(status == 200, "{language}: {status} {body}");
                self.expected.insert((clip.number, language.clone()), text(&body)?);
            }
        }
        Ok(())
    }

    pub(crate) async fn ask(&self, clip: &Clip, language: &str) -> Outcome {
        match self.post(clip, language).await {
            Some((200, body)) => match self.expected.get(&(clip.number, language.to_owned())) {
                Some(expected) if !text(&body).is_ok_and(|heard| heard == *expected) => Outcome::Wrong,
                _ => Outcome::Answered(clip.seconds()),
            },
            Some((429, _)) => Outcome::Refused,
            _ => Outcome::Failed,
        }
    }

    async fn post(&self, clip: &Clip, language: &str) -> Option<(u16, String)> {
        let language = if self.path.ends_with('=') { language } else { "" };
        let url = format!("{}{}{language}", self.base, self.path);
        let body = reqwest::Body::from(clip.wav.to_vec());
        let response = self.client.post(url).body(body).send().await.ok()?;
        Some((response.status().as_u16(), response.text().await.ok()?))
    }
}

fn text(body: &str) -> Result<String> {
    let answer: serde_json::Value = serde_json::from_str(body)?;
    Ok(answer["text"].as_str().unwrap_or_default().to_owned())
}

/// `clients` clients, each with one request at a time, until `length` has passed; answers under way count.
pub(crate) async fn closed<'a>(
    tally: &mut Tally,
    target: &Target,
    deck: impl Fn(u64) -> Deck<'a>,
    clients: usize,
    length: Duration,
) {
    let begun = Instant::now();
    let client = |client: u64| {
        let mut deck = deck(client);
        async move {
            let mut done = Vec::new();
            while begun.elapsed() < length {
                let (clip, language) = deck.draw();
                let asked = Instant::now();
                done.push((target.ask(clip, language).await, asked.elapsed()));
            }
            done
        }
    };
    let done = together((0..clients as u64).map(client)).await;
    done.iter().flatten().for_each(|(outcome, took)| tally.add(outcome, *took));
    tally.lasted(begun.elapsed());
}

/// `rate` requests a second for `length`, at the times of a Poisson process; latencies count from when a request
/// was due.
pub(crate) async fn open(
    tally: &mut Tally,
    target: &Target,
    mut deck: Deck<'_>,
    rate: f64,
    length: Duration,
) {
    let mut rng = StdRng::seed_from_u64(1);
    let begun = Instant::now();
    let mut due = begun;
    let mut times = Vec::new();
    loop {
        due += Duration::from_secs_f64(-(1.0 - rng.random_range(0.0..1.0f64)).ln() / rate);
        if due > begun + length {
            break;
        }
        times.push((due, deck.draw()));
    }
    let request = |(due, (clip, language)): (Instant, (&Clip, &str))| {
        let (clip, language) = (clip.clone(), language.to_owned());
        async move {
            sleep_until(due).await;
            (target.ask(&clip, &language).await, due.elapsed())
        }
    };
    let done = together(times.into_iter().map(request)).await;
    done.iter().for_each(|(outcome, took)| tally.add(outcome, *took));
    tally.lasted(begun.elapsed());
}

async fn together<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    futures_util::future::join_all(all).await
}
