use std::path::PathBuf;

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is open in another process.
    #[error(
        "the database file {} is in use by {holder}; stop that process first, or give this node a RootDir of its own (two nodes on one database need PostgreSQL)",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
        /// What the first process wrote about itself.
        holder: String,
    },
    /// The schema is from a later version of this program.
    #[error(
        "the database {database} was written by a newer version (schema {found}, this version knows {known}); start that version or restore a backup made before it"
    )]
    Newer {
        /// Which database, without secrets.
        database: String,
        /// Newest migration the database has.
        found: i64,
        /// Newest migration this program has.
        known: i64,
    },
    /// The database belongs to another program.
    #[error("the database {database} {whose}; nothing was written. {remedy}")]
    Foreign {
        /// Which database, without secrets.
        database: String,
        /// Whose it seems to be.
        whose: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Another program holds the file's lock.
    #[error(
        "the database file {file} is locked by another program; end what has it open (a backup, an SQLite shell), then try again"
    )]
    Locked {
        /// The file.
        file: String,
    },
    /// The database cannot be opened at all.
    #[error("cannot open the database {database}: {cause}")]
    Open {
        /// Which database, without secrets.
        database: String,
        /// What the driver said.
        cause: String,
    },
    /// Migrating failed; nothing of the failed step remains.
    #[error("cannot bring the database {database} to the schema of this version: {cause}")]
    Migrate {
        /// Which database, without secrets.
        database: String,
        /// What the driver said.
        cause: String,
    },
    /// A statement failed.
    #[error("the database refused '{statement}': {cause}")]
    Statement {
        /// The statement's name.
        statement: &'static str,
        /// What the driver said; it is in the text, so it is no source.
        cause: sqlx::Error,
    },
    /// A row holds what this version cannot read.
    #[error("the database holds {what} that this version cannot read: {text}")]
    Unreadable {
        /// Table and column in words.
        what: &'static str,
        /// What stands there.
        text: String,
    },
    /// Beginning or committing failed.
    #[error("the database could not {what}: {cause}")]
    Transaction {
        /// begin, commit …
        what: &'static str,
        /// What the driver said; it is in the text, so it is no source.
        cause: sqlx::Error,
    },
    /// An earlier life of the request may still be answered; nothing was written.
    #[error("request {request_id} cannot begin life {life}: an earlier one may still be answered")]
    StillAlive {
        /// The id the contract knows it by.
        request_id: dodona_model::B256,
        /// The life that was to begin.
        life: u32,
    },
    /// A statement of the transaction failed earlier, so nothing of it was written.
    #[error(
        "the transaction was given up because one of its statements failed; nothing was written"
    )]
    Spoiled,
    /// The arrows of a state do not allow this.
    #[error(transparent)]
    Illegal(#[from] dodona_model::tx::IllegalTransition),
}

impl StoreError {
    /// Whether the row could not be written because one like it exists.
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Statement { cause: sqlx::Error::Database(error), .. } if error.is_unique_violation())
    }
}
