//! Everything that can be wrong with a pack; each message names the tensor and both numbers.

use std::path::{Path, PathBuf};

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a pack, a mask or a folder of packs was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // ── The file ────────────────────────────────────────────────────────────────────────────────
    /// The file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something is wrong with this file; the cause says what.
    #[error("{path}: {cause}", path = path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: Box<Error>,
    },
    /// A folder, a pipe, or more bytes than any pack has.
    #[error("a pack is a file of at most {limit} bytes, this has {found}")]
    FileSize {
        /// The most we read.
        limit: u64,
        /// What is there (0 for something that is no file).
        found: u64,
    },
    /// Two packs answer to one name.
    #[error(
        "language `{name}` is claimed by both {first} and {second}: remove one, or change its `language` or `aliases`",
        first = first.display(), second = second.display()
    )]
    DuplicateLanguage {
        /// The id or alias.
        name: String,
        /// The first file, in order of names.
        first: PathBuf,
        /// The second file.
        second: PathBuf,
    },

    // ── The container ───────────────────────────────────────────────────────────────────────────
    /// The file ends before its header or its tensors do.
    #[error("the file ends after {found} bytes, {expected} were announced: copy it again")]
    Truncated {
        /// Bytes announced.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// Bytes after the last tensor.
    #[error("{extra} bytes follow the last tensor, which ends at byte {end}")]
    TrailingBytes {
        /// Where the last tensor ends.
        end: u64,
        /// Bytes after it.
        extra: u64,
    },
    /// A header no pack could have.
    #[error("the header claims {found} bytes, at most {limit} are allowed: this is no pack")]
    HeaderSize {
        /// Bytes claimed.
        found: u64,
        /// The most we read.
        limit: u64,
    },
    /// The header is no JSON of the safetensors form.
    #[error("the header is not safetensors JSON: {0}")]
    HeaderJson(String),
    /// A name occurs twice.
    #[error("`{name}` occurs twice in the header")]
    DuplicateName {
        /// The tensor or metadata key.
        name: String,
    },
    /// Bytes between tensors that belong to none, or to two.
    #[error("tensor `{name}` begins at byte {found} of the data, expected {expected}: a hole or an overlap")]
    Hole {
        /// The tensor.
        name: String,
        /// Where the tensor before it ends.
        expected: usize,
        /// Where it says it begins.
        found: usize,
    },
    /// The bytes of a tensor are not what its shape needs.
    #[error("tensor `{name}` has {found} bytes, its shape {shape:?} needs {expected}")]
    TensorSize {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Bytes the shape needs (saturating).
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// The safetensors crate refused what our own checks let through.
    #[error("not a safetensors file: {0}")]
    Container(String),

    // ── The metadata ────────────────────────────────────────────────────────────────────────────
    /// `format` is not ours.
    #[error("`format` is `{found}`, expected `{expected}`", found = found.as_deref().unwrap_or("missing"))]
    Format {
        /// The format this program reads.
        expected: &'static str,
        /// What the file says.
        found: Option<String>,
    },
    /// A required key is absent.
    #[error("metadata `{key}` is missing: {mend}")]
    MissingKey {
        /// The key.
        key: &'static str,
        /// What to write there.
        mend: &'static str,
    },
    /// A key whose value cannot be read.
    #[error("metadata `{key}` is `{found}`, expected {expected}")]
    BadValue {
        /// The key.
        key: &'static str,
        /// What the file says, shortened.
        found: String,
        /// What could be there.
        expected: &'static str,
    },
    /// `codec` names a coder that this program lacks.
    #[error("codec `{found}` is unknown: this program reads {known}")]
    UnknownCodec {
        /// What the file says.
        found: String,
        /// What there is.
        known: &'static str,
    },
    /// The vocabulary holds a symbol twice.
    #[error("vocabulary entries {first} and {second} are both `{symbol}`")]
    DuplicateSymbol {
        /// The symbol.
        symbol: String,
        /// Its first index.
        first: usize,
        /// Its second index.
        second: usize,
    },
    /// The word separator is not a symbol.
    #[error(
        "word_separator `{separator}` is none of the {symbols} vocabulary symbols: name one, or leave it empty for scripts without spaces"
    )]
    Separator {
        /// The separator.
        separator: String,
        /// Symbols there are.
        symbols: usize,
    },
    /// The metadata was changed after the pack was sealed.
    #[error("the metadata has checksum {found}, `checksums` says {expected}: copy the file again")]
    MetadataChecksum {
        /// What the file says.
        expected: String,
        /// What was computed.
        found: String,
    },

    // ── The tensors ─────────────────────────────────────────────────────────────────────────────
    /// A tensor that belongs in no pack.
    #[error("tensor `{name}` is unknown: a pack holds `mask.<weight name>`, `head.weight` and `head.bias`")]
    UnknownTensor {
        /// The tensor.
        name: String,
    },
    /// A tensor that every pack has.
    #[error("tensor `{name}` is missing")]
    MissingTensor {
        /// The tensor.
        name: String,
    },
    /// No mask at all.
    #[error("the pack has no `mask.*` tensor: a pack that keeps every weight has masks of ones")]
    NoMasks,
    /// A tensor of another element type.
    #[error("tensor `{name}` is {found}, expected {expected}")]
    Dtype {
        /// The tensor.
        name: String,
        /// The type that fits.
        expected: &'static str,
        /// The type in the file.
        found: String,
    },
    /// A tensor has another shape than its place demands.
    #[error("tensor `{name}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// The shape that fits.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// The head and the vocabulary disagree.
    #[error("tensor `{name}` has {found} rows, the vocabulary {expected} symbols")]
    VocabSize {
        /// The tensor.
        name: String,
        /// Symbols in the vocabulary.
        expected: usize,
        /// Rows of the tensor.
        found: usize,
    },
    /// NaN or infinity in the head.
    #[error("tensor `{name}` holds {value} at index {index}: train the head again, or mend the export")]
    NonFinite {
        /// The tensor.
        name: String,
        /// The first such element.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A bit past the last column is set.
    #[error("mask `{name}` sets a bit past column {cols} in row {row}: unused tail bits must be 0")]
    TailBits {
        /// The mask.
        name: String,
        /// Its first offending row.
        row: usize,
        /// Columns the mask covers.
        cols: usize,
    },
    /// A tensor was changed after the pack was sealed.
    #[error("tensor `{name}` has checksum {found}, `checksums` says {expected}: copy the file again")]
    Checksum {
        /// The tensor.
        name: String,
        /// What the file says.
        expected: String,
        /// What was computed.
        found: String,
    },
    /// `density` is not the fraction of bits set.
    #[error("metadata `density` is {claimed}, the masks keep {real} of their weights")]
    Density {
        /// What the metadata says.
        claimed: f64,
        /// What the bits say.
        real: f64,
    },

    // ── The entropy coder ───────────────────────────────────────────────────────────────────────
    /// A stream that ends too early.
    #[error("coded tensor `{name}` ends after {found} bytes, at least {expected} are needed")]
    StreamTruncated {
        /// The tensor.
        name: String,
        /// Bytes needed to go on.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// Frequencies that are no distribution.
    #[error("coded tensor `{name}` has frequencies that sum to {found}, expected {expected}")]
    StreamTable {
        /// The tensor.
        name: String,
        /// The sum of a valid table.
        expected: u32,
        /// The sum in the stream; 0 when a listed symbol has frequency 0.
        found: u32,
    },
    /// The decoder did not come to rest where the encoder began.
    #[error(
        "coded tensor `{name}` ends in state {found:#x} with {left} bytes left, expected {expected:#x} with 0: the stream is damaged"
    )]
    StreamEnd {
        /// The tensor.
        name: String,
        /// The encoder's first state.
        expected: u32,
        /// The first decoder state that differs, else the expected one.
        found: u32,
        /// Bytes that nothing read.
        left: usize,
    },
    /// More decoded bytes than a file of this size may ask for.
    #[error(
        "tensor `{name}` would bring the decoded masks to {claimed} bytes, a file of this size may hold {limit}"
    )]
    TooLarge {
        /// The tensor.
        name: String,
        /// Decoded bytes claimed so far (saturating).
        claimed: usize,
        /// The most we allocate for this file.
        limit: usize,
    },

    /// Two packs whose masks cover no weight together.
    #[error("packs `{first}` and `{second}` cover no weight together: they belong to different backbones")]
    NothingInCommon {
        /// The first pack.
        first: String,
        /// The second pack.
        second: String,
    },

    // ── The backbone ────────────────────────────────────────────────────────────────────────────
    /// The pack was learnt on another backbone.
    #[error(
        "pack `{language}` was made for backbone {expected}, this one is {found}: use the backbone it was trained on"
    )]
    WrongBackbone {
        /// The pack.
        language: String,
        /// The fingerprint in the pack.
        expected: String,
        /// The fingerprint of the backbone at hand.
        found: String,
    },
    /// A mask for a weight that the backbone lacks.
    #[error(
        "mask `{name}` covers a weight that this backbone does not have (it has {weights} maskable ones)"
    )]
    NotInBackbone {
        /// The mask.
        name: String,
        /// Maskable weights of the backbone.
        weights: usize,
    },
}

impl Error {
    /// This error, said of a file.
    pub fn in_file(self, path: &Path) -> Self {
        match self {
            already @ (Self::Io { .. } | Self::InFile { .. }) => already,
            cause => Self::InFile { path: path.into(), cause: Box::new(cause) },
        }
    }

    /// What is wrong, without the file it is wrong in.
    pub fn cause(&self) -> &Self {
        match self {
            Self::InFile { cause, .. } => cause.cause(),
            other => other,
        }
    }
}
