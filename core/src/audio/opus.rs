//! Opus as one of symphonia's decoders, which has none of its own: `opus-pure` inside, a Rust port that is held
//! byte-exact to libopus and runs at its speed.

use opus_pure::OpusDecoder;
use symphonia::core::audio::{
    AsGenericAudioBufferRef, Audio, AudioBuffer, AudioMut, AudioSpec, GenericAudioBufferRef,
};
use symphonia::core::codecs::CodecInfo;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{
    AudioCodecParameters, AudioDecoder, AudioDecoderOptions, FinalizeResult,
};
use symphonia::core::codecs::registry::{RegisterableAudioDecoder, SupportedAudioCodec};
use symphonia::core::errors::{Error, Result, decode_error, unsupported_error};
use symphonia::core::packet::PacketRef;

/// Opus counts everything at 48 kHz, whatever was encoded.
const RATE_HZ: u32 = 48_000;
/// The longest packet: 120 ms.
const MAX_FRAMES: usize = 5760;

const SUPPORTED: &[SupportedAudioCodec] = &[SupportedAudioCodec {
    id: CODEC_ID_OPUS,
    info: CodecInfo { short_name: "opus", long_name: "Opus", profiles: &[] },
}];

/// Opus, mono or stereo (channel mapping family 0: what browsers and phones record).
pub(super) struct Opus {
    params: AudioCodecParameters,
    decoder: OpusDecoder,
    interleaved: Vec<f32>,
    buffer: AudioBuffer<f32>,
    /// Decoded frames still to drop: the encoder's pre-skip.
    skip: usize,
}

impl Opus {
    fn new(params: &AudioCodecParameters) -> Result<Self> {
        let Some(layout) = params.channels.clone().filter(|c| (1..=2).contains(&c.count())) else {
            return unsupported_error("opus with more than two channels");
        };
        let channels = layout.count();
        let decoder =
            OpusDecoder::new(RATE_HZ as i32, channels).map_err(|_| Error::Unsupported("opus: channels"))?;
        // OpusHead (RFC 7845, 5.1), in every container: "OpusHead", version, channels, u16 pre-skip.
        let skip = match params.extra_data.as_deref() {
            Some([b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', _, _, low, high, ..]) => {
                u16::from_le_bytes([*low, *high])
            }
            _ => 0,
        };
        Ok(Self {
            params: params.clone(),
            decoder,
            interleaved: vec![0.0; MAX_FRAMES * channels],
            buffer: AudioBuffer::new(AudioSpec::new(RATE_HZ, layout), MAX_FRAMES),
            skip: usize::from(skip),
        })
    }
}

impl AudioDecoder for Opus {
    fn reset(&mut self) {
        // It fails for a state that `new` refuses, and `new` made this one.
        let _ = self.decoder.reset_state();
    }

    fn codec_info(&self) -> &CodecInfo {
        &SUPPORTED[0].info
    }

    fn codec_params(&self) -> &AudioCodecParameters {
        &self.params
    }

    fn decode_ref(&mut self, packet: &PacketRef<'_>) -> Result<GenericAudioBufferRef<'_>> {
        self.buffer.clear();
        if packet.data.is_empty() {
            // To the decoder this would mean a lost packet, to be guessed.
            return decode_error("opus: empty packet");
        }
        let Ok(frames) = self.decoder.decode(packet.data, MAX_FRAMES, &mut self.interleaved) else {
            return decode_error("opus: malformed packet");
        };
        let samples = &self.interleaved[..frames * self.buffer.spec().channels().count()];
        self.buffer.render_uninit(Some(frames));
        self.buffer.copy_from_slice_interleaved(&samples);
        let skipped = self.skip.min(frames);
        self.skip -= skipped;
        // The last page of an Ogg stream, or the last block of a WebM, cuts the padding at the end.
        let padding = usize::try_from(packet.trim_end.get()).unwrap_or(frames).min(frames - skipped);
        self.buffer.trim(skipped, padding);
        Ok(self.buffer.as_generic_audio_buffer_ref())
    }

    fn finalize(&mut self) -> FinalizeResult {
        FinalizeResult::default()
    }

    fn last_decoded(&self) -> GenericAudioBufferRef<'_> {
        self.buffer.as_generic_audio_buffer_ref()
    }
}

impl RegisterableAudioDecoder for Opus {
    fn try_registry_new(
        params: &AudioCodecParameters,
        _: &AudioDecoderOptions,
    ) -> Result<Box<dyn AudioDecoder>> {
        Ok(Box::new(Self::new(params)?))
    }

    fn supported_codecs() -> &'static [SupportedAudioCodec] {
        SUPPORTED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use symphonia::core::audio::Channels;
    use symphonia::core::units::{Duration, Timestamp};

    /// What a container's checksum would have caught, the decoder must survive by itself.
    #[test]
    fn hostile_packets_are_answered_with_finite_samples_of_120_ms_at_most() {
        let mut random = rand::rngs::StdRng::seed_from_u64(6716);
        for channels in [1, 2] {
            let mut params = AudioCodecParameters::new();
            params.for_codec(CODEC_ID_OPUS).with_channels(Channels::Discrete(channels));
            let mut opus = Opus::new(&params).unwrap();
            let mut decoded = 0;
            for _ in 0..2_000 {
                let packet: Vec<u8> = (0..random.random_range(0..200)).map(|_| random.random()).collect();
                let packet = PacketRef::new(0, Timestamp::ZERO, Duration::ZERO, &packet);
                let mut samples = Vec::new();
                if let Ok(block) = opus.decode_ref(&packet) {
                    block.copy_to_vec_interleaved::<f32>(&mut samples);
                    decoded += 1;
                }
                assert!(samples.len() <= MAX_FRAMES * usize::from(channels));
                assert!(samples.iter().all(|x| x.is_finite()));
            }
            assert!(decoded > 500, "{decoded} of 2000");
        }
    }
}
