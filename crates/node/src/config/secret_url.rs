//! Addresses of Ethereum clients: they carry access tokens, so they do not print.

use std::fmt;

use url::Url;

/// An address whose path, query and user information are for our eyes only.
///
/// Providers put the customer's access token into the path or the query, and
/// logs, panics and `validate` output end up in tickets and chats.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl SecretUrl {
    pub fn new(url: Url) -> Self {
        Self(url)
    }

    /// The whole address, for whoever opens the connection.
    pub fn expose(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&dodona_rpc::masked(&self.0))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        SecretUrl::new(Url::parse(text).unwrap()).to_string()
    }

    #[test]
    fn a_token_in_the_path_the_query_or_the_user_part_is_not_shown() {
        assert_eq!(
            shown("wss://mainnet.example.org/v3/0123456789abcdef"),
            "wss://mainnet.example.org/•••"
        );
        assert_eq!(
            shown("https://rpc.example.org?apikey=0123"),
            "https://rpc.example.org/•••"
        );
        assert_eq!(
            shown("https://me:secret@rpc.example.org:8545"),
            "https://rpc.example.org:8545/•••"
        );
    }

    #[test]
    fn a_plain_address_is_shown_whole() {
        assert_eq!(shown("ws://localhost:8546"), "ws://localhost:8546");
    }

    #[test]
    fn debug_output_is_masked_too() {
        let url = SecretUrl::new(Url::parse("https://rpc.example.org/key").unwrap());
        assert_eq!(format!("{url:?}"), "https://rpc.example.org/•••");
    }
}
