//! Where the requests of an HTTP/1.1 connection begin and end, followed beside the general server. It
//! reads some heads more kindly than others do, and what two programs on a request's way read in two
//! ways is how one request is hidden in another: such heads are refused before it sees their ends.

use super::swift::{HEAD_BYTES, Refused, has_bare_lines};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// As many as the general server takes.
const HEADERS: usize = 100;
/// Digits of a chunk's length.
const DIGITS: usize = 15;

/// Follows what comes; decides and touches nothing.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    at: At,
    /// Of the head, or of a line between chunks, as far as it has come.
    open: Vec<u8>,
    /// Nothing but a request of this version, or a line's end, was seen.
    begun: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    #[default]
    Head,
    /// So many bytes are to come.
    Body(u64),
    /// A line with the length of a chunk.
    Length,
    /// Of a chunk so many bytes, and the end of its line.
    Chunk(u64),
    /// Lines behind the last chunk.
    Trailer,
    /// HTTP/2.
    Other,
}

impl Framing {
    /// Looks at what came. The error is what is refused, and how many of the bytes came before it.
    pub(crate) fn look(&mut self, bytes: &[u8]) -> Result<(), (usize, Refused)> {
        let (mut good, mut rest) = (0, bytes);
        while !rest.is_empty() {
            match self.at {
                At::Other => return Ok(()),
                At::Body(left) | At::Chunk(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    rest = &rest[take..];
                    let left = left - take as u64;
                    self.at = match (self.at, left) {
                        (At::Body(_), 0) => At::Head,
                        (At::Body(_), left) => At::Body(left),
                        (_, 0) => At::Length,
                        (_, left) => At::Chunk(left),
                    };
                    good = bytes.len() - rest.len();
                }
                At::Head | At::Length | At::Trailer => {
                    let (line, more) = match rest.iter().position(|byte| *byte == b'\n') {
                        Some(end) => rest.split_at(end + 1),
                        None => (rest, &rest[rest.len()..]),
                    };
                    self.open.extend_from_slice(line);
                    rest = more;
                    let done = self.line().map_err(|refused| (good, refused))?;
                    if done {
                        good = bytes.len() - rest.len();
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks at what is open, up to the end of a line or of what came; true if a piece is complete.
    fn line(&mut self) -> Result<bool, Refused> {
        if self.at == At::Head && !self.begun && PREFACE.starts_with(&self.open) {
            if self.open.len() == PREFACE.len() {
                self.end(At::Other);
            }
            return Ok(false);
        }
        if self.open.len() > HEAD_BYTES {
            return Err(Refused::LargeHead);
        }
        if !self.open.ends_with(b"\n") {
            return Ok(false);
        }
        if has_bare_lines(&self.open) {
            return Err(Refused::BareLines);
        }
        let next = match self.at {
            // Empty lines between requests mean nothing.
            At::Head if self.open == b"\r\n" => At::Head,
            At::Head if self.open.ends_with(b"\r\n\r\n") => {
                self.begun = true;
                body(&self.open)?
            }
            At::Length => chunk(&self.open[..self.open.len() - 2])?,
            At::Trailer if self.open == b"\r\n" || self.open.ends_with(b"\r\n\r\n") => At::Head,
            _ => return Ok(false),
        };
        self.end(next);
        Ok(true)
    }

    fn end(&mut self, next: At) {
        self.at = next;
        self.open = Vec::new();
    }
}

/// What follows this head.
fn body(head: &[u8]) -> Result<At, Refused> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        // Said by the general server, which ends the connection then.
        _ => return Ok(At::Head),
    }
    let (mut length, mut encoded, mut host) = (None, false, None);
    for header in request.headers.iter() {
        let value = header.value.trim_ascii();
        if header.name.eq_ignore_ascii_case("content-length") {
            // Signs are for others to make something else of.
            if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
                return Err(Refused::NoLength);
            }
            let known = std::str::from_utf8(value)
                .ok()
                .and_then(|it| it.parse().ok());
            let known: u64 = known.ok_or(Refused::NoLength)?;
            if length.replace(known).is_some() {
                return Err(Refused::TwoLengths);
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if std::mem::replace(&mut encoded, true) || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refused::NotChunked);
            }
        } else if header.name.eq_ignore_ascii_case("host") && host.replace(value).is_some() {
            return Err(Refused::TwoHosts);
        }
    }
    let new = request.version == Some(1);
    match host {
        None if new => return Err(Refused::NoHost),
        Some(host) if !is_of(request.path.unwrap_or_default(), host) => {
            return Err(Refused::OtherHost);
        }
        _ => {}
    }
    match (encoded, length) {
        (true, Some(_)) => Err(Refused::TwoLengths),
        (true, None) if !new => Err(Refused::NotChunked),
        (true, None) => Ok(At::Length),
        (false, None | Some(0)) => Ok(At::Head),
        (false, Some(length)) => Ok(At::Body(length)),
    }
}

/// Whether a target, if it names a host, names this one.
fn is_of(target: &str, host: &[u8]) -> bool {
    let Some((_, rest)) = target
        .split_once("://")
        .filter(|_| !target.starts_with('/'))
    else {
        return true;
    };
    let named = rest.split(['/', '?', '#']).next().unwrap_or_default();
    named.as_bytes().eq_ignore_ascii_case(host)
}

/// What follows the line with the length of a chunk.
fn chunk(line: &[u8]) -> Result<At, Refused> {
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let length = std::str::from_utf8(&line[..digits.min(line.len())]).unwrap_or_default();
    let known = u64::from_str_radix(length, 16).ok();
    match (known.filter(|_| digits <= DIGITS), line.get(digits)) {
        (Some(0), None | Some(b';')) => Ok(At::Trailer),
        // Its bytes, and the end of the line behind them.
        (Some(length), None | Some(b';')) => Ok(At::Chunk(length + 2)),
        _ => Err(Refused::NotChunked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const POST: &str = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhe\n\n!";
    const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhe\n\n!\r\n1\r\n!\r\n0\r\nA: b\r\n\r\n";

    /// Looks at it in pieces of this size.
    fn all(text: &str, piece: usize) -> Result<(), (usize, Refused)> {
        let mut framing = Framing::default();
        for (at, bytes) in text.as_bytes().chunks(piece).enumerate() {
            framing
                .look(bytes)
                .map_err(|(good, it)| (at * piece + good, it))?;
        }
        Ok(())
    }

    #[test]
    fn requests_are_followed_one_behind_the_other_and_what_stands_before_a_bad_one_is_good() {
        let good = [GET, POST, "\r\n", CHUNKED, GET, CHUNKED, POST].concat();
        let bad = "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";
        for piece in [1, 2, 7, 100, 10_000] {
            assert_eq!(all(&good, piece), Ok(()), "{piece}");
            let all = all(&format!("{good}{bad}"), piece);
            let (before, refused) = all.unwrap_err();
            assert_eq!(refused, Refused::TwoHosts);
            assert!(before >= good.len(), "{before}");
        }
        let (before, _) = all(&format!("{good}{bad}"), 10_000).unwrap_err();
        assert_eq!(before, good.len());
    }

    #[test]
    fn what_is_read_in_two_ways_is_refused() {
        let with = |line: &str| GET.replace("Host: localhost", line);
        let large = format!("Host: a\r\nX: {}", "x".repeat(HEAD_BYTES));
        let chunks = |line: &str| CHUNKED.replace("5;x=y", line);
        for (text, refused) in [
            (
                with("Host: a\r\nContent-Length: 5\r\nContent-Length: 5"),
                Refused::TwoLengths,
            ),
            (
                with("Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked"),
                Refused::TwoLengths,
            ),
            (
                with("Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5"),
                Refused::TwoLengths,
            ),
            (
                with("Host: a\r\nTransfer-Encoding: gzip, chunked"),
                Refused::NotChunked,
            ),
            (
                with("Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
                Refused::NotChunked,
            ),
            (with("Host: a\r\nContent-Length: +5"), Refused::NoLength),
            (
                with("Host: a\r\nContent-Length: 99999999999999999999999"),
                Refused::NoLength,
            ),
            (with("Host: a\r\nHost: a"), Refused::TwoHosts),
            (with("Host: a\nX: y"), Refused::BareLines),
            (GET.replace("\r\n", "\n"), Refused::BareLines),
            (with("X: y"), Refused::NoHost),
            (with(&large), Refused::LargeHead),
            (
                with("Host: a").replace("GET /", "GET http://b/"),
                Refused::OtherHost,
            ),
            (
                with("Host: a").replace("GET /", "GET http://a:80"),
                Refused::OtherHost,
            ),
            (chunks("+5"), Refused::NotChunked),
            (chunks("5 "), Refused::NotChunked),
            (chunks(""), Refused::NotChunked),
            (chunks("fffffffffffffffff"), Refused::NotChunked),
        ] {
            for piece in [1, 10_000] {
                let found = all(&text, piece);
                assert_eq!(found.map_err(|(_, it)| it), Err(refused), "{text:.80}");
            }
        }
        for text in [
            with("Host: a").replace("GET /", "GET http://a/b"),
            with("Host: a").replace("GET /", "GET /?x=http://b/"),
            "GET / HTTP/1.0\r\n\r\n".to_owned(),
            format!("{}\0\0\n\nX", std::str::from_utf8(PREFACE).unwrap()),
        ] {
            assert_eq!(all(&text, 3), Ok(()), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_followed_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1_usize..50) {
            for before in ["", "GET / HTTP/1.1\r\n", &CHUNKED[..70]] {
                let mut framing = Framing::default();
                let all = [before.as_bytes(), &bytes].concat();
                let _ = all.chunks(piece).try_for_each(|bytes| framing.look(bytes));
            }
        }
    }
}
