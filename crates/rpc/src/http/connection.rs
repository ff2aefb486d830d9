//! One keep-alive connection to an endpoint: a request's bytes out, an answer's bytes in, in the
//! task of whoever asks. Nothing runs beside it, so a question costs two system calls.

use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::lane;

/// Headers of an answer, at most.
const HEAD_BYTES: usize = 64 << 10;
const HEADERS: usize = 96;
/// Room made for an answer whose length is not known yet.
const ROOM: usize = 4 << 10;
/// Larger answers take the connection's buffer with them.
const LARGE: usize = 64 << 10;
/// Bodies up to this size are sent in one piece with their heads.
const COPIED: usize = 16 << 10;
/// A host may have several addresses, and the first may be dead.
const ADDRESS_WITHIN: Duration = Duration::from_secs(3);

/// Where an endpoint is.
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<(TlsConnector, ServerName<'static>)>,
}

pub(super) struct Connection {
    stream: Stream,
    buffer: BytesMut,
    out: BytesMut,
    /// Where it was opened.
    pub(super) lane: usize,
}

/// Plain or with TLS; both are read and written the same way.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
    pub(super) body: Bytes,
    /// The connection may carry another question.
    pub(super) keep: bool,
}

/// Why nothing came back.
#[derive(Debug)]
pub(super) enum Broken {
    /// Before a single byte of the answer came: on a connection that was kept, the endpoint may
    /// have closed it just when we wrote.
    Unanswered(io::Error),
    Within(io::Error),
    /// Not HTTP.
    Malformed(&'static str),
    TooLarge,
}

impl Place {
    pub(super) async fn connect(&self) -> io::Result<Connection> {
        let mut last = None;
        for address in lookup_host((self.host.as_str(), self.port)).await? {
            match timeout(ADDRESS_WITHIN, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return self.over(stream).await,
                Ok(Err(cause)) => last = Some(cause),
                Err(_) => last = Some(io::Error::new(ErrorKind::TimedOut, "no connection in time")),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::new(ErrorKind::NotFound, "the host has no address")))
    }

    async fn over(&self, stream: TcpStream) -> io::Result<Connection> {
        stream.set_nodelay(true)?;
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some((tls, name)) => Stream::Tls(Box::new(tls.connect(name.clone(), stream).await?)),
        };
        Ok(Connection {
            stream,
            buffer: BytesMut::new(),
            out: BytesMut::new(),
            lane: lane::current(),
        })
    }
}

impl Connection {
    /// Whether the endpoint has not closed it, as far as is known without asking the kernel.
    pub(super) fn is_open(&self) -> bool {
        let stream = match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        };
        let mut byte = [0];
        // Anything that can be read now is an end or something nobody asked for. Of TLS, a
        // session ticket may lie there; then the connection is not worth a doubt.
        match stream.try_read(&mut byte) {
            Err(cause) => cause.kind() == ErrorKind::WouldBlock,
            Ok(_) => false,
        }
    }

    /// Asks and waits for all of the answer. `head` is a request's head but for the number its last
    /// line ends with, which is the body's length.
    pub(super) async fn exchange(
        &mut self,
        head: &[u8],
        body: &[u8],
        most: usize,
    ) -> Result<Reply, Broken> {
        self.write(head, body).await.map_err(Broken::Unanswered)?;
        let head = self.read_head().await?;
        let body = match head.length {
            Length::Known(length) if length > most as u64 => return Err(Broken::TooLarge),
            Length::Known(length) => {
                // It fits, or the line above would have said so.
                self.fill(usize::try_from(length).unwrap_or(most)).await?
            }
            Length::Chunked => self.read_chunks(most).await?,
            Length::ToTheEnd => self.read_to_end(most).await?,
        };
        Ok(Reply {
            status: head.status,
            retry_after: head.retry_after,
            body,
            keep: head.keep && self.buffer.is_empty(),
        })
    }

    async fn write(&mut self, head: &[u8], body: &[u8]) -> io::Result<()> {
        self.out.clear();
        self.out.put_slice(head);
        let mut length = itoa::Buffer::new();
        self.out.put_slice(length.format(body.len()).as_bytes());
        self.out.put_slice(b"\r\n\r\n");
        // One small piece is cheaper to copy than to send beside another one.
        if body.len() <= COPIED {
            self.out.put_slice(body);
            self.stream.write_all(&self.out).await?;
        } else {
            let mut both = Buf::chain(&self.out[..], body);
            while both.has_remaining() {
                self.stream.write_buf(&mut both).await?;
            }
        }
        self.stream.flush().await
    }

    /// More bytes, or an error at the end of them.
    async fn more(&mut self) -> io::Result<()> {
        self.buffer.reserve(ROOM);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn read_head(&mut self) -> Result<Head, Broken> {
        loop {
            if !self.buffer.is_empty()
                && let Some((head, length)) = Head::read(&self.buffer)?
            {
                self.buffer.advance(length);
                // "Continue" and its like announce the answer and are none.
                if head.status >= 200 {
                    return Ok(head);
                }
                continue;
            }
            if self.buffer.len() > HEAD_BYTES {
                return Err(Broken::Malformed("headers without end"));
            }
            let first = self.buffer.is_empty();
            self.more().await.map_err(|cause| match first {
                true => Broken::Unanswered(cause),
                false => Broken::Within(cause),
            })?;
        }
    }

    /// The next so many bytes.
    async fn fill(&mut self, length: usize) -> Result<Bytes, Broken> {
        self.buffer
            .reserve(length.saturating_sub(self.buffer.len()));
        while self.buffer.len() < length {
            self.more().await.map_err(Broken::Within)?;
        }
        if length <= LARGE {
            // Once it is dropped, which mostly is before the next answer comes, its place is used again.
            return Ok(self.buffer.split_to(length).freeze());
        }
        // Neither an idle connection nor small answers to come may keep so much.
        let mut whole = std::mem::take(&mut self.buffer);
        self.buffer.extend_from_slice(&whole[length..]);
        whole.truncate(length);
        Ok(whole.freeze())
    }

    async fn read_chunks(&mut self, most: usize) -> Result<Bytes, Broken> {
        let mut whole = BytesMut::new();
        loop {
            let length = match httparse::parse_chunk_size(&self.buffer) {
                Ok(httparse::Status::Complete((at, length))) => {
                    self.buffer.advance(at);
                    usize::try_from(length).map_err(|_| Broken::TooLarge)?
                }
                Ok(httparse::Status::Partial) if self.buffer.len() < HEAD_BYTES => {
                    self.more().await.map_err(Broken::Within)?;
                    continue;
                }
                _ => return Err(Broken::Malformed("a chunk without a length")),
            };
            if length == 0 {
                self.skip_trailers().await?;
                return Ok(whole.freeze());
            }
            if whole.len() + length > most {
                return Err(Broken::TooLarge);
            }
            let chunk = self.fill(length).await?;
            whole.extend_from_slice(&chunk);
            drop(chunk);
            if self.fill(2).await? != b"\r\n"[..] {
                return Err(Broken::Malformed("a chunk without an end"));
            }
        }
    }

    async fn skip_trailers(&mut self) -> Result<(), Broken> {
        loop {
            while self.buffer.len() < 2 {
                self.more().await.map_err(Broken::Within)?;
            }
            if self.buffer.starts_with(b"\r\n") {
                self.buffer.advance(2);
                return Ok(());
            }
            match self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                Some(at) => self.buffer.advance(at + 2),
                None if self.buffer.len() > HEAD_BYTES => {
                    return Err(Broken::Malformed("trailers without end"));
                }
                None => self.more().await.map_err(Broken::Within)?,
            }
        }
    }

    async fn read_to_end(&mut self, most: usize) -> Result<Bytes, Broken> {
        loop {
            if self.buffer.len() > most {
                return Err(Broken::TooLarge);
            }
            match self.more().await {
                Ok(()) => {}
                Err(cause) if cause.kind() == ErrorKind::UnexpectedEof => {
                    return Ok(std::mem::take(&mut self.buffer).freeze());
                }
                Err(cause) => return Err(Broken::Within(cause)),
            }
        }
    }
}

enum Length {
    Known(u64),
    Chunked,
    ToTheEnd,
}

struct Head {
    status: u16,
    retry_after: Option<String>,
    length: Length,
    keep: bool,
}

/// Digits and nothing else.
fn number(digits: &[u8]) -> Option<u64> {
    let all = digits.iter().all(u8::is_ascii_digit) && !digits.is_empty();
    let add =
        |number: u64, digit: &u8| number.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    all.then(|| digits.iter().try_fold(0, add)).flatten()
}

impl Head {
    /// The head and how long it is; none if it is not all there.
    fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Broken> {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS];
        let mut response = httparse::Response::new(&mut []);
        let parser = httparse::ParserConfig::default();
        let parsed = parser.parse_response_with_uninit_headers(&mut response, bytes, &mut headers);
        let end = match parsed {
            Ok(httparse::Status::Complete(end)) => end,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Broken::Malformed("something that is not HTTP")),
        };
        let status = response.code.unwrap_or_default();
        let mut head = Self {
            status,
            retry_after: None,
            length: Length::ToTheEnd,
            keep: response.version == Some(1),
        };
        let mut known = None;
        let mut chunked = false;
        for header in response.headers.iter() {
            let value = || std::str::from_utf8(header.value).unwrap_or_default().trim();
            if header.name.eq_ignore_ascii_case("content-length") {
                let length = number(header.value.trim_ascii())
                    .ok_or(Broken::Malformed("a length that is no number"))?;
                if known.is_some_and(|known| known != length) {
                    return Err(Broken::Malformed("two lengths"));
                }
                known = Some(length);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = value().to_ascii_lowercase().ends_with("chunked");
            } else if header.name.eq_ignore_ascii_case("connection") {
                let value = value().to_ascii_lowercase();
                if value.contains("close") {
                    head.keep = false;
                } else if value.contains("keep-alive") {
                    head.keep = true;
                }
            } else if header.name.eq_ignore_ascii_case("retry-after") {
                head.retry_after = Some(value().to_owned());
            }
        }
        head.length = match (chunked, known) {
            _ if status == 204 || status == 304 || status < 200 => Length::Known(0),
            (true, _) => Length::Chunked,
            (false, Some(length)) => Length::Known(length),
            (false, None) => {
                head.keep = false;
                Length::ToTheEnd
            }
        };
        Ok(Some((head, end)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// A connector for a host under these settings.
pub(super) fn connector(
    config: Arc<rustls::ClientConfig>,
    host: &str,
) -> Option<(TlsConnector, ServerName<'static>)> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(bare.to_owned()).ok()?;
    Some((TlsConnector::from(config), name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// What comes of an answer that arrives in these pieces before the connection is closed.
    async fn reply(pieces: &'static [&'static [u8]], most: usize) -> Result<Reply, Broken> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            for piece in pieces {
                stream.write_all(piece).await.unwrap();
                stream.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let place = Place {
            host: "127.0.0.1".to_owned(),
            port,
            tls: None,
        };
        let mut connection = place.connect().await.unwrap();
        let reply = connection
            .exchange(b"POST / HTTP/1.1\r\nContent-Length: ", b"", most)
            .await;
        serving.await.unwrap();
        reply
    }

    #[tokio::test]
    async fn an_answer_is_read_however_its_length_is_given() {
        const CASES: &[(&[&[u8]], bool)] = &[
            (&[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"], true),
            (&[b"HTTP/1.1 200 OK\r\nCont", b"ent-Length: 5\r\n\r\nhe", b"llo"], true),
            (&[b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"], false),
            (&[b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo"], false),
            (&[b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"], false),
            (
                &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r", b"\nlo\r\n0\r\nA: b\r\n\r\n"],
                true,
            ),
            (&[b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"], true),
        ];
        for (pieces, keep) in CASES {
            let reply = reply(pieces, 100).await.unwrap();
            assert_eq!((reply.status, &reply.body[..]), (200, &b"hello"[..]));
            assert_eq!(
                reply.keep,
                *keep,
                "{:?}",
                String::from_utf8_lossy(pieces[0])
            );
        }
        let limited = reply(
            &[b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"],
            100,
        )
        .await
        .unwrap();
        assert_eq!(
            (limited.status, limited.retry_after.as_deref()),
            (429, Some("7"))
        );
    }

    #[tokio::test]
    async fn a_large_answer_leaves_no_large_buffer_behind_and_small_ones_stay_what_they_are() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let lengths = [5, LARGE * 10, 7, 3000, LARGE, 5, LARGE + 1, 1];
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            for length in lengths {
                let _ = stream.read(&mut request).await.unwrap();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                let letter = length.to_le_bytes()[0];
                stream.write_all(&vec![letter; length]).await.unwrap();
            }
        });
        let place = Place {
            host: "127.0.0.1".to_owned(),
            port,
            tls: None,
        };
        let mut connection = place.connect().await.unwrap();
        let mut bodies = Vec::new();
        for _ in lengths {
            let asked = connection.exchange(b"POST / HTTP/1.1\r\nContent-Length: ", b"", 1 << 20);
            bodies.push(asked.await.unwrap().body);
            assert!(connection.buffer.capacity() <= 2 * LARGE);
        }
        serving.await.unwrap();
        for (length, body) in lengths.into_iter().zip(bodies) {
            assert_eq!(body, vec![length.to_le_bytes()[0]; length]);
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_told_apart() {
        type Fits = fn(&Broken) -> bool;
        let cases: [(&'static [&'static [u8]], Fits); 12] = [
            (
                &[b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello"],
                |b| matches!(b, Broken::Malformed(_)),
            ),
            (
                &[b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nhello"],
                |b| matches!(b, Broken::Malformed(_)),
            ),
            (
                &[b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello"],
                |b| matches!(b, Broken::Malformed(_)),
            ),
            (
                &[b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nhello"],
                |b| matches!(b, Broken::Malformed(_)),
            ),
            (&[], |b| matches!(b, Broken::Unanswered(_))),
            (&[b"HTTP/1.1 20"], |b| matches!(b, Broken::Within(_))),
            (&[b"SSH-2.0-OpenSSH\r\n\r\n"], |b| {
                matches!(b, Broken::Malformed(_))
            }),
            (
                &[b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"],
                |b| matches!(b, Broken::Within(_)),
            ),
            (
                &[b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nhello"],
                |b| matches!(b, Broken::TooLarge),
            ),
            (
                &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n"],
                |b| matches!(b, Broken::TooLarge),
            ),
            (
                &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
                |b| matches!(b, Broken::Malformed(_)),
            ),
            (
                &[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"],
                |b| matches!(b, Broken::Malformed(_)),
            ),
        ];
        for (pieces, fits) in cases {
            let broken = reply(pieces, 100).await.unwrap_err();
            assert!(fits(&broken), "{pieces:?}: {broken:?}");
        }
    }
}
