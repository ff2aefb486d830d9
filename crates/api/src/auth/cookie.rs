//! The session cookie. Its content means nothing to clients.

use axum::http::{HeaderMap, HeaderValue, header};

/// The name the Chainlink node's clients look for.
const NAME: &str = "clsession";
/// How long browsers keep it; the session itself ends earlier when unused.
const MAX_AGE_SECONDS: u32 = 30 * 24 * 3600;

/// The session id a request carries.
pub(super) fn session_id(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == NAME).then_some(value))
}

fn cookie(value: &str, max_age: u32, secure: bool) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    let text =
        format!("{NAME}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::from_str(&text).expect("hex digits and words are header characters")
}

/// Hands a session to the browser. `id` is hex.
pub(crate) fn session_cookie(id: &str, secure: bool) -> HeaderValue {
    cookie(id, MAX_AGE_SECONDS, secure)
}

/// Takes it back.
pub(crate) fn clear_cookie(secure: bool) -> HeaderValue {
    cookie("", 0, secure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        headers.append(
            header::COOKIE,
            HeaderValue::from_static("theme=dark; clsession=abc; x=y"),
        );
        assert_eq!(session_id(&headers), Some("abc"));
        assert_eq!(session_id(&HeaderMap::new()), None);
    }
}
