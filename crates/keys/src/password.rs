//! What a password for the key ring has to look like. A rule for new passwords: existing rings
//! open with whatever they were sealed with.

use secrecy::{ExposeSecret, SecretString};

/// Fewest characters of a new password.
pub const MIN_PASSWORD_CHARS: usize = 16;

/// Why a password is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordProblem {
    #[error("the password has {chars} characters; it needs at least {MIN_PASSWORD_CHARS}")]
    TooShort { chars: usize },
    #[error("the password begins or ends with white space, which gets lost too easily; remove it")]
    OuterWhiteSpace,
}

/// At least 16 characters, no white space at either end.
pub fn check_password(password: &SecretString) -> Result<(), PasswordProblem> {
    let password = password.expose_secret();
    if password.trim() != password {
        return Err(PasswordProblem::OuterWhiteSpace);
    }
    match password.chars().count() {
        chars if chars < MIN_PASSWORD_CHARS => Err(PasswordProblem::TooShort { chars }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(password: &str) -> Result<(), PasswordProblem> {
        check_password(&SecretString::from(password))
    }

    #[test]
    fn a_password_needs_sixteen_characters_and_no_outer_white_space() {
        assert_eq!(check("sixteen chars ok"), Ok(()));
        assert_eq!(check("ünïcödé cöünts öncé"), Ok(()));
        assert_eq!(
            check("fifteen chars.."),
            Err(PasswordProblem::TooShort { chars: 15 })
        );
        assert_eq!(check(""), Err(PasswordProblem::TooShort { chars: 0 }));
        assert_eq!(
            check(" long enough but padded"),
            Err(PasswordProblem::OuterWhiteSpace)
        );
        assert_eq!(
            check("long enough but with newline\n"),
            Err(PasswordProblem::OuterWhiteSpace)
        );
    }

    #[test]
    fn a_refused_password_is_told_what_it_needs_and_never_repeated() {
        let said = check("hunter2").unwrap_err().to_string();
        assert_eq!(said, "the password has 7 characters; it needs at least 16");
    }
}
