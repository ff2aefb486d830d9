//! `dodona_debug.log`, set aside when it is full.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

use crate::config::LogFileConfig;

const NAME: &str = "dodona_debug.log";
/// Files set aside are called `dodona_debug-2026-11-23T09-12-00.123.log`.
const ASIDE: &str = "dodona_debug-";
/// After a failure (a full disk, mostly) the file is left alone for this long.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(60);

pub(super) struct RotatingFile {
    settings: LogFileConfig,
    file: File,
    size_bytes: u64,
    /// Nothing is written before this moment.
    paused_until: Option<Instant>,
}

impl RotatingFile {
    /// Opens the file of the last start again, or a new one, in a directory only we can read.
    pub(super) fn open(settings: &LogFileConfig) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&settings.dir)?;
        let file = open(&settings.dir.join(NAME))?;
        let size_bytes = file.metadata()?.len();
        Ok(Self {
            settings: settings.clone(),
            file,
            size_bytes,
            paused_until: None,
        })
    }

    /// Writes a line. A failure is said once on stderr and pauses the file; the node goes on.
    pub(super) fn write(&mut self, line: &str) {
        if self
            .paused_until
            .is_some_and(|until| Instant::now() < until)
        {
            return;
        }
        if let Err(error) = self.try_write(line) {
            self.paused_until = Some(Instant::now() + PAUSE_AFTER_FAILURE);
            let path = self.settings.dir.join(NAME);
            let _ = writeln!(
                io::stderr(),
                "the log file {} cannot be written, it pauses for a minute: {error}",
                path.display()
            );
        }
    }

    fn try_write(&mut self, line: &str) -> io::Result<()> {
        let length = line.len() as u64;
        if self.size_bytes > 0 && self.size_bytes + length > self.settings.max_size_bytes {
            self.rotate()?;
        }
        self.file.write_all(line.as_bytes())?;
        self.size_bytes += length;
        self.paused_until = None;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let path = self.settings.dir.join(NAME);
        let stamp = Timestamp::now()
            .strftime("%Y-%m-%dT%H-%M-%S.%6f")
            .to_string();
        fs::rename(&path, self.settings.dir.join(format!("{ASIDE}{stamp}.log")))?;
        self.file = open(&path)?;
        self.size_bytes = 0;
        self.remove_old()
    }

    /// Removes what the settings no longer want kept.
    fn remove_old(&self) -> io::Result<()> {
        let mut aside: Vec<PathBuf> = fs::read_dir(&self.settings.dir)?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                path.file_name()
                    .and_then(|name| name.to_str())
                    .is_some_and(|name| name.starts_with(ASIDE))
            })
            .collect();
        // The stamp sorts as text.
        aside.sort();
        aside.reverse();
        let keep = if self.settings.max_backups == 0 {
            usize::MAX
        } else {
            self.settings.max_backups as usize
        };
        for (index, path) in aside.iter().enumerate() {
            if index >= keep || self.is_too_old(path) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn is_too_old(&self, path: &Path) -> bool {
        let oldest = Duration::from_secs(self.settings.max_age_days.saturating_mul(86_400));
        let age = || {
            SystemTime::now()
                .duration_since(path.metadata().ok()?.modified().ok()?)
                .ok()
        };
        self.settings.max_age_days > 0 && age().is_some_and(|age| age > oldest)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_is_set_aside_and_only_so_many_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let settings = LogFileConfig {
            dir: dir.path().join("logs"),
            max_size_bytes: 100,
            max_age_days: 0,
            max_backups: 2,
        };
        let mut file = RotatingFile::open(&settings).unwrap();
        for index in 0..10 {
            file.write(&format!("{index}{}\n", "x".repeat(58)));
        }
        let names = names(&settings.dir);
        assert_eq!(names.len(), 3, "{names:?}");
        let newest = fs::read_to_string(settings.dir.join(NAME)).unwrap();
        assert!(newest.starts_with('9'), "{newest}");
        let aside = fs::read_to_string(settings.dir.join(&names[1])).unwrap();
        assert!(aside.starts_with('8') || aside.starts_with('7'), "{aside}");
    }

    #[test]
    fn a_new_start_goes_on_in_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let settings = LogFileConfig {
            dir: dir.path().to_owned(),
            max_size_bytes: 1000,
            max_age_days: 0,
            max_backups: 1,
        };
        RotatingFile::open(&settings).unwrap().write("one\n");
        RotatingFile::open(&settings).unwrap().write("two\n");
        assert_eq!(
            fs::read_to_string(dir.path().join(NAME)).unwrap(),
            "one\ntwo\n"
        );
    }

    #[test]
    fn the_file_and_its_directory_are_ours_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let settings = LogFileConfig {
            dir: dir.path().join("logs"),
            max_size_bytes: 1000,
            max_age_days: 0,
            max_backups: 1,
        };
        RotatingFile::open(&settings).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(&settings.dir), mode(&settings.dir.join(NAME))),
            (0o700, 0o600)
        );
    }
}
