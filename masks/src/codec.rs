//! How mask bits lie in a file: as they are, or through an entropy coder for files at rest.
//!
//! `rans` is a range asymmetric numeral system over bytes, order 0, one table per tensor. At the
//! densities that matter a mask byte carries 3 to 4 bits of information, so files shrink to about 40 %.
//! Four independent states take turns: byte `i` belongs to state `i mod 4`, which lets a processor work
//! on four symbols at a time. The stream of a tensor of `n` bytes:
//!
//! 1. 32 bytes: bit `s` (little-endian bit order) says that byte value `s` occurs;
//! 2. its frequency, u16 little-endian, for each value that occurs, ascending; they sum to 4096;
//! 3. four states, u32 little-endian;
//! 4. u16 little-endian words, in the order in which the decoder takes them.
//!
//! Decoding byte `i` with state `x`: the slot `x mod 4096` lies in the interval `[c, c + f)` of one value
//! (`c` the sum of the frequencies below it): that is the byte; then `x ← f ⌊x / 4096⌋ + slot − c`, and if
//! `x < 2¹⁶`, `x ← 2¹⁶ x + next word`. At the end every state is 2¹⁶ and no word is left.

use crate::{Error, Result};

/// Bits of precision of the frequencies.
const PRECISION: u32 = 12;
/// What the frequencies sum to.
const TOTAL: u32 = 1 << PRECISION;
/// States never fall below this between symbols; the encoder begins with it.
const LOWEST: u32 = 1 << 16;
/// Independent states.
const LANES: usize = 4;

/// The coder of the mask tensors of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Packed bits as they are, `(out, ceil(in / 8))`.
    Raw,
    /// The byte-wise entropy coder of this module.
    #[default]
    Rans,
}

impl Codec {
    /// The name in the metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Rans => "rans",
        }
    }

    /// The coder of that name.
    ///
    /// # Errors
    /// [`Error::UnknownCodec`] lists what there is.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "raw" => Ok(Self::Raw),
            "rans" => Ok(Self::Rans),
            _ => Err(Error::UnknownCodec { found: name.into(), known: "`raw` and `rans`" }),
        }
    }
}

/// Codes bytes; the same bytes always give the same stream.
pub(crate) fn encode(data: &[u8]) -> Vec<u8> {
    let frequencies = quantise(data);
    let starts = running_sum(&frequencies);
    let mut states = [LOWEST; LANES];
    let mut words: Vec<u16> = Vec::with_capacity(data.len() / 4);
    // Last in, first out: what is coded first is decoded last.
    for (i, &byte) in data.iter().enumerate().rev() {
        let (f, c) = (frequencies[byte as usize], starts[byte as usize]);
        let x = &mut states[i % LANES];
        if u64::from(*x) >= u64::from(f) << (32 - PRECISION) {
            words.push(*x as u16);
            *x >>= 16;
        }
        *x = ((*x / f) << PRECISION) + *x % f + c;
    }
    let mut stream = vec![0u8; 32];
    for (value, _) in frequencies.iter().enumerate().filter(|(_, f)| **f > 0) {
        stream[value / 8] |= 1 << (value % 8);
    }
    stream.extend(frequencies.iter().filter(|f| **f > 0).flat_map(|f| (*f as u16).to_le_bytes()));
    stream.extend(states.iter().flat_map(|x| x.to_le_bytes()));
    stream.extend(words.iter().rev().flat_map(|w| w.to_le_bytes()));
    stream
}

/// Decodes exactly `length` bytes; `name` is the tensor that errors speak of.
///
/// The caller bounds `length`: a stream of one certain symbol takes no space at all.
///
/// # Errors
/// [`Error::StreamTruncated`], [`Error::StreamTable`], [`Error::StreamEnd`].
pub(crate) fn decode(name: &str, stream: &[u8], length: usize) -> Result<Vec<u8>> {
    let short = |expected| Error::StreamTruncated { name: name.into(), expected, found: stream.len() };
    let Some((present, rest)) = stream.split_first_chunk::<32>() else { return Err(short(32)) };
    let values: Vec<u8> = (0..=255u8).filter(|v| present[usize::from(v / 8)] >> (v % 8) & 1 == 1).collect();
    let fixed = 32 + 2 * values.len() + 4 * LANES;
    if stream.len() < fixed {
        return Err(short(fixed));
    }
    let (table, rest) = rest.split_at(2 * values.len());
    let (states, words) = rest.split_at(4 * LANES);
    let slots = slot_table(name, &values, table)?;
    let mut states: [u32; LANES] = std::array::from_fn(|lane| {
        u32::from_le_bytes([
            states[4 * lane],
            states[4 * lane + 1],
            states[4 * lane + 2],
            states[4 * lane + 3],
        ])
    });

    let mut decoded = vec![0u8; length];
    let mut taken = 0;
    for group in decoded.chunks_mut(LANES) {
        // One group takes at most one word a lane; a window past the end reads zeros and is noticed below.
        let window = match words.get(taken..).and_then(|w| w.first_chunk::<8>()) {
            Some(window) => u64::from_le_bytes(*window),
            None => padded_window(words, taken),
        };
        let mut used = 0;
        for (byte, x) in group.iter_mut().zip(&mut states) {
            let slot = slots[(*x & (TOTAL - 1)) as usize];
            *byte = slot as u8;
            let next = ((slot >> 20) + 1).wrapping_mul(*x >> PRECISION).wrapping_add(slot >> 8 & 0xfff);
            // Without a branch: whether a word is due is a coin toss that no predictor learns.
            let due = u32::from(next < LOWEST);
            let word = u32::from((window >> (8 * used)) as u16);
            *x = (next << (16 * due)) | (word * due);
            used += 2 * due as usize;
        }
        taken += used;
    }
    if taken > words.len() {
        return Err(short(fixed + taken));
    }
    let left = words.len() - taken;
    let found = states.into_iter().find(|x| *x != LOWEST).unwrap_or(LOWEST);
    if left != 0 || found != LOWEST {
        return Err(Error::StreamEnd { name: name.into(), expected: LOWEST, found, left });
    }
    Ok(decoded)
}

fn padded_window(words: &[u8], taken: usize) -> u64 {
    let tail = words.get(taken..).unwrap_or(&[]);
    let mut window = [0u8; 8];
    window[..tail.len()].copy_from_slice(tail);
    u64::from_le_bytes(window)
}

/// For each slot: frequency − 1 (12 bits), slot − interval start (12 bits), byte value (8 bits).
fn slot_table(name: &str, values: &[u8], table: &[u8]) -> Result<Box<[u32; TOTAL as usize]>> {
    let bad = |found| Error::StreamTable { name: name.into(), expected: TOTAL, found };
    let mut slots = Box::new([0u32; TOTAL as usize]);
    let mut end = 0u32;
    for (&value, frequency) in values.iter().zip(table.chunks_exact(2)) {
        let frequency = u32::from(u16::from_le_bytes([frequency[0], frequency[1]]));
        let start = end;
        end += frequency;
        if frequency == 0 || end > TOTAL {
            return Err(bad(if frequency == 0 { 0 } else { end }));
        }
        for (offset, slot) in slots[start as usize..end as usize].iter_mut().enumerate() {
            *slot = (frequency - 1) << 20 | (offset as u32) << 8 | u32::from(value);
        }
    }
    if end == TOTAL { Ok(slots) } else { Err(bad(end)) }
}

/// Frequencies of the byte values, scaled to sum to [`TOTAL`]; at least 1 for a value that occurs.
fn quantise(data: &[u8]) -> [u32; 256] {
    let mut counts = [0u64; 256];
    for &byte in data {
        counts[usize::from(byte)] += 1;
    }
    let all = (data.len() as u64).max(1);
    let mut frequencies = counts.map(|n| if n == 0 { 0 } else { (n * u64::from(TOTAL) / all).max(1) as u32 });
    // Rounding leaves a surplus or a deficit; the commonest value bears it at the least cost.
    loop {
        let sum: u32 = frequencies.iter().sum();
        let commonest = (0..256).max_by_key(|&value| (frequencies[value], 256 - value)).unwrap_or(0);
        match sum.cmp(&TOTAL) {
            std::cmp::Ordering::Equal => return frequencies,
            std::cmp::Ordering::Less => frequencies[commonest] += TOTAL - sum,
            std::cmp::Ordering::Greater => frequencies[commonest] -= 1,
        }
    }
}

fn running_sum(frequencies: &[u32; 256]) -> [u32; 256] {
    let mut sum = 0;
    frequencies.map(|f| {
        sum += f;
        sum - f
    })
}
