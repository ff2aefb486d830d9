//! Which calls are allowed at all, before any address is looked at.
//!
//! The standard profile allows every call that may reach its address. The strict one turns this
//! round: a call needs an entry of its job or bridge, and no entry means no call. It is asked again
//! for every redirect.

use std::sync::Mutex;
use std::time::Instant;

use reqwest::Method;
use url::Url;
use uuid::Uuid;

use super::HttpError;
use crate::ports::{CallOrigin, Reach};

/// Whose calls an entry allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// `http` tasks of the job with this external id.
    Job(Uuid),
    /// Calls of the bridge of this name (in lower case), from any job.
    Bridge(String),
}

/// One line of the allow list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose calls.
    pub subject: Subject,
    /// Scheme, host and port must be the same; the path must begin with this one's, at a `/`. A host
    /// that begins with `*.` stands for every name below it.
    pub url: Url,
    /// Methods in capitals.
    pub methods: Vec<String>,
    /// Longest response in bytes, where less than the node's own limit.
    pub max_response_bytes: Option<usize>,
    /// Most calls in a minute, redirects counted.
    pub per_minute: Option<u32>,
}

/// Why an entry cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Everything, or all of a top-level domain.
    #[error("{host} stands for half the internet: name the host, or *.example.com")]
    TooWide {
        /// As written.
        host: String,
    },
    /// Not an address on the net.
    #[error("{0} is no http or https URL with a host")]
    NoUrl(Url),
    /// Parts of a URL that nothing is compared with.
    #[error(
        "{0} has a user, a query or a fragment: write scheme, host, port and the beginning of the path"
    )]
    TooMuch(Url),
    /// Not `job ID METHODS URL` or `bridge NAME METHODS URL`.
    #[error(
        "{0:?}: write \"job <external id> GET https://host/path\" or \"bridge <name> POST https://host/path\", then max=<bytes> and rate=<calls a minute> if wanted"
    )]
    Notation(String),
    /// No method.
    #[error("the entry for {0} allows no method")]
    NoMethod(Url),
}

/// What is allowed.
#[derive(Debug, Default)]
pub struct Policy {
    strict: bool,
    requester_urls: bool,
    entries: Vec<Counted>,
}

#[derive(Debug)]
struct Counted {
    entry: Entry,
    /// Calls left, and when that was true.
    bucket: Mutex<Option<(f64, Instant)>>,
}

/// What a call may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) max_response_bytes: Option<usize>,
}

impl Policy {
    /// Every call that may reach its address.
    pub fn standard() -> Self {
        Self::default()
    }

    /// Only what an entry allows; with `requester_urls`, URLs that a requester chose too, as public
    /// https GET on port 443 without a body and without credentials.
    pub fn strict(entries: Vec<Entry>, requester_urls: bool) -> Result<Self, EntryError> {
        for entry in &entries {
            entry.check()?;
        }
        Ok(Self {
            strict: true,
            requester_urls,
            entries: entries
                .into_iter()
                .map(|entry| Counted {
                    entry,
                    bucket: Mutex::new(None),
                })
                .collect(),
        })
    }

    /// Nothing without an entry.
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// Decides about one request of a call.
    pub(super) fn judge(
        &self,
        origin: &CallOrigin,
        reach: Reach,
        method: &Method,
        url: &Url,
        has_body: bool,
        now: Instant,
    ) -> Result<Grant, HttpError> {
        if !self.strict {
            return Ok(Grant {
                max_response_bytes: None,
            });
        }
        let mut busy = false;
        for counted in &self.entries {
            if !counted.entry.allows(origin, method, url) {
                continue;
            }
            if counted.take(now) {
                return Ok(Grant {
                    max_response_bytes: counted.entry.max_response_bytes,
                });
            }
            busy = true;
        }
        if busy {
            return Err(HttpError::TooOften { url: shown(url) });
        }
        let public = url.scheme() == "https"
            && url.port_or_known_default() == Some(443)
            && url.username().is_empty()
            && url.password().is_none()
            && *method == Method::GET
            && !has_body
            && reach == Reach::Restricted;
        if self.requester_urls && origin.requester_chose_url && public {
            return Ok(Grant {
                max_response_bytes: None,
            });
        }
        let who = match &origin.bridge {
            Some(bridge) => format!("bridge {bridge}"),
            None => format!("job {}", origin.external_job_id),
        };
        Err(HttpError::NotListed {
            method: method.to_string(),
            url: shown(url),
            who,
        })
    }
}

/// Scheme, host, port and path: what an entry is compared with, and nothing secret.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Only URLs without a host refuse this.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    crate::error::excerpt(url.as_str(), 200)
}

impl std::str::FromStr for Entry {
    type Err = EntryError;

    /// `job 0f3a61c4-… GET,POST https://api.example.com/v1/ max=32768 rate=60`
    fn from_str(text: &str) -> Result<Self, EntryError> {
        let wrong = || EntryError::Notation(crate::error::excerpt(text, 120));
        let words: Vec<&str> = text.split_whitespace().collect();
        let [kind, who, methods, url, more @ ..] = words.as_slice() else {
            return Err(wrong());
        };
        let subject = match *kind {
            "job" => Subject::Job(Uuid::parse_str(who).map_err(|_| wrong())?),
            "bridge" => Subject::Bridge(who.to_lowercase()),
            _ => return Err(wrong()),
        };
        let methods: Vec<String> = methods.split(',').map(str::to_owned).collect();
        let capitals = |m: &String| !m.is_empty() && m.bytes().all(|b| b.is_ascii_uppercase());
        if !methods.iter().all(capitals) {
            return Err(wrong());
        }
        let mut entry = Self {
            subject,
            url: url.parse().map_err(|_| wrong())?,
            methods,
            max_response_bytes: None,
            per_minute: None,
        };
        for word in more {
            match word.split_once('=') {
                Some(("max", n)) => {
                    entry.max_response_bytes = Some(n.parse().map_err(|_| wrong())?)
                }
                Some(("rate", n)) => entry.per_minute = Some(n.parse().map_err(|_| wrong())?),
                _ => return Err(wrong()),
            }
        }
        entry.check()?;
        Ok(entry)
    }
}

impl Entry {
    fn check(&self) -> Result<(), EntryError> {
        let url = &self.url;
        let host = match url.host_str() {
            Some(host) if matches!(url.scheme(), "http" | "https") => host,
            _ => return Err(EntryError::NoUrl(url.clone())),
        };
        let too_wide = match host.strip_prefix("*.") {
            Some(below) => !below.contains('.') || below.contains('*'),
            None => host.contains('*'),
        };
        if too_wide {
            return Err(EntryError::TooWide { host: host.into() });
        }
        let bare = url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !bare {
            return Err(EntryError::TooMuch(url.clone()));
        }
        if self.methods.is_empty() {
            return Err(EntryError::NoMethod(url.clone()));
        }
        Ok(())
    }

    fn allows(&self, origin: &CallOrigin, method: &Method, url: &Url) -> bool {
        let subject = match (&self.subject, &origin.bridge) {
            (Subject::Bridge(name), Some(bridge)) => name.eq_ignore_ascii_case(bridge),
            (Subject::Job(id), None) => Uuid::parse_str(&origin.external_job_id) == Ok(*id),
            _ => false,
        };
        subject
            && self.methods.iter().any(|m| m == method.as_str())
            && self.url.scheme() == url.scheme()
            && self.url.port_or_known_default() == url.port_or_known_default()
            && same_host(
                self.url.host_str().unwrap_or_default(),
                url.host_str().unwrap_or_default(),
            )
            && below(self.url.path(), url.path())
    }
}

/// A trailing dot means the same host.
fn same_host(allowed: &str, asked: &str) -> bool {
    let asked = asked.strip_suffix('.').unwrap_or(asked);
    match allowed.strip_prefix("*.") {
        Some(domain) => asked
            .strip_suffix(domain)
            .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => allowed.strip_suffix('.').unwrap_or(allowed) == asked,
    }
}

/// The path is the prefix or goes on behind a `/`. A path whose dots or slashes are hidden in
/// percent signs is not compared at all, because servers disagree about what it means.
fn below(prefix: &str, path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    if ["%2e", "%2f", "%5c"]
        .iter()
        .any(|hidden| lower.contains(hidden))
    {
        return false;
    }
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'),
        None => false,
    }
}

impl Counted {
    /// Whether another call fits into this minute.
    fn take(&self, now: Instant) -> bool {
        let Some(most) = self.entry.per_minute else {
            return true;
        };
        let most = f64::from(most);
        let mut bucket = self
            .bucket
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let left = match *bucket {
            None => most,
            Some((left, then)) => {
                let passed = now.saturating_duration_since(then).as_secs_f64();
                (left + passed * most / 60.0).min(most)
            }
        };
        let fits = left >= 1.0;
        *bucket = Some((if fits { left - 1.0 } else { left }, now));
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const JOB: &str = "0f3a61c4-92d0-4f0e-8f0b-3c2f7c0d5e11";

    fn entry(subject: Subject, url: &str) -> Entry {
        Entry {
            subject,
            url: url.parse().unwrap(),
            methods: vec!["GET".into()],
            max_response_bytes: Some(100),
            per_minute: None,
        }
    }

    fn job() -> Subject {
        Subject::Job(JOB.parse().unwrap())
    }

    fn origin(bridge: Option<&str>, requester: bool) -> CallOrigin {
        CallOrigin {
            external_job_id: JOB.into(),
            bridge: bridge.map(str::to_owned),
            requester_chose_url: requester,
            ..CallOrigin::default()
        }
    }

    fn ask(
        policy: &Policy,
        origin: &CallOrigin,
        method: &str,
        url: &str,
    ) -> Result<Grant, HttpError> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        policy.judge(
            origin,
            Reach::Restricted,
            &method,
            &url.parse().unwrap(),
            false,
            Instant::now(),
        )
    }

    #[test]
    fn an_entry_allows_its_host_port_method_and_path_and_nothing_else() {
        let policy = Policy::strict(
            vec![
                entry(job(), "https://api.example.com/v1"),
                entry(job(), "https://*.example.org/"),
            ],
            false,
        )
        .unwrap();
        let own = origin(None, false);
        for url in [
            "https://api.example.com/v1",
            "https://api.example.com/v1/x?y=1",
            "https://api.example.com:443/v1/",
            "https://api.example.com./v1",
            "https://a.example.org/",
            "https://a.b.example.org/x",
        ] {
            assert!(ask(&policy, &own, "GET", url).is_ok(), "{url}");
        }
        for url in [
            "http://api.example.com/v1",
            "https://api.example.com/v10",
            "https://api.example.com/",
            "https://api.example.com:8443/v1",
            "https://api.example.com.evil.example/v1",
            "https://evil-api.example.com/v1",
            "https://example.org/",
            "https://evilexample.org/",
            "https://api.example.com/v1/../v2",
            "https://api.example.com/v1/%2e%2e/v2",
            "https://api.example.com/v1/..%2fv2",
            "https://api.example.com@evil.example/v1",
        ] {
            assert!(
                matches!(
                    ask(&policy, &own, "GET", url),
                    Err(HttpError::NotListed { .. })
                ),
                "{url}"
            );
        }
        assert!(ask(&policy, &own, "POST", "https://api.example.com/v1").is_err());
        assert!(
            ask(
                &policy,
                &origin(Some("x"), false),
                "GET",
                "https://api.example.com/v1"
            )
            .is_err()
        );
        assert!(
            ask(
                &policy,
                &CallOrigin::default(),
                "GET",
                "https://api.example.com/v1"
            )
            .is_err()
        );
    }

    #[test]
    fn bridges_have_entries_of_their_own() {
        let policy = Policy::strict(
            vec![entry(
                Subject::Bridge("weather".into()),
                "http://10.0.0.1:8080/",
            )],
            true,
        )
        .unwrap();
        assert!(
            ask(
                &policy,
                &origin(Some("Weather"), false),
                "GET",
                "http://10.0.0.1:8080/x"
            )
            .is_ok()
        );
        assert!(
            ask(
                &policy,
                &origin(Some("other"), false),
                "GET",
                "http://10.0.0.1:8080/x"
            )
            .is_err()
        );
        assert!(
            ask(
                &policy,
                &origin(None, true),
                "GET",
                "http://10.0.0.1:8080/x"
            )
            .is_err()
        );
    }

    #[test]
    fn what_a_requester_chose_is_fetched_as_public_https_get_where_allowed() {
        let open = Policy::strict(vec![], true).unwrap();
        let closed = Policy::strict(vec![], false).unwrap();
        let chosen = origin(None, true);
        assert!(ask(&open, &chosen, "GET", "https://data.example/x").is_ok());
        assert!(ask(&closed, &chosen, "GET", "https://data.example/x").is_err());
        assert!(ask(&open, &origin(None, false), "GET", "https://data.example/x").is_err());
        for (method, url) in [
            ("POST", "https://data.example/"),
            ("GET", "http://data.example/"),
            ("GET", "https://data.example:8443/"),
            ("GET", "https://u:p@data.example/"),
        ] {
            assert!(ask(&open, &chosen, method, url).is_err(), "{method} {url}");
        }
        let url: Url = "https://data.example/".parse().unwrap();
        let now = Instant::now();
        assert!(
            open.judge(&chosen, Reach::Unrestricted, &Method::GET, &url, false, now)
                .is_err()
        );
        assert!(
            open.judge(&chosen, Reach::Restricted, &Method::GET, &url, true, now)
                .is_err()
        );
    }

    #[test]
    fn a_rate_is_kept_and_recovers() {
        let limited = Entry {
            per_minute: Some(2),
            ..entry(job(), "https://a.example.com/")
        };
        let policy = Policy::strict(vec![limited], true).unwrap();
        let url: Url = "https://a.example.com/".parse().unwrap();
        let start = Instant::now();
        // An entry that is used up is not passed by as a URL of a requester.
        let ask = |after: u64| {
            policy.judge(
                &origin(None, true),
                Reach::Restricted,
                &Method::GET,
                &url,
                false,
                start + Duration::from_secs(after),
            )
        };
        assert!(ask(0).is_ok() && ask(0).is_ok());
        assert!(matches!(ask(1), Err(HttpError::TooOften { .. })));
        assert!(ask(31).is_ok());
        assert!(ask(32).is_err());
    }

    #[test]
    fn an_entry_is_one_line() {
        let entry: Entry = format!("job {JOB} GET,POST https://api.example.com/v1/ max=100 rate=2")
            .parse()
            .unwrap();
        let expected = Entry {
            methods: vec!["GET".into(), "POST".into()],
            per_minute: Some(2),
            ..super::tests::entry(job(), "https://api.example.com/v1/")
        };
        assert_eq!(entry, expected);
        assert!(
            "bridge weather POST http://10.0.0.1:8080/"
                .parse::<Entry>()
                .is_ok()
        );
        for text in [
            "",
            "job x GET https://a.example.com/",
            "bridge b get https://a.example.com/",
            "bridge b GET https://*/",
            "bridge b GET a.example.com",
            "bridge b GET https://a.example.com/ max=x",
            "who b GET https://a.example.com/",
        ] {
            assert!(text.parse::<Entry>().is_err(), "{text}");
        }
    }

    #[test]
    fn entries_that_are_too_wide_are_refused() {
        for url in [
            "https://*/",
            "https://*.com/",
            "https://a.*.com/",
            "https://a*.example.com/",
            "https://u@a.example.com/",
            "https://a.example.com/?x=1",
            "ftp://a.example.com/",
        ] {
            assert!(
                Policy::strict(vec![entry(job(), url)], false).is_err(),
                "{url}"
            );
        }
        let none = Entry {
            methods: vec![],
            ..entry(job(), "https://a.example.com/")
        };
        assert!(Policy::strict(vec![none], false).is_err());
    }
}
