//! What a body is, from its first bytes; names and content types are not asked.

use crate::{Error, Result};

/// What can be decoded, for error messages.
pub(super) const SUPPORTED: &str = "WAV, FLAC, MP3, OGG (Vorbis, Opus, FLAC), WebM/MKV, M4A/MP4, AAC, AIFF, CAF, or \
     headerless PCM with `encoding` and `rate`";

/// A container with audio that can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Container {
    /// RIFF/WAVE, also RF64 and BW64.
    Wav,
    /// Native FLAC.
    Flac,
    /// MPEG audio layer 1, 2 or 3, with or without ID3.
    Mp3,
    /// AAC frames with ADTS headers.
    Adts,
    /// Ogg with Vorbis, Opus or FLAC.
    Ogg,
    /// WebM and Matroska.
    Matroska,
    /// MP4, M4A, MOV.
    Mp4,
    /// AIFF and AIFF-C.
    Aiff,
    /// Apple's Core Audio Format.
    Caf,
}

impl Container {
    /// Whether headerless PCM could not start like this by chance (11 bits of frame sync could).
    pub(super) fn has_clear_header(self) -> bool {
        !matches!(self, Self::Mp3 | Self::Adts)
    }

    /// Its name in error messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wav => "WAV",
            Self::Flac => "FLAC",
            Self::Mp3 => "MP3",
            Self::Adts => "AAC",
            Self::Ogg => "OGG",
            Self::Matroska => "WebM/MKV",
            Self::Mp4 => "MP4/M4A",
            Self::Aiff => "AIFF",
            Self::Caf => "CAF",
        }
    }
}

/// Where the audio begins: past ID3v2 tags, which may precede any stream.
pub(super) fn skip_tags(mut bytes: &[u8]) -> &[u8] {
    while let [b'I', b'D', b'3', _, _, flags, a, b, c, d, ..] = *bytes {
        let size = [a, b, c, d].iter().fold(0, |n, &x| n << 7 | usize::from(x & 0x7f));
        let footer = if flags & 0x10 != 0 { 10 } else { 0 };
        bytes = bytes.get(10 + size + footer..).unwrap_or_default();
    }
    bytes
}

/// The container that `bytes` start with.
///
/// # Errors
/// [`Error::UnsupportedMedia`] naming what the bytes look like, and what is supported.
pub fn sniff(bytes: &[u8]) -> Result<Container> {
    let audio = skip_tags(bytes);
    let at = |offset: usize, magic: &[u8]| audio.get(offset..).is_some_and(|b| b.starts_with(magic));
    let starts = |magic: &[u8]| at(0, magic);
    Ok(match audio {
        _ if (starts(b"RIFF") || starts(b"RF64") || starts(b"BW64")) && at(8, b"WAVE") => Container::Wav,
        _ if starts(b"fLaC") => Container::Flac,
        _ if starts(b"OggS") => Container::Ogg,
        _ if starts(&[0x1a, 0x45, 0xdf, 0xa3]) => Container::Matroska,
        _ if starts(b"FORM") && (at(8, b"AIFF") || at(8, b"AIFC")) => Container::Aiff,
        _ if starts(b"caff") => Container::Caf,
        _ if [b"ftyp", b"moov", b"moof", b"styp"].iter().any(|kind| at(4, *kind)) => Container::Mp4,
        // Frame sync: 12 bits and layer 0 for ADTS, 11 bits with a valid version, layer, rate for MPEG.
        [0xff, b, ..] if b & 0xf6 == 0xf0 => Container::Adts,
        [0xff, b, c, ..]
            if b & 0xe0 == 0xe0
                && b & 0x18 != 0x08
                && b & 0x06 != 0
                && c & 0xf0 != 0xf0
                && c & 0x0c != 0x0c =>
        {
            Container::Mp3
        }
        _ => return Err(Error::UnsupportedMedia(refusal(bytes))),
    })
}

/// One line that tells the sender what was received instead of audio.
fn refusal(bytes: &[u8]) -> String {
    let text = std::str::from_utf8(&bytes[..bytes.len().min(512)]);
    let text =
        text.or_else(|e| std::str::from_utf8(&bytes[..e.valid_up_to()])).unwrap_or_default().trim_start();
    let looks_like = match bytes {
        [b'P', b'K', 3, 4, ..] => "a zip archive: send one audio file as the body",
        [0x1f, 0x8b, ..] => "gzip: send the audio uncompressed",
        [b'%', b'P', b'D', b'F', ..] => "a PDF",
        [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, 0xff, ..] | [b'G', b'I', b'F', b'8', ..] => "an image",
        [0x30, 0x26, 0xb2, 0x75, ..] => "WMA: convert it first, say to FLAC",
        [b'#', b'!', b'A', b'M', b'R', ..] => "AMR: convert it first, say to FLAC",
        [b'.', b's', b'n', b'd', ..] => "Sun AU: convert it first, say to WAV",
        [b'R', b'I', b'F', b'F', ..] => "RIFF without WAVE (AVI or WebP?)",
        [b'I', b'D', b'3', ..] => "an ID3 tag with no audio after it",
        _ if text.starts_with("--") => {
            "multipart without its content type: send the boundary in Content-Type"
        }
        _ if text.starts_with('{') || text.starts_with('[') => "JSON: send the audio itself as the body",
        _ if text.starts_with("data:") => "a data: URL: send the decoded bytes",
        _ if text.starts_with('<') => "HTML or XML: was this a page instead of the audio?",
        _ if text.len() >= 16.min(bytes.len())
            && text.chars().all(|c| !c.is_control() || c.is_whitespace()) =>
        {
            "text: send the bytes of the audio (curl: --data-binary @FILE)"
        }
        _ => "nothing known",
    };
    format!("the body looks like {looks_like}; supported: {SUPPORTED}")
}
