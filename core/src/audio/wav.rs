//! WAV headers as they are found: written before the length was known, or by a program that never came back.

use std::borrow::Cow;

/// "Until the end of the stream", as ffmpeg writes to a pipe and symphonia reads.
const UNKNOWN: u32 = u32::MAX;

/// The same file with lengths that symphonia can follow. A file whose header is right is returned as it is.
///
/// Mended: a RIFF length that is not the file's (0, 2^31, or the file was cut); with it a `data` length of 0,
/// the mark of a recorder that was stopped; and RF64/BW64, whose real lengths stand in their `ds64` chunk.
pub(super) fn mended(bytes: &[u8]) -> Cow<'_, [u8]> {
    let number = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let is_64 = !bytes.starts_with(b"RIFF");
    let fits = number(4).is_some_and(|n| n as usize == bytes.len().saturating_sub(8));
    let Some(data) = find_chunk(bytes, b"data").filter(|_| is_64 || !fits) else {
        return Cow::Borrowed(bytes);
    };
    let mut mended = bytes.to_vec();
    mended[..4].copy_from_slice(b"RIFF");
    mended[4..8].copy_from_slice(&UNKNOWN.to_le_bytes());
    if is_64 && let Some(ds64) = find_chunk(bytes, b"ds64") {
        // ds64: u64 RIFF length, u64 data length.
        let length = bytes.get(ds64 + 16..ds64 + 24).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
        mended.truncate(length.unwrap_or(u64::MAX).saturating_add(data as u64 + 8) as usize);
    }
    if is_64 || number(data + 4) == Some(0) {
        mended[data + 4..data + 8].copy_from_slice(&UNKNOWN.to_le_bytes());
    }
    Cow::Owned(mended)
}

/// Where the header of the first chunk `tag` stands.
fn find_chunk(bytes: &[u8], tag: &[u8; 4]) -> Option<usize> {
    let mut at = 12;
    loop {
        let header = bytes.get(at..at + 8)?;
        if header.starts_with(tag) {
            return Some(at);
        }
        let size = u32::from_le_bytes(header[4..].try_into().ok()?) as usize;
        at = at.checked_add(8)?.checked_add(size.checked_next_multiple_of(2)?)?;
    }
}
