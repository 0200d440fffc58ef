//! Any bytes: opening them neither panics nor allocates without bound, and what opens is written and opened
//! again as the same pack.
//!
//! `tests/fuzz/run.sh 60 open_pack`
#![no_main]

use libfuzzer_sys::fuzz_target;
use s3router_masks::{open_bytes, to_bytes};

fuzz_target!(|bytes: &[u8]| {
    let Ok(opened) = open_bytes(bytes) else { return };
    let again = to_bytes(&opened.pack, opened.codec).expect("what opened can be written");
    assert_eq!(open_bytes(&again).expect("what was written opens").pack, opened.pack);
});
