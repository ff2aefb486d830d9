//! The way out to one WebSocket client.
//!
//! Whoever has something to say writes it to the connection at once, if nothing waits for it there:
//! telling ten thousand clients of a block wakes nobody but the clients. What the connection does
//! not take waits in line, and the connection's own task writes it when there is room.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWrite, WriteHalf};
use tokio::net::tcp::OwnedWriteHalf;

use super::frames::{self, HEADER_BYTES, Kind};

/// Messages up to this size are copied next to their headers: one write of one piece.
const COPIED: usize = 16 << 10;
/// So much may be held back to be written with what comes next.
const HELD_BACK: usize = 32 << 10;
/// Pieces written at once.
const PIECES: usize = 16;

thread_local! {
    /// Where small frames are put together.
    static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// More waits for the client than is kept for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooSlow;

pub(crate) struct Line {
    /// Bytes that may wait behind the message that is being written.
    most: usize,
    /// Whether anything waits.
    waits: AtomicBool,
    way: Mutex<Way>,
    /// Who hears it in place of a connection, in simulations.
    #[cfg(test)]
    heard: Option<tokio::sync::mpsc::UnboundedSender<Bytes>>,
}

#[derive(Default)]
struct Way {
    /// Where anybody may write; none where only the connection's task can, or after the end.
    direct: Option<OwnedWriteHalf>,
    ended: bool,
    /// The connection takes no more at present.
    full: bool,
    waiting: VecDeque<Frame>,
    /// Bytes of those but the first.
    behind: usize,
    /// What was written lies in a buffer of the connection's own.
    unflushed: bool,
    /// The connection's task, which writes what waits.
    writer: Option<Waker>,
}

/// A frame, or what is left of it.
struct Frame {
    head: [u8; HEADER_BYTES],
    /// What is left of the head: from here to there.
    open: (usize, usize),
    body: Bytes,
    /// A part of it is written.
    begun: bool,
}

impl Frame {
    fn new(kind: Kind, body: Bytes) -> Self {
        let mut text = Vec::with_capacity(HEADER_BYTES);
        frames::put_header(&mut text, kind, body.len());
        let mut head = [0; HEADER_BYTES];
        head[..text.len()].copy_from_slice(&text);
        Self {
            head,
            open: (0, text.len()),
            body,
            begun: false,
        }
    }

    /// What is left of a frame put together elsewhere.
    fn rest(bytes: &[u8], begun: bool) -> Self {
        Self {
            head: [0; HEADER_BYTES],
            open: (0, 0),
            body: Bytes::copy_from_slice(bytes),
            begun,
        }
    }

    fn head(&self) -> &[u8] {
        &self.head[self.open.0..self.open.1]
    }

    fn len(&self) -> usize {
        self.head().len() + self.body.len()
    }

    /// So many bytes of it are written; how many were too many.
    fn written(&mut self, bytes: usize) -> usize {
        let head = bytes.min(self.head().len());
        self.open.0 += head;
        let body = (bytes - head).min(self.body.len());
        self.body.advance(body);
        self.begun |= head + body > 0;
        bytes - head - body
    }
}

impl Line {
    /// `direct` is a connection anybody may write to; `most` are the bytes that may wait.
    pub(crate) fn new(direct: Option<OwnedWriteHalf>, most: usize) -> Self {
        Self {
            most,
            waits: AtomicBool::new(false),
            way: Mutex::new(Way {
                direct,
                ..Way::default()
            }),
            #[cfg(test)]
            heard: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn heard_by(heard: tokio::sync::mpsc::UnboundedSender<Bytes>) -> Self {
        Self {
            heard: Some(heard),
            ..Self::new(None, usize::MAX)
        }
    }

    /// Whether something waits to be written.
    pub(crate) fn waits(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.way().ended
    }

    /// Says something. With `more`, more is said at once, and all of it may leave together.
    pub(crate) fn push(&self, kind: Kind, message: Bytes, more: bool) -> Result<(), TooSlow> {
        if message.len() <= COPIED {
            return self.push_pieces(kind, &[&message], more);
        }
        #[cfg(test)]
        if let Some(heard) = &self.heard {
            let _ = heard.send(message);
            return Ok(());
        }
        self.put(&mut self.way(), Frame::new(kind, message), more)
    }

    /// The same of something small that is not in one piece yet.
    pub(crate) fn push_pieces(
        &self,
        kind: Kind,
        pieces: &[&[u8]],
        more: bool,
    ) -> Result<(), TooSlow> {
        #[cfg(test)]
        if let Some(heard) = &self.heard {
            let _ = heard.send(pieces.concat().into());
            return Ok(());
        }
        FRAME.with_borrow_mut(|frame| {
            frame.clear();
            let length = pieces.iter().map(|piece| piece.len()).sum();
            frames::put_header(frame, kind, length);
            for piece in pieces {
                frame.extend_from_slice(piece);
            }
            let mut way = self.way();
            let written = match &way.direct {
                Some(direct) if way.waiting.is_empty() && !way.full && !more => {
                    match direct.try_write(frame) {
                        Ok(written) if written == frame.len() => return Ok(()),
                        Ok(written) => written,
                        // An error is for the connection's task to find.
                        Err(_) => 0,
                    }
                }
                _ => return self.put(&mut way, Frame::rest(frame, false), more),
            };
            way.full = true;
            self.put(&mut way, Frame::rest(&frame[written..], written > 0), more)
        })
    }

    /// Puts a frame in line, and writes what waits there unless more is said at once.
    fn put(&self, way: &mut Way, frame: Frame, more: bool) -> Result<(), TooSlow> {
        if way.ended {
            return Ok(());
        }
        if !way.waiting.is_empty() {
            // One message may be larger than the limit; a queue in front of it may not.
            if way.behind > 0 && way.behind + frame.len() > self.most {
                return Err(TooSlow);
            }
            way.behind += frame.len();
        }
        way.waiting.push_back(frame);
        self.waits.store(true, Ordering::Relaxed);
        if more && way.behind < HELD_BACK {
            return Ok(());
        }
        if !way.full {
            // An error is for the connection's task to find.
            way.full = way.write_directly().is_err();
        }
        if way.waiting.is_empty() {
            self.waits.store(false, Ordering::Relaxed);
        } else if let Some(writer) = way.writer.take() {
            writer.wake();
        }
        Ok(())
    }

    /// Forgets what is in line but for what is half said.
    pub(crate) fn forget(&self) {
        let mut way = self.way();
        let begun = way.waiting.front().is_some_and(|frame| frame.begun);
        way.waiting.truncate(usize::from(begun));
        way.behind = 0;
        self.waits.store(begun, Ordering::Relaxed);
    }

    /// Nothing is said any more.
    pub(crate) fn end(&self) {
        let mut way = self.way();
        *way = Way {
            ended: true,
            ..Way::default()
        };
        self.waits.store(false, Ordering::Relaxed);
    }

    /// Writes what waits, for the connection's task; done when that is all, or the connection broken.
    /// While nothing waits, it is pending.
    pub(crate) fn poll_write(
        &self,
        context: &mut Context<'_>,
        other: &mut Option<WriteHalf<TokioIo<Upgraded>>>,
    ) -> Poll<io::Result<()>> {
        let mut way = self.way();
        if way.waiting.is_empty() && !way.unflushed {
            let known = way.writer.as_ref();
            if known.is_none_or(|known| !known.will_wake(context.waker())) {
                way.writer = Some(context.waker().clone());
            }
            return Poll::Pending;
        }
        let written = match other {
            None => way.poll_direct(context),
            Some(other) => way.poll_other(Pin::new(other), context),
        };
        if written.is_ready() {
            self.waits.store(false, Ordering::Relaxed);
            way.full = false;
        }
        written
    }

    fn way(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Way {
    /// Writes until nothing waits; an error if the connection does not take it all.
    fn write_directly(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            let Some(direct) = &self.direct else {
                return Err(ErrorKind::WouldBlock.into());
            };
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let count = self.pieces(&mut pieces);
            let written = direct.try_write_vectored(&pieces[..count])?;
            self.written(written);
        }
        Ok(())
    }

    fn poll_direct(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let Some(direct) = &self.direct else {
                return Poll::Ready(Err(ErrorKind::NotConnected.into()));
            };
            ready!(direct.as_ref().poll_write_ready(context))?;
            match self.write_directly() {
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_other(
        &mut self,
        mut other: Pin<&mut WriteHalf<TokioIo<Upgraded>>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let count = self.pieces(&mut pieces);
            let written = ready!(
                other
                    .as_mut()
                    .poll_write_vectored(context, &pieces[..count])
            )?;
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.written(written);
            self.unflushed = true;
        }
        ready!(other.poll_flush(context))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// The next pieces to be written.
    fn pieces<'a>(&'a self, into: &mut [IoSlice<'a>; PIECES]) -> usize {
        let all = self
            .waiting
            .iter()
            .flat_map(|frame| [frame.head(), &frame.body])
            .filter(|piece| !piece.is_empty());
        let mut count = 0;
        for (place, piece) in into.iter_mut().zip(all) {
            *place = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    fn written(&mut self, mut bytes: usize) {
        while let Some(first) = self.waiting.front_mut() {
            bytes = first.written(bytes);
            if first.len() > 0 {
                return;
            }
            self.waiting.pop_front();
            self.behind -= self.waiting.front().map_or(0, Frame::len);
        }
        // What waits seldom holds no memory while nothing does.
        self.waiting = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    /// Both ends of a connection, ours cut in two.
    async fn connected() -> (TcpStream, tokio::net::tcp::OwnedReadHalf, OwnedWriteHalf) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (theirs, ours) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (from, to) = ours.unwrap().0.into_split();
        (theirs.unwrap(), from, to)
    }

    /// The payloads of so many frames.
    async fn told(stream: &mut TcpStream, count: usize) -> Vec<Vec<u8>> {
        let mut list = Vec::new();
        for _ in 0..count {
            let first = stream.read_u8().await.unwrap();
            assert_eq!(first, 0x81);
            let length = match stream.read_u8().await.unwrap() {
                126 => usize::from(stream.read_u16().await.unwrap()),
                127 => usize::try_from(stream.read_u64().await.unwrap()).unwrap(),
                length => usize::from(length),
            };
            let mut payload = vec![0; length];
            stream.read_exact(&mut payload).await.unwrap();
            list.push(payload);
        }
        list
    }

    fn message(number: usize, length: usize) -> Vec<u8> {
        let mut message = vec![b'x'; length];
        message[..8].copy_from_slice(&number.to_be_bytes());
        message
    }

    struct Counts(AtomicUsize);

    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn what_fits_leaves_at_once_and_the_rest_in_order_by_whoever_writes() {
        let (mut theirs, _from, to) = connected().await;
        let line = Line::new(Some(to), usize::MAX);
        let count = Arc::new(Counts(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        assert!(line.poll_write(&mut context, &mut None).is_pending());
        line.push_pieces(Kind::Text, &[b"one", b" piece"], false)
            .unwrap();
        assert!(!line.waits());
        assert_eq!(told(&mut theirs, 1).await, [b"one piece"]);
        assert_eq!(count.0.load(Ordering::Relaxed), 0, "nobody was woken");
        // More than a connection takes, small and large; also what is held back for what follows.
        let mut expected = Vec::new();
        while expected.len() < 100 || !line.waits() || line.way().waiting.len() < 300 {
            let length = [20, 30_000, 400, 3000][expected.len() % 4];
            expected.push(message(expected.len(), length));
            let message = Bytes::from(expected[expected.len() - 1].clone());
            line.push(Kind::Text, message, expected.len() % 3 == 0)
                .unwrap();
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        let writing = async {
            while line.waits() {
                poll_fn(|context| line.poll_write(context, &mut None))
                    .await
                    .unwrap();
            }
        };
        let (came, ()) = tokio::join!(told(&mut theirs, expected.len()), writing);
        assert!(came == expected, "not what was said");
        let way = line.way();
        assert_eq!((way.behind, way.waiting.len(), way.full), (0, 0, false));
    }

    #[tokio::test]
    async fn no_more_waits_than_may_and_what_is_half_said_is_said_to_its_end() {
        let (mut theirs, _from, to) = connected().await;
        let line = Line::new(Some(to), 100_000);
        let mut said = 0;
        // One message may be larger than all that may wait behind it.
        let slow = loop {
            let pushed = line.push(Kind::Text, message(said, 60_000).into(), false);
            if pushed.is_err() {
                break line.way().behind;
            }
            said += 1;
        };
        assert!(slow <= 100_000, "{slow}");
        line.forget();
        line.push(Kind::Text, message(said + 7, 8).into(), false)
            .unwrap();
        let reading = tokio::spawn(async move {
            let mut numbers = Vec::new();
            loop {
                let payload = told(&mut theirs, 1).await.remove(0);
                numbers.push(usize::from_be_bytes(payload[..8].try_into().unwrap()));
                if payload.len() == 8 {
                    return numbers;
                }
            }
        });
        while line.waits() {
            poll_fn(|context| line.poll_write(context, &mut None))
                .await
                .unwrap();
        }
        let mut numbers = reading.await.unwrap();
        assert_eq!(numbers.pop(), Some(said + 7));
        assert!(numbers.len() < said);
        assert!(numbers.iter().copied().eq(0..numbers.len()));
        line.end();
        line.push(Kind::Text, Bytes::from_static(b"to nobody"), false)
            .unwrap();
        assert!(line.has_ended() && !line.waits());
    }
}
