//! One utterance of a stream on the path that requests take: which language it is in, then its words.

use super::Slot;
use crate::{
    app::App,
    error::{ApiError, Result},
    intake::{decoding::Decoding, identify::TOP},
    schedule::Permit,
    tongue::{Identified, Tongue, identify, pack_ref},
    transcription,
};
use s3router_core::{
    identify::excerpt,
    packs::LoadedPack,
    stream::{Heard, Language, Read, Ticket},
};
use s3router_proto::{ErrorKind, LanguageScore, PackRef};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// How long a final waits before it asks again for room in the queue.
const PATIENCE: Duration = Duration::from_millis(25);

/// What reads an utterance.
#[derive(Clone, Debug)]
pub enum Speech {
    /// The language is known.
    Known(Arc<LoadedPack>),
    /// One of these: each utterance is heard for itself.
    Among(Arc<[Arc<LoadedPack>]>),
    /// What was heard of those, and how they ranked.
    Heard(Arc<LoadedPack>, Arc<Identified>),
}

impl From<Tongue> for Speech {
    fn from(tongue: Tongue) -> Self {
        match tongue {
            Tongue::Known(pack) => Self::Known(pack),
            Tongue::Among(packs) => Self::Among(packs.into()),
        }
    }
}

impl Language for Speech {
    fn space(&self) -> &str {
        self.pack().map_or(" ", |pack| pack.space())
    }
}

impl Speech {
    /// What reads it, if that is known.
    pub fn pack(&self) -> Option<&Arc<LoadedPack>> {
        match self {
            Self::Known(pack) | Self::Heard(pack, _) => Some(pack),
            Self::Among(_) => None,
        }
    }

    /// Canonical id of the language, or `auto`.
    pub fn lang(&self) -> &str {
        self.pack().map_or("auto", |pack| &pack.meta.language)
    }

    /// The proof of what read it.
    pub fn proof(&self) -> Option<PackRef> {
        self.pack().map(|pack| pack_ref(pack))
    }

    /// The likeliest languages, where one had to be heard.
    pub fn languages(&self) -> Option<Vec<LanguageScore>> {
        match self {
            Self::Heard(_, identified) => Some(identified.scores(TOP)),
            Self::Known(_) | Self::Among(_) => None,
        }
    }
}

/// Of which audio a language was heard.
#[derive(Clone, Debug)]
pub(super) struct Listened {
    /// Where it begins, samples of the stream.
    from: u64,
    length: usize,
    identified: Arc<Identified>,
}

/// What came of a reading.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) heard: Heard<Speech>,
    /// Waiting for the engine.
    pub(super) queue: Duration,
    /// Spares the next reading of the same utterance to listen to the same audio.
    pub(super) listened: Option<Listened>,
}

/// A whole utterance. It was accepted with its audio, so it waits for room instead of failing; and an engine that
/// broke is asked once more, since it is mended meanwhile.
pub(super) async fn whole(
    app: Arc<App>,
    slot: Slot,
    read: Read<Speech>,
    decoding: Arc<Decoding>,
    listened: Option<Listened>,
) -> (Ticket, Result<Answer>) {
    let mut once_more = true;
    loop {
        let answer = async { hear(&app, &read, &decoding, listened.clone(), slot.admit()?).await };
        match answer.await {
            Err(error) if error.kind == ErrorKind::QueueFull => sleep(PATIENCE).await,
            Err(error) if error.kind == ErrorKind::Internal && std::mem::take(&mut once_more) => {
                tracing::warn!("an utterance of a stream is read again: {}", error.message);
            }
            outcome => return (read.ticket, outcome),
        }
    }
}

/// One reading, of a whole utterance or of what there is of it.
///
/// # Errors
/// 429 when there is no room for so much audio, and the engine's.
pub(super) async fn hear(
    app: &App,
    read: &Read<Speech>,
    decoding: &Decoding,
    listened: Option<Listened>,
    permit: Permit,
) -> Result<Answer> {
    let (language, listened) = match &read.language {
        Speech::Among(packs) => {
            let listened = listen(app, read, packs, listened, &permit).await?;
            let (best, _) = listened
                .identified
                .ranked
                .first()
                .ok_or_else(|| ApiError::internal("no candidate was ranked"))?;
            (Speech::Heard(Arc::clone(best), Arc::clone(&listened.identified)), Some(listened))
        }
        known => (known.clone(), None),
    };
    let pack = language.pack().ok_or_else(|| ApiError::internal("an utterance without a language"))?;
    let how = decoding.reading(pack)?;
    let samples = Arc::clone(&read.samples);
    let (done, alternatives) = transcription::hear(app, samples, pack, how.as_ref(), permit).await?;
    let heard = Heard { language, transcript: done.transcript, alternatives };
    Ok(Answer { heard, queue: done.queue, listened })
}

/// Which language: heard anew for the whole utterance and whenever half as much again has come, but never twice of
/// the same seconds.
async fn listen(
    app: &App,
    read: &Read<Speech>,
    packs: &[Arc<LoadedPack>],
    earlier: Option<Listened>,
    permit: &Permit,
) -> Result<Listened> {
    let heard = excerpt(&read.samples);
    let (from, length) = (read.ticket.from + heard.start as u64, heard.len());
    let enough = if read.ticket.whole { length } else { length * 2 / 3 };
    if let Some(listened) =
        earlier.filter(|listened| listened.from == from && (enough..=length).contains(&listened.length))
    {
        return Ok(listened);
    }
    let identified = Arc::new(identify(app, &read.samples, packs, permit).await?);
    Ok(Listened { from, length, identified })
}
