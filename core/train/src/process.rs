//! How the program sets itself up before it works.

use std::{env, ffi::OsStr};

/// What libraries read from the environment only, as learning wants it.
const SETTINGS: [(&str, &str); 2] = [
    // candle's own threads spin while they wait for each other: on a busy machine a fifth of a step's CPU time. What
    // is worth several threads here is not left to candle.
    ("CANDLE_NUM_THREADS", "1"),
    // A step takes and drops the same megabytes every time: handed back to the system they would be faulted in again.
    ("MIMALLOC_PURGE_DELAY", "-1"),
];

/// Threads of the pool that learns; each may hold a whole run's calls.
const STACK_BYTES: usize = 8 << 20;

/// Runs `work` on the thread pool, once the process has its settings: a thread outside would have to wake the pool for
/// each of a step's thousand small parallel loops. Call it first in `main`: the process may begin anew.
pub fn run<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    begin_anew();
    if let Err(error) = rayon::ThreadPoolBuilder::new().stack_size(STACK_BYTES).build_global() {
        tracing::warn!("{error}: it stays as it is");
    }
    rayon::scope(|_| work())
}

/// The same program in the same process with the settings that are not given yet; without them it is only slower.
#[cfg(unix)]
fn begin_anew() {
    use std::os::unix::process::CommandExt;
    let missing: Vec<_> = SETTINGS.into_iter().filter(|(name, _)| env::var_os(name).is_none()).collect();
    let (false, Ok(program)) = (missing.is_empty(), env::current_exe()) else { return };
    let mut words = env::args_os();
    let name = words.next();
    let mut command = std::process::Command::new(program);
    command.arg0(name.as_deref().unwrap_or(OsStr::new("s3router-train"))).args(words).envs(missing);
    // It comes back only with an error.
    let _ = command.exec();
}

#[cfg(not(unix))]
fn begin_anew() {}
