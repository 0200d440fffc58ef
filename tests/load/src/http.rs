//! Requests to `POST /transcribe`: as fast as clients can, or at times drawn beforehand.

use crate::{
    tally::{Outcome, Tally},
    work::{Clip, Deck},
};
use anyhow::{Context, Result};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::time::Duration;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// A client of one server.
#[derive(Clone)]
pub(crate) struct Target {
    client: reqwest::Client,
    base: String,
}

impl Target {
    pub(crate) fn new(address: &str) -> Result<Self> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(120)).build()?;
        Ok(Self { client, base: format!("http://{address}/transcribe") })
    }

    pub(crate) async fn ask(&self, clip: &Clip, lang: &str) -> Outcome {
        let url = format!("{}?lang={lang}&words=false", self.base);
        let body = reqwest::Body::from(clip.wav.to_vec());
        let Ok(response) = self.client.post(url).body(body).send().await else { return Outcome::Failed };
        let status = response.status().as_u16();
        match (status, response.bytes().await) {
            (200, Ok(_)) => Outcome::Answered(clip.seconds()),
            (429, Ok(_)) => Outcome::Refused,
            _ => Outcome::Failed,
        }
    }
}

/// `clients` clients, each with one request at a time, until `length` has passed; answers under way count.
pub(crate) async fn closed(
    name: &str,
    target: &Target,
    deck: impl Fn(u64) -> Deck,
    clients: usize,
    length: Duration,
) -> Result<Tally> {
    let begun = Instant::now();
    let mut set = JoinSet::new();
    for client in 0..clients as u64 {
        let (target, mut deck) = (target.clone(), deck(client));
        set.spawn(async move {
            let mut done = Vec::new();
            while begun.elapsed() < length {
                let (clip, lang) = deck.draw();
                let asked = Instant::now();
                done.push((target.ask(&clip, lang).await, asked.elapsed()));
            }
            done
        });
    }
    collect(name, set, begun).await
}

/// `rate` requests a second for `length`, at the times of a Poisson process; latencies count from when a request
/// was due.
pub(crate) async fn open(
    name: &str,
    target: &Target,
    mut deck: Deck,
    rate: f64,
    length: Duration,
) -> Result<Tally> {
    let mut rng = StdRng::seed_from_u64(1);
    let begun = Instant::now();
    let mut due = begun;
    let mut set = JoinSet::new();
    loop {
        due += Duration::from_secs_f64(-(1.0 - rng.random_range(0.0..1.0f64)).ln() / rate);
        if due > begun + length {
            break;
        }
        sleep_until(due).await;
        let (target, (clip, lang)) = (target.clone(), deck.draw());
        set.spawn(async move { vec![(target.ask(&clip, lang).await, due.elapsed())] });
    }
    collect(name, set, begun).await
}

async fn collect(name: &str, mut set: JoinSet<Vec<(Outcome, Duration)>>, begun: Instant) -> Result<Tally> {
    let mut tally = Tally::new(name)?;
    while let Some(done) = set.join_next().await {
        for (outcome, took) in done.context("a client panicked")? {
            tally.add(&outcome, took);
        }
    }
    tally.lasted(begun.elapsed());
    Ok(tally)
}
