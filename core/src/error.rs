//! What can go wrong between bytes and words, sorted by whose mistake it is.

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose mistake an [`Error`] is; the server maps each kind to one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A parameter contradicts the contract.
    InvalidRequest,
    /// Audio without a single sample.
    EmptyAudio,
    /// More decoded seconds than allowed.
    AudioTooLong,
    /// No container or codec we know.
    UnsupportedMedia,
    /// A known container whose content is broken.
    UndecodableAudio,
    /// No pack of that name.
    LanguageNotFound,
    /// A backbone or pack that cannot be used.
    Model,
    /// Ours: a bug or the device.
    Internal,
}

/// Why audio, a backbone or a pack was refused, or a computation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A parameter contradicts the contract.
    #[error("{0}")]
    InvalidRequest(String),
    /// Audio without a single sample.
    #[error("the audio has no samples: it is empty, or was cut before its first")]
    EmptyAudio,
    /// More decoded seconds than allowed; checked while decoding.
    #[error(
        "the audio is longer than {limit_seconds} s, the limit here: cut it, or raise --max-audio-seconds"
    )]
    AudioTooLong {
        /// The limit, seconds.
        limit_seconds: f64,
    },
    /// No container or codec we know.
    #[error("{0}")]
    UnsupportedMedia(String),
    /// A known container whose content is broken.
    #[error("{0}")]
    UndecodableAudio(String),
    /// No pack of that name.
    #[error("no pack for language `{asked}`: there is {available}{suggestion}")]
    LanguageNotFound {
        /// What was asked for.
        asked: String,
        /// What there is, comma-separated.
        available: String,
        /// `; did you mean `x`?` or empty.
        suggestion: String,
    },
    /// A backbone that cannot be used: what, where, how to mend it.
    #[error("{0}")]
    Model(String),
    /// A pack that cannot be used.
    #[error(transparent)]
    Pack(#[from] s3router_masks::Error),
    /// The batch this utterance was in failed as a whole.
    #[error("the batch failed: {0}")]
    Batch(String),
    /// A batch was given up between two layers, because nobody waits for it any more.
    #[error("given up: nobody waits for this any more")]
    Abandoned,
    /// The tensor library failed.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// Whose mistake this is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::InvalidRequest(_) => Kind::InvalidRequest,
            Self::EmptyAudio => Kind::EmptyAudio,
            Self::AudioTooLong { .. } => Kind::AudioTooLong,
            Self::UnsupportedMedia(_) => Kind::UnsupportedMedia,
            Self::UndecodableAudio(_) => Kind::UndecodableAudio,
            Self::LanguageNotFound { .. } => Kind::LanguageNotFound,
            Self::Model(_) | Self::Pack(_) => Kind::Model,
            Self::Batch(_) | Self::Abandoned | Self::Tensor(_) => Kind::Internal,
        }
    }
}
