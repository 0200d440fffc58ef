//! Where a command writes: standard output, or a file that takes its name only when it is whole.

use anyhow::{Context, Result};
use std::{
    io::{Stdout, Write, stdout},
    path::Path,
};
use tempfile::NamedTempFile;

/// A sink of text.
#[derive(Debug)]
pub(super) enum Output<'a> {
    Standard(Stdout),
    File(NamedTempFile, &'a Path),
}

impl<'a> Output<'a> {
    /// `path`, or standard output without one.
    ///
    /// # Errors
    /// When the folder of `path` cannot be written into.
    pub(super) fn open(path: Option<&'a Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::Standard(stdout())) };
        let folder = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".s3router-").suffix(".tmp");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
        let file = builder
            .tempfile_in(folder)
            .with_context(|| format!("cannot write into the folder of --output {}", path.display()))?;
        Ok(Self::File(file, path))
    }

    /// More text.
    pub(super) fn write(&mut self, text: &str) -> std::io::Result<()> {
        match self {
            Self::Standard(out) => out.write_all(text.as_bytes()),
            Self::File(out, _) => out.write_all(text.as_bytes()),
        }
    }

    /// The end: the file appears, replacing an older one.
    ///
    /// # Errors
    /// When it cannot; the older one is untouched then.
    pub(super) fn close(self) -> Result<()> {
        if let Self::File(file, path) = self {
            let named = || format!("cannot write --output {}", path.display());
            file.as_file().sync_all().with_context(named)?;
            file.persist(path).with_context(named)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.txt");
        let mut out = Output::open(Some(&path)).unwrap();
        out.write("half").unwrap();
        assert!(!path.exists());
        drop(out);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0, "nothing is left behind");

        let mut out = Output::open(Some(&path)).unwrap();
        out.write("who").unwrap();
        out.write("le").unwrap();
        out.close().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole");
        let error = Output::open(Some(&folder.path().join("no/such.txt"))).unwrap_err().to_string();
        assert!(error.contains("--output") && error.contains("no/such.txt"), "{error}");
    }
}
