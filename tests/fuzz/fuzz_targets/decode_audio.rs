//! Any bytes, as a container or as headerless PCM: an error or finite samples within the limit.
//!
//! `tests/fuzz/run.sh 60 decode_audio`
#![no_main]

use libfuzzer_sys::fuzz_target;
use s3router_core::audio::{Channels, Encoding, Limits, RawFormat, decode};

// libFuzzer's hook aborts on any panic, also on those of a reader that the decoder fences off and answers as a broken
// file; without it only what gets past the fence ends the run.
fuzz_target!(init: drop(std::panic::take_hook()), |bytes: &[u8]| {
    // The last byte chooses, so that the fixtures are seeds as they are.
    let Some((&choice, _)) = bytes.split_last() else { return };
    let encoding = Encoding::ALL.get(usize::from(choice >> 1));
    let raw = encoding.map(|&encoding| RawFormat { encoding, rate_hz: 8_000, channels: 2 });
    let channels = if choice & 1 == 0 { Channels::Mix } else { Channels::Split };
    let Ok(decoded) = decode(bytes, raw.as_ref(), channels, &Limits { max_seconds: 2.0 }) else { return };
    for channel in &decoded {
        assert_eq!(channel.len(), decoded[0].len());
        assert!(channel.len() <= 2 * 16_000);
        assert!(channel.iter().all(|x| x.is_finite()));
    }
});
