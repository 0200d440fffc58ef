//! Any bytes as a checkpoint, pickles and zips among them: an error, or a directory that loads again. Nothing is executed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use s3router_core::model::{Source, convert};

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let (file, out, again) =
        (folder.path().join("model.bin"), folder.path().join("out"), folder.path().join("again"));
    std::fs::write(&file, bytes).expect("a file in memory");
    if convert(&Source::Path(file), &out).is_ok() {
        convert(&Source::Path(out), &again).expect("what was written loads");
    }
});
