//! An answer on its way to who asked: head and body in one piece, mostly at once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::super::Core;
use super::super::envelope::Response;
use super::super::handle::{Handled, Said};
use super::super::pace::Taking;
use super::super::responses::whole_seconds;
use super::super::server;

/// Answers up to this size leave in one piece with their heads.
const COPIED: usize = 16 << 10;

/// Writes as much of an answer as the connection takes at once, which mostly is all of it; gives
/// back the rest.
pub(super) fn write(
    stream: &TcpStream,
    out: &mut BytesMut,
    handled: Handled<'_>,
    leaving: bool,
) -> io::Result<VecDeque<Bytes>> {
    out.clear();
    match handled.wait {
        None => out.put_slice(b"HTTP/1.1 200 OK\r\n"),
        Some(wait) => {
            let seconds = whole_seconds(wait);
            let _ = write!(
                out.writer(),
                "HTTP/1.1 429 Too Many Requests\r\nretry-after: {seconds}\r\n"
            );
        }
    }
    if leaving {
        out.put_slice(b"connection: close\r\n");
    }
    out.put_slice(b"content-type: application/json\r\ndate: ");
    date(out);
    let mut rest = VecDeque::new();
    // Small answers are one piece with their head: one copy is cheaper than a list of pieces.
    match handled.said {
        Said::Nothing => end_head(out, 0),
        Said::One(id, answer) => {
            let response = Response::new(id, answer);
            end_head(out, response.len());
            response.begin(out);
            if response.content.len() <= COPIED {
                out.put_slice(&response.content);
                out.put_slice(Response::END);
            } else {
                rest.extend([response.content, Bytes::from_static(Response::END)]);
            }
        }
        Said::Batch(pieces) => {
            end_head(out, pieces.len());
            rest = pieces.0;
            if let Some(first) = rest.front().filter(|first| first.len() <= COPIED) {
                out.put_slice(first);
                rest.pop_front();
            }
        }
    }
    let written = match stream.try_write(out) {
        Ok(written) => written,
        Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => 0,
        Err(cause) => return Err(cause),
    };
    if written < out.len() {
        rest.push_front(out.split_off(written).freeze());
    }
    Ok(rest)
}

/// The last line of a head, and what ends it.
fn end_head(out: &mut BytesMut, length: usize) {
    out.put_slice(b"\r\ncontent-length: ");
    out.put_slice(itoa::Buffer::new().format(length).as_bytes());
    out.put_slice(b"\r\n\r\n");
}

/// Writes what the connection did not take at once. It takes up room meanwhile like requests do, and
/// whoever takes nothing of it for too long is let go.
pub(super) async fn write_slowly(
    stream: &mut (impl AsyncWrite + Unpin),
    pieces: VecDeque<Bytes>,
    settings: &Core,
) -> io::Result<()> {
    let slow = |_| io::Error::from(io::ErrorKind::TimedOut);
    let length: usize = pieces.iter().map(Bytes::len).sum();
    // One that is larger than all the room there is may have it for itself.
    let most = settings.config.max_held_bytes;
    let _room = Arc::clone(&settings.kept.held)
        .try_acquire_many_owned(server::room_for(length as u64, most).min(whole_room(most)))
        .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    let taking = Taking::new(Instant::now(), settings.config.body_within, length);
    for mut piece in pieces {
        while piece.has_remaining() {
            let writing = stream.write_buf(&mut piece);
            if timeout_at(taking.until(Instant::now()), writing)
                .await
                .map_err(slow)??
                == 0
            {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
    }
    Ok(())
}

/// All the room there is, in KiB.
pub(crate) fn whole_room(most: usize) -> u32 {
    u32::try_from(most >> 10).unwrap_or(u32::MAX).max(1)
}

/// The time as HTTP writes it; made once a second.
fn date(into: &mut BytesMut) {
    thread_local! {
        static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now();
    let second = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|(made, text)| {
        if *made != second {
            (*made, *text) = (second, httpdate::fmt_http_date(now));
        }
        into.put_slice(text.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;

    use super::super::tests::known;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_byte_now_and_then_does_not_hold_an_answer_for_ever() {
        let known = known("", 0);
        for (each, whole) in [(1, false), (32 << 10, true)] {
            let (mut ours, mut theirs) = tokio::io::duplex(64 << 10);
            let taking = tokio::spawn(async move {
                let mut some = vec![0; each];
                while theirs.read_exact(&mut some).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
            let answer = VecDeque::from([Bytes::from(vec![b'x'; 1 << 20])]);
            let began = Instant::now();
            let written = write_slowly(&mut ours, answer, &known.core).await;
            assert_eq!(written.is_ok(), whole);
            if !whole {
                assert_eq!(began.elapsed(), Duration::from_secs(30 + 64));
            }
            taking.abort();
        }
    }
}
