//! PCM of every width, with a header (as hound writes it, as programs leave it) and without.

use crate::{mixed, refused, wav, wav16};
use s3router_core::audio::{Channels, Encoding, Limits, RawFormat, decode};

const RAMP: [i16; 6] = [0, 256, -256, 16384, -32768, 32512];

fn close(got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len());
    let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "off by {worst}: {got:?}, {want:?}");
}

fn ramp() -> Vec<f32> {
    RAMP.iter().map(|&s| f32::from(s) / 32768.0).collect()
}

/// hound writes plain headers up to 16 bits and extensible ones above, each its own way.
#[test]
fn every_wav_width_that_hound_writes_reads_back() {
    use hound::{SampleFormat, WavSpec, WavWriter};
    for (bits, sample_format) in
        [8, 16, 24, 32].map(|b| (b, SampleFormat::Int)).into_iter().chain([(32, SampleFormat::Float)])
    {
        let spec = WavSpec { channels: 1, sample_rate: 16_000, bits_per_sample: bits, sample_format };
        let mut file = std::io::Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut file, spec).unwrap();
        for &s in &RAMP {
            match sample_format {
                SampleFormat::Int => writer.write_sample((i64::from(s) << bits >> 16) as i32).unwrap(),
                SampleFormat::Float => writer.write_sample(f32::from(s) / 32768.0).unwrap(),
            }
        }
        writer.finalize().unwrap();
        close(&mixed(&file.into_inner()).unwrap(), &ramp(), if bits == 8 { 1.0 / 128.0 } else { 0.0 });
    }
}

#[test]
fn doubles_and_companded_wavs_are_read() {
    let doubles: Vec<u8> = ramp().iter().flat_map(|&x| f64::from(x).to_le_bytes()).collect();
    close(&mixed(&wav(3, 1, 16_000, 64, &doubles)).unwrap(), &ramp(), 0.0);
    // G.711's extremes: ±32124 for µ-law (ITU table 2a), ±32256 for A-law (table 1a).
    close(
        &mixed(&wav(7, 1, 16_000, 8, &[0x80, 0x00])).unwrap(),
        &[32124.0 / 32768.0, -32124.0 / 32768.0],
        0.0,
    );
    close(
        &mixed(&wav(6, 1, 16_000, 8, &[0xaa, 0x2a])).unwrap(),
        &[32256.0 / 32768.0, -32256.0 / 32768.0],
        0.0,
    );
}

#[test]
fn a_wav_whose_lengths_were_never_filled_in_is_read_to_its_end() {
    let whole = wav16(&RAMP);
    let data = whole.len() - 2 * RAMP.len() - 4;
    for (riff_length, data_length) in
        [(u32::MAX, u32::MAX), (0, 0), (0x7fff_ffff, 0x7fff_ffdb), (36, 0), (u32::MAX, 0), (0, u32::MAX)]
    {
        let mut file = whole.clone();
        file[4..8].copy_from_slice(&riff_length.to_le_bytes());
        file[data..data + 4].copy_from_slice(&data_length.to_le_bytes());
        let got = mixed(&file).unwrap_or_else(|e| panic!("{riff_length:x}, {data_length:x}: {e}"));
        close(&got, &ramp(), 0.0);
    }
}

#[test]
fn rf64_takes_its_length_from_ds64() {
    let plain = wav16(&RAMP);
    let mut file = b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0".to_vec();
    file.extend(0u64.to_le_bytes());
    file.extend(12u64.to_le_bytes());
    file.extend([0; 12]);
    file.extend(&plain[12..plain.len() - 16]);
    file.extend(u32::MAX.to_le_bytes());
    file.extend(&plain[plain.len() - 12..]);
    file.extend(b"LIST\x04\0\0\0INFO");
    close(&mixed(&file).unwrap(), &ramp(), 0.0);
}

#[test]
fn a_wav_cut_short_gives_what_arrived() {
    let file = wav16(&[1000; 800]);
    let got = mixed(&file[..file.len() - 601]).unwrap();
    assert_eq!(got.len(), 499, "whole samples only");
}

#[test]
fn chunks_before_and_after_the_samples_are_stepped_over() {
    let plain = wav16(&RAMP);
    let mut file = plain[..36].to_vec();
    file.extend(b"LIST\x05\0\0\0INFOx\0");
    file.extend(&plain[36..]);
    file.extend(b"id3 \x03\0\0\0abc\0");
    let length = (file.len() - 8) as u32;
    file[4..8].copy_from_slice(&length.to_le_bytes());
    close(&mixed(&file).unwrap(), &ramp(), 0.0);
}

#[test]
fn headerless_pcm_is_read_in_every_encoding() {
    let bytes = |encoding: Encoding| -> Vec<u8> {
        RAMP.iter()
            .flat_map(|&s| {
                let wide = i32::from(s) << 16;
                match encoding {
                    Encoding::PcmS16le => s.to_le_bytes().to_vec(),
                    Encoding::PcmS16be => s.to_be_bytes().to_vec(),
                    Encoding::PcmF32le => (f32::from(s) / 32768.0).to_le_bytes().to_vec(),
                    Encoding::PcmF64le => (f64::from(s) / 32768.0).to_le_bytes().to_vec(),
                    Encoding::PcmS8 => vec![(s >> 8) as u8],
                    Encoding::PcmU8 => vec![((s >> 8) + 128) as u8],
                    Encoding::PcmS24le => wide.to_le_bytes()[1..].to_vec(),
                    Encoding::PcmS32le => wide.to_le_bytes().to_vec(),
                    other => panic!("{other} is not linear"),
                }
            })
            .collect()
    };
    let companded = [Encoding::Mulaw, Encoding::Alaw];
    for &encoding in Encoding::ALL.iter().filter(|e| !companded.contains(e)) {
        let format = RawFormat { encoding, rate_hz: 16_000, channels: 1 };
        let mut body = bytes(encoding);
        assert_eq!(body.len(), RAMP.len() * encoding.bytes());
        if encoding.bytes() > 1 {
            body.push(7); // Part of a sample: left out.
        }
        let got = decode(&body, Some(&format), Channels::Mix, &Limits::default()).unwrap();
        close(&got[0], &ramp(), 0.0);
    }
    for (encoding, loudest) in companded.into_iter().zip([[0x80, 0x00], [0xaa, 0x2a]]) {
        let format = RawFormat { encoding, rate_hz: 16_000, channels: 2 };
        let got = decode(&loudest, Some(&format), Channels::Split, &Limits::default()).unwrap();
        assert!(got[0][0] > 0.97 && got[1][0] < -0.97, "{encoding}: {got:?}");
    }
}

#[test]
fn encodings_go_by_the_names_people_use() {
    for (name, encoding) in [
        ("linear16", Encoding::PcmS16le),
        ("PCM_S16LE", Encoding::PcmS16le),
        ("s16le", Encoding::PcmS16le),
        ("pcm_f32le", Encoding::PcmF32le),
        ("mulaw", Encoding::Mulaw),
        ("g711_ulaw", Encoding::Mulaw),
        ("alaw", Encoding::Alaw),
    ] {
        assert_eq!(name.parse::<Encoding>().unwrap(), encoding, "{name}");
    }
    for &encoding in Encoding::ALL {
        assert_eq!(encoding.to_string().parse::<Encoding>().unwrap(), encoding);
    }
    let message = refused!("mp7".parse::<Encoding>(), InvalidRequest);
    assert!(
        message.contains("mp7") && message.contains("pcm_s16le") && message.contains("alaw"),
        "{message}"
    );
}

#[test]
fn a_header_wins_over_the_description_of_headerless_pcm() {
    let format = RawFormat { encoding: Encoding::PcmF32le, rate_hz: 8_000, channels: 2 };
    let got = decode(&wav16(&RAMP), Some(&format), Channels::Mix, &Limits::default()).unwrap();
    close(&got[0], &ramp(), 0.0);
    // MPEG's frame sync is eleven bits: loud µ-law looks like it, so here the description wins.
    let format = RawFormat { encoding: Encoding::Mulaw, rate_hz: 16_000, channels: 1 };
    let got = decode(&[0xff, 0xfb, 0x90, 0x00], Some(&format), Channels::Mix, &Limits::default()).unwrap();
    assert_eq!(got[0].len(), 4);
}

#[test]
fn silence_one_sample_and_many_channels_are_audio() {
    assert_eq!(mixed(&wav16(&[0; 16_000])).unwrap(), vec![0.0; 16_000]);
    close(&mixed(&wav16(&[16384])).unwrap(), &[0.5], 0.0);
    let row: Vec<u8> = (0..200i16).flat_map(|c| (c * 100).to_le_bytes()).collect();
    let got = mixed(&wav(1, 200, 16_000, 16, &row.repeat(3))).unwrap();
    close(&got, &[9950.0 / 32768.0; 3], 1e-6);
}
