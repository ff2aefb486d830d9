//! One process per SQLite file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use crate::{Result, StoreError};

/// The lock beside a database file; released by the kernel when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct FileLock(
    #[expect(dead_code, reason = "dropping the file releases the lock")] File,
);

impl FileLock {
    /// Takes the lock, or says who holds it.
    pub(crate) fn take(database: &Path) -> Result<Self> {
        // A file that is reached under two names is still one file.
        let real = std::fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
        let path = real.with_extension("lock");
        let open_failed = |cause: std::io::Error| StoreError::Open {
            database: database.display().to_string(),
            cause: format!("the lock file {}: {cause}", path.display()),
        };
        if let Some(folder) = database.parent() {
            std::fs::create_dir_all(folder).map_err(open_failed)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(open_failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Best effort: the sentence is worth more with a name, and true without one.
                let _ = file.read_to_string(&mut holder);
                let holder = holder.trim();
                let holder = if holder.is_empty() {
                    "another process"
                } else {
                    holder
                };
                return Err(StoreError::InUse {
                    path: database.to_owned(),
                    holder: holder.to_owned(),
                });
            }
            Err(TryLockError::Error(cause)) => return Err(open_failed(cause)),
        }
        file.set_len(0).map_err(open_failed)?;
        write!(file, "process {}", std::process::id()).map_err(open_failed)?;
        Ok(Self(file))
    }
}
