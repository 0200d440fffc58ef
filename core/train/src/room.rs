//! Room on disk for what can be made anew: leftovers swept, and the least recently used given up beyond a limit.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// A temporary file this old was left by somebody who was killed.
const STALE: Duration = Duration::from_secs(60 * 60);
/// What is made room for beyond what is needed: one in so many bytes, so that not every file asks for a new look.
const SPARE: u64 = 10;

/// A file in one of the folders of `root`.
struct Kept {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// Removes temporary files that nobody writes any more from the folders of `root`.
pub fn sweep(root: &Path) {
    folders(root).for_each(|folder| sweep_folder(&folder, STALE));
}

/// Removes temporary files of a folder that have not been written for `age`.
pub fn sweep_folder(folder: &Path, age: Duration) {
    let now = SystemTime::now();
    for file in files_in(folder).filter(|file| is_temporary(&file.path)) {
        if now.duration_since(file.used).is_ok_and(|since| since >= age) {
            remove(&file.path);
        }
    }
}

/// Bytes held by the folders of `root`.
pub fn held(root: &Path) -> u64 {
    files(root).map(|file| file.bytes).sum()
}

/// A file was used: it is given up last.
pub fn touch(path: &Path) {
    // A folder that can only be read keeps the order of writing.
    let _ = fs::File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
}

/// Removes the least recently used files of the folders in `root` until at most `limit` bytes are held; tells how
/// many are. Where something has to go, a tenth more does.
pub fn make(root: &Path, limit: u64) -> u64 {
    let mut kept: Vec<Kept> = files(root).filter(|file| !is_temporary(&file.path)).collect();
    let mut held: u64 = kept.iter().map(|file| file.bytes).sum();
    if held <= limit {
        return held;
    }
    kept.sort_by_key(|file| file.used);
    for file in kept {
        if held <= limit - limit / SPARE {
            break;
        }
        remove(&file.path);
        held -= file.bytes;
    }
    held
}

/// Those that a [`crate::cache`] made, named by a hash: `root` may be a folder of somebody's data too.
fn folders(root: &Path) -> impl Iterator<Item = PathBuf> {
    let ours = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        name.len() == 16 && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit)
    };
    let folders = entries(root).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.filter(ours).map(|entry| entry.path())
}

fn files(root: &Path) -> impl Iterator<Item = Kept> {
    folders(root).flat_map(|folder| files_in(&folder))
}

fn files_in(folder: &Path) -> impl Iterator<Item = Kept> + use<> {
    entries(folder).filter_map(|entry| {
        let about = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        Some(Kept { path: entry.path(), bytes: about.len(), used: about.modified().ok()? })
    })
}

fn entries(folder: &Path) -> impl Iterator<Item = fs::DirEntry> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}

/// As `tempfile` names them.
fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".tmp"))
}

fn remove(path: &Path) {
    // Another run may have been here first.
    if let Err(error) = fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!("cannot remove {}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = "0123456789abcdef";

    /// `root/<FOLDER>/<name>` of so many bytes, last used so many hours ago.
    fn file(root: &Path, name: &str, bytes: usize, hours: u64) -> PathBuf {
        let path = root.join(FOLDER).join(name);
        fs::create_dir_all(root.join(FOLDER)).unwrap();
        fs::write(&path, vec![0; bytes]).unwrap();
        let used = SystemTime::now() - Duration::from_secs(hours * 3600);
        fs::File::options().append(true).open(&path).unwrap().set_modified(used).unwrap();
        path
    }

    #[test]
    fn only_what_nobody_writes_any_more_is_swept() {
        let root = tempfile::tempdir().unwrap();
        let [left, fresh, kept] = [(".tmpab12", 2), (".tmpcd34", 0), ("clip.f16", 2)]
            .map(|(name, h)| file(root.path(), name, 5, h));
        sweep(root.path());
        assert_eq!([left.exists(), fresh.exists(), kept.exists()], [false, true, true]);
        sweep_folder(&root.path().join(FOLDER), Duration::ZERO);
        assert_eq!([fresh.exists(), kept.exists()], [false, true]);
    }

    #[test]
    fn the_least_recently_used_go_first_and_no_more_than_must() {
        let root = tempfile::tempdir().unwrap();
        let files = [4, 9, 3, 1].map(|hours| file(root.path(), &format!("{hours}"), 100, hours));
        let other = root.path().join("data");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("clip.wav"), [0; 999]).unwrap();
        assert_eq!(held(root.path()), 400, "what is not ours does not count");
        assert_eq!(make(root.path(), 400), 400);
        touch(&files[1]);
        assert_eq!(make(root.path(), 399), 300);
        assert_eq!(files.each_ref().map(|path| path.exists()), [false, true, true, true]);
        assert_eq!(make(root.path(), 210), 100, "a tenth below the limit");
        assert!(files[1].exists(), "used last");
        make(root.path(), 0);
        assert!(other.join("clip.wav").exists() && !files[1].exists());
    }
}
