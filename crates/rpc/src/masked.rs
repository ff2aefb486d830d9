//! URLs of providers carry passwords and tokens. What is shown of one is only its shape.

use std::fmt;

use url::Url;

/// Longest path segment shown; tokens are longer, and names of networks are not.
const LONGEST_PLAIN_SEGMENT: usize = 10;

/// A URL as it may be printed.
pub(crate) struct Masked<'a>(pub(crate) &'a Url);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.0;
        write!(f, "{}://", url.scheme())?;
        if !url.username().is_empty() || url.password().is_some() {
            f.write_str("•••@")?;
        }
        f.write_str(url.host_str().unwrap_or_default())?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        for segment in url
            .path_segments()
            .into_iter()
            .flatten()
            .filter(|segment| !segment.is_empty())
        {
            let plain = segment.len() <= LONGEST_PLAIN_SEGMENT && !segment.contains('%');
            write!(f, "/{}", if plain { segment } else { "•••" })?;
        }
        if url.query().is_some() {
            f.write_str("?•••")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_tokens_in_urls_are_not_shown() {
        for (url, shown) in [
            ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
            (
                "https://eth.example.com/v3/0123456789abcdef0123",
                "https://eth.example.com/v3/•••",
            ),
            (
                "wss://user:pass@example.com:8546/ext/bc/C/ws",
                "wss://•••@example.com:8546/ext/bc/C/ws",
            ),
            (
                "https://example.com/rpc?apikey=s3cret",
                "https://example.com/rpc?•••",
            ),
            ("https://example.com/rpc#s3cret", "https://example.com/rpc"),
        ] {
            assert_eq!(Masked(&Url::parse(url).unwrap()).to_string(), shown);
        }
    }
}
