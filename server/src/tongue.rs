//! Which language a request is in: named, or heard from its first seconds.

use crate::{
    app::App,
    error::{ApiError, Result},
    middleware::request::Trace,
    schedule::job::{Done, Permit},
    transcription::{decode, timing, within},
};
use axum::body::Bytes;
use futures_util::future::try_join_all;
use s3router_core::{
    Utterance,
    audio::{Channels, RATE_HZ, RawFormat},
    identify,
    packs::{LoadedPack, Packs},
};
use s3router_masks::Kind;
use s3router_proto::{ErrorKind, Identification, LanguageScore, PackRef};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What a client says of the language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// One, under any of its names.
    Named(String),
    /// Whichever is heard, of these, or of all where there are none.
    Heard(Vec<String>),
}

/// The packs a request leases.
#[derive(Clone, Debug)]
pub enum Tongue {
    /// The language is known.
    Known(Arc<LoadedPack>),
    /// To be heard; at least two, by canonical id.
    Among(Vec<Arc<LoadedPack>>),
}

/// Which language was heard, and how that went.
#[derive(Clone, Debug)]
pub struct Identified {
    /// Every candidate with its probability among them, best first.
    pub ranked: Vec<(Arc<LoadedPack>, f32)>,
    /// Audio that was listened to, seconds.
    pub listened: f64,
    /// Waiting for the engine.
    pub queue: Duration,
    /// In the engine.
    pub infer: Duration,
}

impl Spoken {
    /// From `lang` and `languages`.
    ///
    /// # Errors
    /// 400 for candidates beside a language that is named.
    pub fn of(lang: &str, languages: Vec<String>) -> Result<Self> {
        match lang {
            "auto" => Ok(Self::Heard(languages)),
            _ if languages.is_empty() => Ok(Self::Named(lang.into())),
            _ => Err(ApiError::invalid(
                "languages",
                "`languages` narrows `lang=auto`, and you named a language",
            )),
        }
    }

    /// Leases the packs.
    ///
    /// # Errors
    /// 404 for a language that is not loaded.
    pub fn lease(&self, packs: &Packs) -> Result<Tongue> {
        let mut among = match self {
            Self::Named(lang) => return Ok(Tongue::Known(packs.get(lang)?)),
            // A classifier's labels are no language.
            Self::Heard(all) if all.is_empty() => {
                packs.iter().filter(|p| p.meta.kind == Kind::Ctc).map(Arc::clone).collect()
            }
            Self::Heard(some) => {
                let named =
                    |e: s3router_core::Error| ApiError { param: Some("languages".into()), ..e.into() };
                some.iter().map(|lang| packs.get(lang).map_err(named)).collect::<Result<Vec<_>>>()?
            }
        };
        among.sort_by(|a, b| a.meta.language.cmp(&b.meta.language));
        among.dedup_by(|a, b| Arc::ptr_eq(a, b));
        if among.iter().any(|p| p.meta.kind == Kind::Classifier) {
            return Err(ApiError::invalid(
                "languages",
                "`languages` names a classifier: it speaks no language",
            ));
        }
        match among.len() {
            0 => Err(ApiError::new(ErrorKind::LanguageNotFound, "no language is loaded to choose from")),
            1 => Ok(Tongue::Known(among.remove(0))),
            _ => Ok(Tongue::Among(among)),
        }
    }
}

impl Tongue {
    /// Every pack it may come to.
    pub fn candidates(&self) -> &[Arc<LoadedPack>] {
        match self {
            Self::Known(pack) => std::slice::from_ref(pack),
            Self::Among(packs) => packs,
        }
    }
}

/// Listens to the first seconds under every candidate's mask. The jobs are of one length, so they ride in one batch,
/// a row a language, and the mixed batch is the point: no candidate waits for another.
///
/// # Errors
/// The engine's.
pub async fn identify(
    app: &App,
    samples: &[f32],
    candidates: &[Arc<LoadedPack>],
    permit: &Permit,
) -> Result<Identified> {
    let excerpt: Arc<[f32]> = samples[identify::excerpt(samples)].into();
    let listen =
        |pack| app.scheduler.submit(Utterance::for_emissions(Arc::clone(&excerpt), pack), permit.clone());
    let done: Vec<Done> = try_join_all(candidates.iter().map(listen)).await?;
    let longest = |pick: fn(&Done) -> Duration| done.iter().map(pick).max().unwrap_or_default();
    let heard = done.iter().zip(candidates);
    let heard: Vec<_> = heard.map(|(d, pack)| (d.transcript.emissions.as_ref(), &**pack)).collect();
    let shares = identify::shares(&heard);
    let mut ranked: Vec<_> = candidates.iter().cloned().zip(shares).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(Identified {
        ranked,
        listened: excerpt.len() as f64 / f64::from(RATE_HZ),
        queue: longest(|d| d.queue),
        infer: longest(|d| d.infer),
    })
}

/// Audio whose language is asked for.
#[derive(Debug)]
pub struct Heeding {
    /// The bytes as they came.
    pub audio: Bytes,
    /// The lease on the candidates' packs.
    pub tongue: Tongue,
    /// How headerless bytes are to be read.
    pub raw: Option<RawFormat>,
    /// Languages to list.
    pub top: usize,
    /// When to give up, counted from the head of the request.
    pub deadline: Option<Duration>,
}

/// Admission, decoding, identification: what `/identify` answers on every protocol.
///
/// # Errors
/// 429 when there is no room, 504 past the deadline, and whatever is wrong with the audio.
pub async fn listen(app: &App, trace: &Trace, heeding: Heeding) -> Result<Identification> {
    let upload = trace.begun().elapsed();
    let permit = app.scheduler.admit(&trace.tenant())?;
    let Heeding { audio, tongue, raw, top, deadline } = heeding;
    within(app, trace, deadline, async {
        trace.enter("decode");
        let begun = Instant::now();
        let samples = decode(app, audio, raw, Channels::Mix).await?.pop().unwrap_or_default();
        let decoded = begun.elapsed();
        trace.enter("engine");
        let heard = identify(app, &samples, tongue.candidates(), &permit).await?;
        let duration = samples.len() as f64 / f64::from(RATE_HZ);
        let timing = timing(upload, decoded, heard.queue, heard.infer, trace.begun().elapsed(), duration);
        trace.took(timing);
        if let Some((best, _)) = heard.ranked.first() {
            trace.speaks(&best.meta.language);
        }
        Ok(Identification {
            languages: heard.scores(top),
            duration,
            listened: heard.listened,
            request_id: trace.id().into(),
            timing,
        })
    })
    .await
}

impl Identified {
    /// The best `top`, as they are sent.
    pub fn scores(&self, top: usize) -> Vec<LanguageScore> {
        let score = |(pack, score): &(Arc<LoadedPack>, f32)| LanguageScore {
            lang: pack.meta.language.clone(),
            score: *score,
            pack: pack_ref(pack),
        };
        self.ranked.iter().take(top).map(score).collect()
    }
}

/// The proof of which pack answered.
pub fn pack_ref(pack: &LoadedPack) -> PackRef {
    PackRef { id: pack.meta.language.clone(), generation: pack.generation, sha256: pack.sha256.clone() }
}
