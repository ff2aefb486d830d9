//! What has come of a request, and whether it is the usual one.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(super) const HEADERS: usize = 48;
pub(crate) const HEAD_BYTES: usize = 16 << 10;
/// How long somebody gets to take a refusal.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the next bytes of a connection are.
#[derive(Debug)]
pub(super) enum Next {
    /// Not even the head is all there.
    More,
    /// The usual: where the body begins, and how long it is once it is all there.
    Usual { body: usize, length: usize },
    /// For somebody else.
    Unusual,
    /// How one request is hidden in another, or what nobody means well with.
    Refused(Refused),
}

/// What is not read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    TwoLengths,
    NoLength,
    NotChunked,
    TwoHosts,
    NoHost,
    OtherHost,
    BareLines,
    LargeHead,
    TooLate,
}

impl Refused {
    /// The answer, after which the connection ends.
    pub(crate) fn answer(self) -> Vec<u8> {
        let (status, text) = match self {
            Self::TwoLengths => (
                "400 Bad Request",
                "a request has a Content-Length or a Transfer-Encoding, and not both\n",
            ),
            Self::NoLength => ("400 Bad Request", "the Content-Length is not a number\n"),
            Self::NotChunked => (
                "400 Bad Request",
                "the one Transfer-Encoding is chunked, in well-formed chunks\n",
            ),
            Self::NoHost => ("400 Bad Request", "a request of HTTP/1.1 has a Host\n"),
            Self::OtherHost => (
                "400 Bad Request",
                "the request's target is of another host than its Host\n",
            ),
            Self::TwoHosts => ("400 Bad Request", "a request has one Host\n"),
            Self::BareLines => (
                "400 Bad Request",
                "the lines of a request's head end with CR LF\n",
            ),
            Self::LargeHead => (
                "431 Request Header Fields Too Large",
                "a request's head may have 16384 bytes at most\n",
            ),
            Self::TooLate => (
                "408 Request Timeout",
                "the request took too long to arrive\n",
            ),
        };
        let length = text.len();
        format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n\r\n{text}"
        )
        .into()
    }

    /// Answers, for somebody who may not be listening.
    pub(super) async fn say(self, stream: &mut TcpStream) {
        let answer = self.answer();
        let _ = timeout(FAREWELL, stream.write_all(&answer)).await;
    }
}

/// Looks at what has come. Decides and touches nothing.
pub(super) fn look(bytes: &[u8], most: usize) -> Next {
    // The first letters tell most of what is not for us, before the head is complete.
    let beginning = &b"POST "[..bytes.len().min(5)];
    if !bytes.starts_with(beginning) {
        return Next::Unusual;
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let body = match request.parse(bytes) {
        Ok(httparse::Status::Complete(body)) if body <= HEAD_BYTES => body,
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD_BYTES => return Next::More,
        Ok(_) => return Next::Refused(Refused::LargeHead),
        // What is not HTTP is told so by the general server.
        _ => return Next::Unusual,
    };
    if request.version != Some(1) {
        return Next::Unusual;
    }
    if has_bare_lines(&bytes[..body]) {
        return Next::Refused(Refused::BareLines);
    }
    let has = |name: &str| {
        let headers = request.headers.iter();
        headers
            .filter(|header| header.name.eq_ignore_ascii_case(name))
            .count()
    };
    let mut length = None;
    for header in request.headers.iter() {
        let name = header.name;
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            14 if is("content-length") => {
                let text = header.value.trim_ascii();
                // Signs are for others to make something else of.
                if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
                    return Next::Refused(Refused::NoLength);
                }
                let known = std::str::from_utf8(text)
                    .ok()
                    .and_then(|it| it.parse().ok());
                match (length, known) {
                    (Some(_), _) => return Next::Refused(Refused::TwoLengths),
                    (None, Some(known)) if known <= most => length = Some(known),
                    _ if has("transfer-encoding") > 0 => {
                        return Next::Refused(Refused::TwoLengths);
                    }
                    _ => return Next::Unusual,
                }
            }
            17 if is("transfer-encoding") && has("content-length") > 0 => {
                return Next::Refused(Refused::TwoLengths);
            }
            4 if is("host") && has("host") > 1 => return Next::Refused(Refused::TwoHosts),
            17 if is("transfer-encoding") => return Next::Unusual,
            7 if is("upgrade") => return Next::Unusual,
            6 if is("expect") || is("origin") => return Next::Unusual,
            10 if is("connection") && !header.value.eq_ignore_ascii_case(b"keep-alive") => {
                return Next::Unusual;
            }
            _ => {}
        }
    }
    match length {
        None => Next::Unusual,
        Some(length) => Next::Usual { body, length },
    }
}

/// Lines that end with LF alone: what stands behind such an end is another header to some and the
/// same one to others.
pub(crate) fn has_bare_lines(head: &[u8]) -> bool {
    let mut before = 0;
    head.iter()
        .any(|byte| std::mem::replace(&mut before, *byte) != b'\r' && *byte == b'\n')
}

/// Where the body of a request begins that is served here, and how long it is.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn quick_request(bytes: &[u8], most: usize) -> Option<(usize, usize)> {
    match look(bytes, most) {
        Next::Usual { body, length } => Some((body, length)),
        Next::More | Next::Unusual | Next::Refused(_) => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) const USUAL: &str = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhello";

    #[test]
    fn the_usual_is_known_once_it_is_all_there() {
        let head = USUAL.len() - 5;
        for end in 0..USUAL.len() {
            let next = look(&USUAL.as_bytes()[..end], 100);
            let fits = match next {
                Next::More => end < head,
                Next::Usual { body, length } => end >= head && (body, length) == (head, 5),
                _ => false,
            };
            assert!(fits, "{end}: {next:?}");
        }
        let two = format!("{USUAL}{USUAL}");
        for bytes in [USUAL, &two] {
            let next = look(bytes.as_bytes(), 100);
            assert!(matches!(next, Next::Usual { body, length: 5 } if body == head));
        }
    }

    #[test]
    fn everything_else_is_for_the_general_server() {
        let with =
            |line: &str| USUAL.replace("Host: localhost", &format!("Host: localhost\r\n{line}"));
        for text in [
            "GET / HTTP/1.1\r\n".to_owned(),
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            "\u{16}\u{3}\u{1}".to_owned(),
            USUAL.replace("HTTP/1.1", "HTTP/1.0"),
            USUAL.replace("Content-Length: 5\r\n", ""),
            USUAL.replace("Content-Length: 5", "Content-Length: 101"),
            USUAL.replace("Content-Length: 5", "Transfer-Encoding: chunked"),
            with("Connection: close"),
            with("Connection: Upgrade\r\nUpgrade: websocket"),
            with("Expect: 100-continue"),
            with("Origin: https://app.example"),
            with("Not a header"),
        ] {
            let next = look(text.as_bytes(), 100);
            assert!(matches!(next, Next::Unusual), "{text:?}: {next:?}");
        }
        assert!(matches!(
            look(with("Connection: keep-alive").as_bytes(), 100),
            Next::Usual { .. }
        ));
    }

    #[test]
    fn what_is_read_in_two_ways_is_refused() {
        let with =
            |line: &str| USUAL.replace("Host: localhost", &format!("Host: localhost\r\n{line}"));
        let length = |text: &str| USUAL.replace("Length: 5", &format!("Length: {text}"));
        let large = format!("X: {}", "x".repeat(HEAD_BYTES));
        for (text, refused) in [
            (with("Content-Length: 5"), Refused::TwoLengths),
            (with("Transfer-Encoding: chunked"), Refused::TwoLengths),
            (length("+5"), Refused::NoLength),
            (length("-5"), Refused::NoLength),
            (length(""), Refused::NoLength),
            (length("5, 5"), Refused::NoLength),
            (with("Host: elsewhere"), Refused::TwoHosts),
            (USUAL.replace("\r\n", "\n"), Refused::BareLines),
            (with("A: b\nC: d"), Refused::BareLines),
            (with(&large), Refused::LargeHead),
            (format!("POST / HTTP/1.1\r\n{large}"), Refused::LargeHead),
        ] {
            let next = look(text.as_bytes(), 100);
            assert!(
                matches!(next, Next::Refused(it) if it == refused),
                "{text:?}: {next:?}"
            );
            let answer = String::from_utf8(refused.answer()).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with(&format!("content-length: {}", body.len())));
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_looked_at_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = look(&bytes, 100);
            let mut after = b"POST / HTTP/1.1\r\n".to_vec();
            after.extend_from_slice(&bytes);
            let _ = look(&after, 100);
        }
    }
}
