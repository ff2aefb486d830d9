//! Passwords come from a file or a prompt, never from a flag: flags show in the list of processes.

use std::io::IsTerminal as _;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("the password file {file} cannot be read")]
    Unreadable {
        file: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the password file {file} is empty")]
    Empty { file: String },
    #[error(
        "the password in {file} begins or ends with a blank; only one newline at its end is ignored"
    )]
    BlankAtEdge { file: String },
    #[error("no {what} was given, and there is no terminal to ask on: {remedy}")]
    NoTerminal { what: String, remedy: String },
    #[error("the two entries differ; nothing was changed")]
    Differ,
    #[error("the terminal could not be read")]
    Terminal(#[source] std::io::Error),
    #[error("the credentials file {file} needs two lines: an e-mail address and a password")]
    NotCredentials { file: String },
}

/// The content of a password file; one newline at its end does not count.
pub fn from_file(path: &Path) -> Result<SecretString, PasswordError> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| PasswordError::Unreadable {
        file: file.clone(),
        source,
    })?;
    let password = text.strip_suffix('\n').map_or(text.as_str(), |rest| {
        rest.strip_suffix('\r').unwrap_or(rest)
    });
    if password.is_empty() {
        return Err(PasswordError::Empty { file });
    }
    if password.trim() != password {
        return Err(PasswordError::BlankAtEdge { file });
    }
    Ok(SecretString::from(password))
}

/// Asks on the terminal without showing what is typed. `remedy` says what to do where there is none.
pub fn ask(what: &str, remedy: &str) -> Result<SecretString, PasswordError> {
    if !std::io::stdin().is_terminal() {
        return Err(PasswordError::NoTerminal {
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        });
    }
    let typed = rpassword::prompt_password(format!("{what}: ")).map_err(PasswordError::Terminal)?;
    Ok(SecretString::from(typed))
}

/// Asks twice for a password that is set for the first time.
pub fn ask_new(what: &str, remedy: &str) -> Result<SecretString, PasswordError> {
    let first = ask(what, remedy)?;
    let second = ask(&format!("{what}, once more"), remedy)?;
    if first.expose_secret() == second.expose_secret() {
        Ok(first)
    } else {
        Err(PasswordError::Differ)
    }
}

/// An e-mail address and a password.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub email: String,
    pub password: SecretString,
}

/// Reads the two lines of an API credentials file.
pub fn credentials_from_file(path: &Path) -> Result<Credentials, PasswordError> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| PasswordError::Unreadable {
        file: file.clone(),
        source,
    })?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    match (lines.next(), lines.next(), lines.next()) {
        (Some(email), Some(password), None) => Ok(Credentials {
            email: email.to_owned(),
            password: SecretString::from(password),
        }),
        _ => Err(PasswordError::NotCredentials { file }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, text).unwrap();
        from_file(&path)
            .map(|password| password.expose_secret().to_owned())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn one_newline_at_the_end_does_not_belong_to_the_password() {
        assert_eq!(read("secret word\n"), Ok("secret word".into()));
        assert_eq!(read("secret word\r\n"), Ok("secret word".into()));
        assert_eq!(read("secret word"), Ok("secret word".into()));
    }

    #[test]
    fn an_empty_file_and_blanks_at_the_edges_are_refused() {
        assert!(read("\n").unwrap_err().contains("empty"));
        assert!(read("secret \n").unwrap_err().contains("blank"));
        assert!(read("secret\n\n").unwrap_err().contains("blank"));
    }

    #[test]
    fn credentials_are_two_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api");
        std::fs::write(&path, "me@example.org\nsixteen characters!!\n").unwrap();
        let credentials = credentials_from_file(&path).unwrap();
        assert_eq!(credentials.email, "me@example.org");
        assert_eq!(credentials.password.expose_secret(), "sixteen characters!!");
        std::fs::write(&path, "me@example.org\n").unwrap();
        assert!(credentials_from_file(&path).is_err());
        assert!(!format!("{credentials:?}").contains("sixteen"));
    }
}
