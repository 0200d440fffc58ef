//! Any bytes as an ARPA file: an error, or a model that scores without NaN.
#![no_main]

use libfuzzer_sys::fuzz_target;
use s3router_core::decode::Lm;

fuzz_target!(|bytes: &[u8]| {
    let Ok(lm) = Lm::read(bytes) else { return };
    assert!((1..=lm.order()).contains(&1));
    for text in ["", "a", "a b a b a b", "nobody wrote this"] {
        assert!(!lm.sentence(text).is_nan(), "{text}");
    }
});
