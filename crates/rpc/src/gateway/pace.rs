//! What a connection of the general server may take. The server itself knows no limits for a client
//! that says nothing or takes nothing: how long these may last is watched here, from the connection's
//! own bytes and from its answers, which take up room until they are written.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::envelope::Pieces;
use super::framing::Framing;
use super::gone::HALF_CLOSED;
use super::swift::IDLE;

/// Bytes of an answer that are written at once: only what is written is seen to be taken.
const AT_ONCE: usize = 64 << 10;

/// What a client takes of an answer in a second, at least and on average: who takes a byte now and then
/// is not cut off for taking nothing, and holds the rest of the answer as long as it likes.
const LEAST_PACE: usize = 16 << 10;
/// How long an idle client of several requests at once gets to hear that its connection ends.
const GOODBYE: Duration = Duration::from_secs(2);

/// How long taking something of this size may take, beside the time in which anything has to be taken.
fn time_for(bytes: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / LEAST_PACE as f64)
}

/// Until when an answer has to be taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taking {
    /// Anything of it.
    within: Duration,
    /// All of it.
    due: Instant,
}

impl Taking {
    pub(crate) fn new(now: Instant, within: Duration, bytes: usize) -> Self {
        let due = now + within + time_for(bytes);
        Self { within, due }
    }

    /// The same with another answer, on the same way.
    fn and(self, bytes: usize) -> Self {
        let due = self.due + time_for(bytes);
        Self { due, ..self }
    }

    /// When it is too late, if something was taken at this time and nothing is any more.
    pub(crate) fn until(self, taken: Instant) -> Instant {
        self.due.min(taken + self.within)
    }
}

/// How long a connection may take for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) headers: Duration,
    pub(crate) body: Duration,
}

/// What a connection is waiting for.
pub(crate) struct Pace {
    limits: Limits,
    state: Mutex<State>,
}

struct State {
    /// Of what the connection does.
    since: Instant,
    doing: Doing,
    /// Several requests at once: HTTP/2.
    multiplexed: bool,
    /// It has become a WebSocket, which others look after.
    upgraded: bool,
    /// Requests that are being answered.
    serving: usize,
    /// Answers that are not all written, and when something of them was last.
    untaken: HashMap<u64, Instant>,
    /// Until when they have to be.
    taking: Option<Taking>,
    /// How long nothing may be asked.
    idle: Duration,
    answers: u64,
    /// Since when the connection takes nothing.
    full: Option<Instant>,
    /// It says nothing any more, and has asked something that is not answered.
    half_closed: bool,
    /// Waits for all answers to be written.
    ending: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Nothing has been asked.
    Arrives,
    /// Nothing more has.
    Rests,
    /// A head is on its way.
    Asks,
}

impl Pace {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            state: Mutex::new(State {
                since: Instant::now(),
                doing: Doing::Arrives,
                multiplexed: false,
                upgraded: false,
                serving: 0,
                untaken: HashMap::new(),
                taking: None,
                idle: IDLE,
                answers: 0,
                full: None,
                half_closed: false,
                ending: None,
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the connection has taken too long, if nothing happens before.
    pub(crate) fn until(&self) -> Option<Instant> {
        let state = self.state();
        let taken = state.untaken.values().copied().chain(state.full).min();
        if let Some(taken) = taken {
            return Some(match state.taking {
                Some(taking) => taking.until(taken),
                None => taken + self.limits.body,
            });
        }
        if state.half_closed && state.serving > 0 {
            return Some(state.since + HALF_CLOSED);
        }
        let within = match state.doing {
            _ if state.serving > 0 || state.upgraded => return None,
            Doing::Arrives | Doing::Asks => self.limits.headers,
            Doing::Rests => state.idle,
        };
        Some(state.since + within)
    }

    /// A request is all there but for its body; it is being answered until dropped.
    pub(crate) fn serves(self: &Arc<Self>, multiplexed: bool) -> Serving {
        let mut state = self.state();
        state.serving += 1;
        state.multiplexed = multiplexed;
        state.doing = Doing::Rests;
        state.since = Instant::now();
        Serving(Arc::clone(self))
    }

    /// It is a WebSocket from here on.
    pub(crate) fn is_upgraded(&self) {
        self.state().upgraded = true;
    }

    /// Answers with these pieces, which take up this room until they are written.
    pub(crate) fn answers(self: &Arc<Self>, pieces: Pieces, room: Option<Room>) -> Answered {
        let mut state = self.state();
        state.answers += 1;
        let number = state.answers;
        let length = pieces.len();
        state.taking = Some(match state.taking.filter(|_| !state.untaken.is_empty()) {
            Some(taking) => taking.and(length),
            None => Taking::new(Instant::now(), self.limits.body, length),
        });
        state.untaken.insert(number, Instant::now());
        Answered {
            pieces: pieces.0,
            untaken: Arc::new(Untaken {
                pace: Arc::clone(self),
                number,
                _room: room,
            }),
        }
    }

    /// It is too late. True if the client may be told so first: one that rests, of whom a request may be
    /// on its way.
    pub(crate) fn dismisses(&self) -> bool {
        let mut state = self.state();
        let rests = state.multiplexed && state.serving == 0 && state.untaken.is_empty();
        if !rests || state.full.is_some() || state.idle == GOODBYE {
            return false;
        }
        state.idle = GOODBYE;
        state.since = Instant::now();
        true
    }

    fn has_read(&self) {
        let mut state = self.state();
        // The answer to a ping is no beginning of anything.
        if state.doing == Doing::Rests && state.serving == 0 && !state.multiplexed {
            state.doing = Doing::Asks;
            state.since = Instant::now();
        }
    }

    /// Nothing more comes. True if somebody may still wait for an answer, see `gone`.
    fn is_half_closed(&self) -> bool {
        let mut state = self.state();
        let waits = state.serving > 0 || !state.untaken.is_empty();
        state.half_closed = waits && !state.multiplexed && !state.upgraded;
        state.half_closed
    }

    fn is_full(&self, full: bool) {
        let mut state = self.state();
        match full {
            true => state.full = state.full.or_else(|| Some(Instant::now())),
            false => state.full = None,
        }
    }

    /// Whether all is answered and written; whoever asks is woken otherwise.
    fn poll_silent(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.serving == 0 && state.untaken.is_empty() {
            return Poll::Ready(());
        }
        state.ending = Some(context.waker().clone());
        Poll::Pending
    }
}

/// A request that is being answered.
pub(crate) struct Serving(Arc<Pace>);

impl Drop for Serving {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.serving -= 1;
        state.since = Instant::now();
    }
}

/// Room that an answer takes up, on its way from whoever made it.
#[derive(Clone)]
pub(crate) struct Room(
    #[allow(dead_code, reason = "kept to be dropped")] Arc<OwnedSemaphorePermit>,
);

impl From<OwnedSemaphorePermit> for Room {
    fn from(permit: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(permit))
    }
}

/// An answer of which something is not written.
struct Untaken {
    pace: Arc<Pace>,
    number: u64,
    _room: Option<Room>,
}

impl Drop for Untaken {
    fn drop(&mut self) {
        let mut state = self.pace.state();
        state.untaken.remove(&self.number);
        state.since = Instant::now();
        if let Some(ending) = state.ending.take() {
            ending.wake();
        }
    }
}

/// The body of an answer.
pub(crate) struct Answered {
    pieces: VecDeque<Bytes>,
    untaken: Arc<Untaken>,
}

/// A part of it, until it is written.
struct Part {
    bytes: Bytes,
    of: Arc<Untaken>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut state = self.of.pace.state();
        if let Some(taken) = state.untaken.get_mut(&self.of.number) {
            *taken = Instant::now();
        }
    }
}

impl Body for Answered {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(first) = self.pieces.front_mut() else {
            return Poll::Ready(None);
        };
        let bytes = first.split_to(first.len().min(AT_ONCE));
        if first.is_empty() {
            self.pieces.pop_front();
        }
        let of = Arc::clone(&self.untaken);
        let part = Bytes::from_owner(Part { bytes, of });
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum())
    }
}

/// A connection whose bytes are looked at as they come and go.
pub(crate) struct Paced<S> {
    stream: S,
    pace: Arc<Pace>,
    framing: Framing,
    /// What is still said before nothing more is read.
    refusal: Option<Bytes>,
}

impl<S> Paced<S> {
    pub(crate) fn new(stream: S, pace: Arc<Pace>) -> Self {
        Self {
            stream,
            pace,
            framing: Framing::default(),
            refusal: None,
        }
    }

    pub(crate) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Paced<S> {
    /// Says what is refused once everything before it is answered; then it is as if nothing more came.
    fn poll_refuse(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.pace.poll_silent(context));
        while let Some(refusal) = self.refusal.as_mut().filter(|it| !it.is_empty()) {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, refusal))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let _ = refusal.split_to(written);
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.refusal.is_some() {
            return self.poll_refuse(context);
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() == before && self.pace.is_half_closed() {
            // Looked at again once what was asked is answered.
            return Poll::Pending;
        }
        if buffer.filled().len() == before || self.pace.state().upgraded {
            return Poll::Ready(Ok(()));
        }
        self.pace.has_read();
        let looked = self.framing.look(&buffer.filled()[before..]);
        if let Err((good, refused)) = looked {
            self.refusal = Some(refused.answer().into());
            buffer.set_filled(before + good);
            if good == 0 {
                return self.poll_refuse(context);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Paced<S> {
    fn written<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.pace.is_full(written.is_pending());
        written
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.written(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.written(shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Arc<Pace> {
        Pace::new(Limits {
            headers: Duration::from_secs(15),
            body: Duration::from_secs(30),
        })
    }

    fn answer(pace: &Arc<Pace>, bytes: usize) -> Answered {
        let mut pieces = Pieces(VecDeque::new());
        pieces.0.push_back(vec![b'x'; bytes].into());
        pace.answers(pieces, None)
    }

    async fn take(answer: &mut Answered) -> bool {
        std::future::poll_fn(|context| Pin::new(&mut *answer).poll_frame(context))
            .await
            .is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_little_now_and_then_is_let_go_when_all_should_have_been_taken() {
        let pace = pace();
        let began = Instant::now();
        let mut large = answer(&pace, 20 * AT_ONCE);
        // A part each 20 seconds is never nothing for 30, and less than 16 KiB a second.
        let mut parts = 0;
        while pace.until().is_some_and(|until| until > Instant::now()) {
            assert!(take(&mut large).await);
            parts += 1;
            let next = Instant::now() + Duration::from_secs(20);
            tokio::time::sleep_until(next.min(pace.until().unwrap())).await;
        }
        assert_eq!(began.elapsed(), Duration::from_secs(30 + 80));
        assert_eq!(parts, 6);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_as_quick_as_that_may_take_as_many_answers_as_there_are() {
        let pace = pace();
        for _ in 0..50 {
            let mut both = [answer(&pace, AT_ONCE), answer(&pace, AT_ONCE)];
            for one in &mut both {
                while take(one).await {
                    assert!(pace.until().unwrap() > Instant::now());
                    tokio::time::advance(Duration::from_secs(4)).await;
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_of_http_2_that_asks_nothing_more_is_told_that_it_ends_and_then_it_does() {
        let pace = pace();
        let since = Instant::now();
        assert_eq!(pace.until(), Some(since + Duration::from_secs(15)));
        let serving = pace.serves(true);
        assert_eq!(pace.until(), None);
        drop(serving);
        // What it says on its connection without asking anything is not to stay for.
        pace.has_read();
        assert_eq!(pace.until(), Some(since + IDLE));
        tokio::time::advance(IDLE).await;
        assert!(pace.dismisses());
        assert_eq!(pace.until(), Some(since + IDLE + GOODBYE));
        assert!(!pace.dismisses());
    }
}
