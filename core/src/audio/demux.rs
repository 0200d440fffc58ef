//! Containers and codecs, through symphonia's readers and decoders and our [`Opus`](super::opus).

use super::intake::Intake;
use super::opus::Opus;
use super::sniff::{SUPPORTED, skip_tags};
use super::{Container, mp4, raw, wav};
use crate::{Error, Result};
use std::io::{Cursor, Read};
use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioDecoder;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::registry::CodecRegistry;
use symphonia::core::errors::{Error as Broken, Result as Outcome};
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, ReadOnlySource};
use symphonia::default::formats as readers;

static CODECS: LazyLock<CodecRegistry> = LazyLock::new(|| {
    let mut codecs = CodecRegistry::new();
    symphonia::default::register_enabled_codecs(&mut codecs);
    codecs.register_audio_decoder::<Opus>();
    codecs
});

/// Decodes the first audio track of `bytes` into the intake that `open(rate_hz, channels)` makes.
///
/// A reader may still hit an assertion on a file made to be hostile (symphonia's MP4 reader does, on an absurd
/// offset); that is the file's failure, so the fence answers as for any other broken file.
pub(super) fn decode(
    bytes: &[u8],
    container: Container,
    open: impl Fn(u32, usize) -> Result<Intake>,
) -> Result<Vec<Vec<f32>>> {
    fenced(container, || decode_unfenced(bytes, container, open))
}

fn fenced<T>(container: Container, work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let name = container.name();
        Err(Error::UndecodableAudio(format!("this {name} is broken: its reader met an impossible value")))
    })
}

fn decode_unfenced(
    bytes: &[u8],
    container: Container,
    open: impl Fn(u32, usize) -> Result<Intake>,
) -> Result<Vec<Vec<f32>>> {
    let bytes = skip_tags(bytes);
    if container == Container::Wav
        && let Some((format, samples)) = wav::pcm(bytes)
    {
        return raw::samples(samples, &format, open);
    }
    let source: Box<dyn MediaSource + '_> = match container {
        // Told the length, the reader refuses a file that was cut; as a stream it reads what there is.
        Container::Matroska => Box::new(ReadOnlySource::new(bytes)),
        _ => Box::new(Cursor::new(bytes)),
    };
    let delay = if container == Container::Mp4 { mp4::delay(bytes) } else { 0 };
    run(source, container, delay, open, |_| {})
}

/// Decodes what `source` yields, handing on the mixed samples of each packet; returns the rest of them.
pub(super) fn decode_live(
    source: impl Read + Send + Sync,
    container: Container,
    open: impl Fn(u32, usize) -> Result<Intake>,
    mut each: impl FnMut(Vec<f32>),
) -> Result<Vec<f32>> {
    fenced(container, || {
        let source = Box::new(ReadOnlySource::new(source));
        let tail = match run(source, container, 0, open, |intake| each(intake.drain())) {
            // Nothing, or a header alone: a stream may end before it began.
            Err(Error::EmptyAudio) => return Ok(Vec::new()),
            other => other?,
        };
        Ok(tail.into_iter().next().unwrap_or_default())
    })
}

/// Packets to samples, from beginning to end.
fn run(
    source: Box<dyn MediaSource + '_>,
    container: Container,
    delay: u64,
    open: impl Fn(u32, usize) -> Result<Intake>,
    mut each: impl FnMut(&mut Intake),
) -> Result<Vec<Vec<f32>>> {
    let broken = |e: Broken| refuse(container, &e);
    let mut reader = read(source, container).map_err(broken)?;
    let mut clip =
        Clip { container, delay, track: 0, decoder: None, intake: None, last_frames: 0, good: 0, bad: 0 };
    clip.choose_track(reader.as_ref())?;
    loop {
        match reader.next_packet() {
            Ok(Some(packet)) if packet.track_id == clip.track => {
                clip.take(&packet, &open)?;
                clip.intake.as_mut().map(&mut each);
            }
            Ok(Some(_)) => {}
            Ok(None) => break,
            // Another stream follows in the same file (chained Ogg).
            Err(Broken::ResetRequired) => clip.choose_track(reader.as_ref())?,
            Err(Broken::IoError(e)) if e.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(e) => return Err(broken(e)),
        }
    }
    clip.finish()
}

fn read<'s>(source: Box<dyn MediaSource + 's>, container: Container) -> Outcome<Box<dyn FormatReader + 's>> {
    let stream = MediaSourceStream::new(source, Default::default());
    let options = FormatOptions::default();
    Ok(match container {
        Container::Wav => Box::new(readers::WavReader::try_new(stream, options)?),
        Container::Flac => Box::new(readers::FlacReader::try_new(stream, options)?),
        Container::Mp3 => Box::new(readers::MpaReader::try_new(stream, options)?),
        Container::Adts => Box::new(readers::AdtsReader::try_new(stream, options)?),
        Container::Ogg => Box::new(readers::OggReader::try_new(stream, options)?),
        Container::Matroska => Box::new(readers::MkvReader::try_new(stream, options)?),
        Container::Mp4 => Box::new(readers::IsoMp4Reader::try_new(stream, options)?),
        Container::Aiff => Box::new(readers::AiffReader::try_new(stream, options)?),
        Container::Caf => Box::new(readers::CafReader::try_new(stream, options)?),
    })
}

fn refuse(container: Container, why: &Broken) -> Error {
    let name = container.name();
    match why {
        // A part that is not there is damage; a codec that we have not is not.
        Broken::Unsupported(what) if what.contains("missing") => {
            Error::UndecodableAudio(format!("this {name} lacks a part ({what}): was it cut?"))
        }
        Broken::Unsupported(what) => Error::UnsupportedMedia(format!(
            "this {name} uses something that cannot be decoded ({what}); supported: {SUPPORTED}"
        )),
        Broken::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            Error::UndecodableAudio(format!("this {name} ends inside its header: was it cut?"))
        }
        other => Error::UndecodableAudio(format!("this {name} is broken: {other}")),
    }
}

/// One track on its way from packets to samples.
struct Clip {
    container: Container,
    /// Decoded frames still to drop: the encoder's delay.
    delay: u64,
    track: u32,
    decoder: Option<Box<dyn AudioDecoder>>,
    /// Opened by the first decoded block: only the decoder knows rate and channels for certain.
    intake: Option<Intake>,
    /// Of the last good packet: what a damaged one is taken to have had (WebM does not say).
    last_frames: u64,
    good: usize,
    bad: usize,
}

impl Clip {
    fn choose_track(&mut self, reader: &dyn FormatReader) -> Result<()> {
        let track = reader.default_track(TrackType::Audio).and_then(audio_parameters);
        let Some((id, parameters)) = track else {
            return Err(Error::UnsupportedMedia(format!(
                "this {} has no audio track of a known codec; supported: {SUPPORTED}",
                self.container.name()
            )));
        };
        let decoder = CODECS.make_audio_decoder(parameters, &Default::default());
        self.decoder = Some(decoder.map_err(|e| refuse(self.container, &e))?);
        self.track = id;
        if parameters.codec == CODEC_ID_OPUS {
            // Its decoder takes its delay off by itself.
            self.delay = 0;
        }
        Ok(())
    }

    fn take(
        &mut self,
        packet: &symphonia::core::packet::Packet,
        open: impl Fn(u32, usize) -> Result<Intake>,
    ) -> Result<()> {
        let Some(decoder) = &mut self.decoder else { return Ok(()) };
        let mut block = Vec::new();
        match decoder.decode(packet) {
            Ok(decoded) => {
                self.good += 1;
                let (rate, channels) = (decoded.spec().rate(), decoded.spec().channels().count());
                let intake = match &mut self.intake {
                    Some(intake) => intake,
                    none => none.insert(open(rate, channels)?),
                };
                if !intake.expects(rate, channels) {
                    return Err(Error::UndecodableAudio(format!(
                        "the audio changes to {rate} Hz and {channels} channels after {:.3} s: send the parts \
                         one by one",
                        intake.seconds()
                    )));
                }
                decoded.copy_to_vec_interleaved::<f32>(&mut block);
                let early = self.delay.min(decoded.frames() as u64);
                self.delay -= early;
                self.last_frames = decoded.frames() as u64;
                intake.take(&block[early as usize * channels..])
            }
            Err(Broken::DecodeError(_) | Broken::IoError(_)) => {
                self.bad += 1;
                match &mut self.intake {
                    Some(intake) => intake.take_silence(self.last_frames),
                    None => Ok(()),
                }
            }
            Err(e) => Err(refuse(self.container, &e)),
        }
    }

    fn finish(self) -> Result<Vec<Vec<f32>>> {
        let name = self.container.name();
        if self.bad * 3 > self.good {
            let packets = self.good + self.bad;
            return Err(Error::UndecodableAudio(format!(
                "{} of the {packets} packets of this {name} are damaged: at most a quarter may be",
                self.bad
            )));
        }
        self.intake.ok_or(Error::EmptyAudio)?.finish()
    }
}

fn audio_parameters(track: &Track) -> Option<(u32, &symphonia::core::codecs::audio::AudioCodecParameters)> {
    match &track.codec_params {
        Some(CodecParameters::Audio(parameters)) => Some((track.id, parameters)),
        _ => None,
    }
}
