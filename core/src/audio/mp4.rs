//! The one thing of MP4 that symphonia reads and does not pass on: how many leading frames are the encoder's delay.

/// The start of the first audio track's first edit (ISO/IEC 14496-12, 8.6.6), in frames (the time scale of audio is its rate): what comes
/// before is the AAC encoder's delay, 1024 or 2112 frames that would shift every word.
pub(super) fn delay(bytes: &[u8]) -> u64 {
    let audio = child(bytes, b"moov").and_then(|moov| {
        children(moov).filter(|(kind, _)| *kind == b"trak").map(|(_, trak)| trak).find(|trak| {
            // Full box header (4), pre_defined (4), handler_type.
            let handler = child(trak, b"mdia").and_then(|mdia| child(mdia, b"hdlr"));
            handler.and_then(|h| h.get(8..12)) == Some(b"soun")
        })
    });
    let edits = audio.and_then(|trak| child(trak, b"edts")).and_then(|edts| child(edts, b"elst"));
    edits.and_then(first_edit).unwrap_or(0)
}

/// Version 0 has entries of u32 duration, i32 start, u32 rate; version 1 of u64, i64, u32. Start −1 is a pause.
fn first_edit(elst: &[u8]) -> Option<u64> {
    let (wide, entries) = (elst.first()? == &1, elst.get(8..)?);
    entries.chunks_exact(if wide { 20 } else { 12 }).take(8).find_map(|entry| {
        let start = if wide {
            i64::from_be_bytes(entry[8..16].try_into().ok()?)
        } else {
            i64::from(i32::from_be_bytes(entry[4..8].try_into().ok()?))
        };
        u64::try_from(start).ok()
    })
}

fn child<'a>(bytes: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    children(bytes).find(|(found, _)| *found == kind).map(|(_, content)| content)
}

/// The boxes in `bytes`: kind and content.
fn children(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (size, rest) = bytes.split_first_chunk::<4>()?;
        let (kind, rest) = rest.split_first_chunk::<4>()?;
        let (header, size) = match u32::from_be_bytes(*size) {
            0 => (8, bytes.len()),
            1 => (16, usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?),
            n => (8, n as usize),
        };
        let content = bytes.get(header..size.min(bytes.len()))?;
        bytes = &bytes[size.min(bytes.len())..];
        Some((kind, content))
    })
}
