//! URLs of providers carry passwords and tokens. What is shown of one is where it leads.

use url::Url;

/// Scheme, host and port of a URL; anything else, which may be an access token of any length,
/// becomes `•••`.
pub fn masked(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let more = url.path().len() > 1
        || url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some();
    let rest = if more { "/•••" } else { "" };
    format!("{}://{host}{port}{rest}", url.scheme())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_scheme_host_and_port_are_shown_and_nothing_else_however_short() {
        for (url, shown) in [
            ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
            (
                "https://eth.example.com/v3/0123",
                "https://eth.example.com/•••",
            ),
            (
                "https://eth.example.com/s3cret",
                "https://eth.example.com/•••",
            ),
            (
                "wss://user:pass@example.com:8546/ext/bc/C/ws",
                "wss://example.com:8546/•••",
            ),
            ("wss://:pass@example.com", "wss://example.com/•••"),
            (
                "https://example.com?apikey=s3cret",
                "https://example.com/•••",
            ),
            ("https://example.com/#s3cret", "https://example.com/•••"),
            ("http://[::1]:8545/", "http://[::1]:8545"),
        ] {
            assert_eq!(masked(&Url::parse(url).unwrap()), shown);
        }
    }
}
