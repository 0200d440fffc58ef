//! Any bytes, arriving in pieces of any size with flushes between: never a panic, and the samples of the whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use s3router_core::audio::{Encoding, Live, RawFormat};

/// What came before it broke, if it did.
fn fed(bytes: &[u8], raw: Option<RawFormat>, piece: usize, flush: bool) -> (Vec<f32>, bool) {
    let Ok(mut live) = Live::new(raw) else { return (Vec::new(), true) };
    let mut samples = Vec::new();
    for piece in bytes.chunks(piece) {
        match live.push(piece) {
            Ok(more) => samples.extend(more),
            Err(_) => return (samples, true),
        }
        if flush {
            samples.extend(live.flush().expect("a flush does not fail"));
        }
    }
    match live.finish() {
        Ok(more) => samples.extend(more),
        Err(_) => return (samples, true),
    }
    (samples, false)
}

// libFuzzer's hook aborts on any panic, also on those of a reader that the decoder fences off and answers as a broken
// file; without it only what gets past the fence ends the run.
fuzz_target!(init: drop(std::panic::take_hook()), |bytes: &[u8]| {
    // The last byte chooses, so that the fixtures are seeds as they are.
    let Some((&choice, bytes)) = bytes.split_last() else { return };
    let rate_hz = [8_000, 16_000, 22_050, 44_100, 48_000][usize::from(choice % 5)];
    let encoding = Encoding::ALL.get(usize::from(choice / 5));
    let raw = encoding.map(|&encoding| RawFormat { encoding, rate_hz, channels: 1 + u16::from(choice & 1) });
    let (whole, broken) = fed(bytes, raw, usize::MAX, false);
    assert!(whole.iter().all(|x| x.is_finite()));
    let (cut, also) = fed(bytes, raw, 1 + usize::from(choice) * 7, false);
    // What breaks may give more before it is noticed when it comes bit by bit.
    assert_eq!(broken, also, "a cut decides whether it breaks");
    assert!(broken || whole == cut, "a cut changes what is heard");
    fed(bytes, raw, 1 + usize::from(choice) * 7, true);
});
