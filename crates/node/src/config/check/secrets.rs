//! Rules about secrets.

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::config::problem::{Problems, Root};
use crate::config::registry::{CONFIG, SECRETS};
use crate::config::tree::Table;
use crate::config::types::Source;
use crate::config::view::View;

/// Shortest password for a database.
const SHORTEST_DATABASE_PASSWORD: usize = 16;

/// Checks the secrets. The old node only complained about a weak database password, so in that mode it is a note.
pub(in crate::config) fn secrets(
    secrets: &Table,
    effective: &Table,
    source: Source,
    problems: &mut Problems,
    notes: &mut Vec<String>,
) {
    let view = View::new(secrets, &SECRETS);
    let development = View::new(effective, &CONFIG).get("Dodona.Development") == Some(true);
    let mut fault = |name: &str, what: &str| problems.add(Root::Secrets, name, what, view.at(name));
    let simple = view.get("Database.AllowSimplePasswords") == Some(true);
    if simple && !development && source == Source::Files {
        fault(
            "Database.AllowSimplePasswords",
            "needs the development profile: set Dodona.Development = true, or leave this out",
        );
    }
    if view
        .get::<SecretString>("Password.Keystore")
        .is_some_and(|password| password.expose_secret().is_empty())
    {
        fault(
            "Password.Keystore",
            "empty: leave it out to be asked, or give --password FILE",
        );
    }
    let Some(url) = view.get::<SecretString>("Database.URL") else {
        return;
    };
    let Some(url) = Url::parse(url.expose_secret())
        .ok()
        .filter(|url| matches!(url.scheme(), "postgres" | "postgresql"))
    else {
        let what = "is not the address of a PostgreSQL database (postgres://user:password@host:5432/name); for the embedded \
                    database leave it out";
        fault("Database.URL", what);
        return;
    };
    if simple || development || url.as_str().contains("_test") {
        return;
    }
    if let Some(why) = weak_password(&url) {
        match source {
            Source::Files => fault("Database.URL", &why),
            Source::Environment => notes.push(format!("DATABASE_URL: {why}")),
        }
    }
}

/// Why the database's password is too weak; a Unix socket and a client certificate need none.
fn weak_password(url: &Url) -> Option<String> {
    let parameter = |wanted: &str| {
        url.query_pairs()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.into_owned())
    };
    let socket = parameter("host").is_some_and(|host| host.starts_with('/'))
        || url.host_str().is_some_and(|host| host.starts_with("%2F"));
    if socket || parameter("sslcert").is_some() {
        return None;
    }
    match url.password() {
        None => {
            Some("has no password: the database would be open to everybody who reaches it".into())
        }
        Some(password) if password.chars().count() < SHORTEST_DATABASE_PASSWORD => Some(format!(
            "has a password of fewer than {SHORTEST_DATABASE_PASSWORD} characters"
        )),
        Some(password) if password.starts_with("%20") || password.ends_with("%20") => {
            Some("has a password with a blank at its edge".into())
        }
        Some(_) => None,
    }
}
