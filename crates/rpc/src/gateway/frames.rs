//! WebSocket frames as clients send them and as they are sent to clients (RFC 6455), between bytes
//! and messages. Nothing here reads or writes a connection.
//!
//! A connection that waits for a message holds no buffer: what comes is put together here only for
//! as long as a message is not complete, and the usual message, whole in one frame, takes the
//! buffer with it.

use bytes::Bytes;

/// Bytes a control frame may carry.
pub(crate) const CONTROL_BYTES: usize = 125;
const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
/// Bytes a frame's header has at most, as we write it: without a mask.
pub(crate) const HEADER_BYTES: usize = 10;

/// What a frame of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text = 1,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// What came from a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// A message, text or not.
    Message(Bytes),
    /// To be sent back in a pong.
    Ping(Bytes),
    Pong,
    /// With the bytes of the code, if there is one.
    Close(Option<[u8; 2]>),
}

/// What is no WebSocket, or more than is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    TooLarge,
    /// In words for the client, with the code that goes with them.
    Broken(u16, &'static str),
}

/// Puts messages together.
#[derive(Default)]
pub(crate) struct Reader {
    bytes: Vec<u8>,
    /// Of these, so many are read already.
    read: usize,
    /// The beginning of a message that comes in several frames.
    begun: Option<Begun>,
}

struct Begun {
    text: bool,
    bytes: Vec<u8>,
}

/// The beginning of a frame.
#[derive(Debug, Clone, Copy)]
struct Header {
    last: bool,
    code: u8,
    mask: [u8; 4],
    /// Where the payload begins, and how long it is.
    begins: usize,
    length: usize,
}

impl Reader {
    /// These came.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// What came and was not asked for.
    pub(crate) fn unread(&self) -> &[u8] {
        self.bytes.get(self.read..).unwrap_or_default()
    }

    /// Bytes that the message takes which has begun, as far as it says; none if none has.
    pub(crate) fn takes(&self) -> usize {
        let (open, begun) = (self.unread(), self.begun.as_ref());
        let frame = match header(open) {
            Ok(Some(header)) => header.begins + header.length,
            _ => open.len(),
        };
        frame + begun.map_or(0, |begun| begun.bytes.len().max(1))
    }

    /// Makes room for the rest of the frame that has begun, and no more than that.
    pub(crate) fn make_room(&mut self) {
        if let Ok(Some(header)) = header(self.unread()) {
            self.bytes.drain(..self.read);
            self.read = 0;
            let frame = header.begins + header.length;
            self.bytes
                .reserve_exact(frame.saturating_sub(self.bytes.len()));
        }
    }

    /// The next of what came, if it is complete; a message may have `most` bytes.
    pub(crate) fn next(&mut self, most: usize) -> Result<Option<Came>, Fault> {
        loop {
            let open = self.bytes.get(self.read..).unwrap_or_default();
            let Some(header) = header(open)? else {
                return Ok(None);
            };
            let begun = self.begun.as_ref().map_or(0, |begun| begun.bytes.len());
            if header.length > most.saturating_sub(begun) && header.code < 8 {
                return Err(Fault::TooLarge);
            }
            let end = header.begins + header.length;
            if open.len() < end {
                return Ok(None);
            }
            let first = header.code != 0;
            if header.code < 8 && first == self.begun.is_some() {
                return Err(Fault::Broken(
                    1002,
                    "a message begins or goes on out of turn",
                ));
            }
            let payload = self.take(header);
            match (header.code, header.last) {
                (1 | 2, true) => return whole(header.code == 1, payload).map(Some),
                (1 | 2, false) => {
                    self.begun = Some(Begun {
                        text: header.code == 1,
                        bytes: payload.into(),
                    });
                }
                (0, last) => {
                    let mut begun = self.begun.take().expect("it was looked for above");
                    begun.bytes.extend_from_slice(&payload);
                    if last {
                        return whole(begun.text, begun.bytes.into()).map(Some);
                    }
                    self.begun = Some(begun);
                }
                (8, _) => {
                    let code = payload.first_chunk().copied();
                    if code.is_none() && !payload.is_empty() {
                        return Err(Fault::Broken(1002, "half of a close code"));
                    }
                    return Ok(Some(Came::Close(code)));
                }
                (9, _) => return Ok(Some(Came::Ping(payload))),
                _ => return Ok(Some(Came::Pong)),
            }
        }
    }

    /// The payload of a frame that is all there, unmasked; the buffer goes with it if there is
    /// nothing else in it.
    fn take(&mut self, header: Header) -> Bytes {
        let begins = self.read + header.begins;
        let ends = begins + header.length;
        unmask(&mut self.bytes[begins..ends], header.mask);
        if ends < self.bytes.len() {
            self.read = ends;
            return Bytes::copy_from_slice(&self.bytes[begins..ends]);
        }
        self.read = 0;
        Bytes::from(std::mem::take(&mut self.bytes)).slice(begins..)
    }
}

/// Hears a client out that was told to go, and keeps nothing of what it says but the head of one
/// frame, however long that says it is.
#[derive(Default)]
pub(crate) struct Dismissed {
    head: Vec<u8>,
    /// Bytes to come of a payload nobody looks at.
    forgets: usize,
}

impl Dismissed {
    /// Whether the client takes its leave in these bytes too, or says what is no WebSocket.
    pub(crate) fn has_closed(&mut self, mut bytes: &[u8]) -> bool {
        loop {
            let forgotten = self.forgets.min(bytes.len());
            self.forgets -= forgotten;
            bytes = &bytes[forgotten..];
            let Some((first, rest)) = bytes.split_first() else {
                return false;
            };
            self.head.push(*first);
            bytes = rest;
            match header(&self.head) {
                Ok(Some(header)) if header.code == 8 => return true,
                Ok(Some(header)) => {
                    self.head.clear();
                    self.forgets = header.length;
                }
                Ok(None) => {}
                Err(_) => return true,
            }
        }
    }
}

fn whole(text: bool, bytes: Bytes) -> Result<Came, Fault> {
    if text && std::str::from_utf8(&bytes).is_err() {
        return Err(Fault::Broken(1007, "a text message that is not UTF-8"));
    }
    Ok(Came::Message(bytes))
}

/// The header at the beginning of these bytes; none if it is not all there.
fn header(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let broken = |what| Err(Fault::Broken(1002, what));
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & RESERVED != 0 {
        return broken("a frame with bits nobody agreed on");
    }
    if second & MASKED == 0 {
        return broken("a client's frame without a mask");
    }
    let (last, code) = (first & FINAL != 0, first & 0x0f);
    if !matches!(code, 0..=2 | 8..=10) {
        return broken("a frame of no known kind");
    }
    let (length, rest) = match second & !MASKED {
        126 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest),
            None => return Ok(None),
        },
        length => (u64::from(length), rest),
    };
    if code >= 8 && (!last || length > CONTROL_BYTES as u64) {
        return broken("a control frame in parts, or too long for one");
    }
    // Also of a frame that is not all there yet: nobody waits for what is too long.
    let length = usize::try_from(length).map_err(|_| Fault::TooLarge)?;
    let Some((mask, rest)) = rest.split_first_chunk() else {
        return Ok(None);
    };
    let begins = bytes.len() - rest.len();
    begins.checked_add(length).ok_or(Fault::TooLarge)?;
    Ok(Some(Header {
        last,
        code,
        mask: *mask,
        begins,
        length,
    }))
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let mut fours = bytes.chunks_exact_mut(4);
    for four in &mut fours {
        for (byte, mask) in four.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    for (byte, mask) in fours.into_remainder().iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// The header of a frame to a client, whose payload is so long.
pub(crate) fn put_header(into: &mut Vec<u8>, kind: Kind, length: usize) {
    into.push(FINAL | kind as u8);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..=125), _) => into.push(length),
        (_, Ok(length)) => {
            into.push(126);
            into.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            into.push(127);
            into.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
    use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

    const MASK: [u8; 4] = [1, 0x80, 7, 0xff];

    /// A frame as somebody else writes it.
    fn frame(payload: &[u8], code: OpCode, last: bool) -> Vec<u8> {
        let header = FrameHeader {
            is_final: last,
            opcode: code,
            mask: Some(MASK),
            ..FrameHeader::default()
        };
        let frame = Frame::from_payload(header, payload.to_vec().into());
        let mut bytes = Vec::new();
        frame.format(&mut bytes).unwrap();
        bytes
    }

    fn text(payload: &str) -> Vec<u8> {
        frame(payload.as_bytes(), OpCode::Data(Data::Text), true)
    }

    /// All that comes of bytes that arrive in pieces of this size.
    fn all(bytes: &[u8], piece: usize, most: usize) -> Result<Vec<Came>, Fault> {
        let (mut reader, mut list) = (Reader::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            reader.feed(piece);
            while let Some(came) = reader.next(most)? {
                list.push(came);
            }
        }
        Ok(list)
    }

    fn message(text: &str) -> Came {
        Came::Message(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn messages_come_out_however_they_are_cut() {
        let long = "é".repeat(40_000);
        let bytes = [
            text("{}"),
            frame(b"\"a", OpCode::Data(Data::Text), false),
            frame(b"still there?", OpCode::Control(Control::Ping), true),
            frame(b"b", OpCode::Data(Data::Continue), false),
            frame(b"\"", OpCode::Data(Data::Continue), true),
            text(&"x".repeat(300)),
            text(&long),
            frame(b"", OpCode::Control(Control::Pong), true),
            frame(b"7", OpCode::Data(Data::Binary), true),
            frame(b"\x03\xe8bye", OpCode::Control(Control::Close), true),
        ]
        .concat();
        let expected = [
            message("{}"),
            Came::Ping(Bytes::from_static(b"still there?")),
            message("\"ab\""),
            message(&"x".repeat(300)),
            message(&long),
            Came::Pong,
            message("7"),
            Came::Close(Some(1000_u16.to_be_bytes())),
        ];
        for piece in [1, 2, 7, 100, 1 << 20] {
            assert_eq!(all(&bytes, piece, 80_000).unwrap(), expected, "{piece}");
        }
    }

    #[test]
    fn what_is_too_large_is_found_out_by_its_header() {
        let all = |bytes: &[u8]| all(bytes, 1 << 20, 100);
        assert!(all(&text(&"x".repeat(100))).is_ok());
        let large = text(&"x".repeat(101));
        assert_eq!(all(&large[..14]), Err(Fault::TooLarge));
        let parts = [
            frame(&[b'x'; 60], OpCode::Data(Data::Text), false),
            frame(&[b'x'; 41], OpCode::Data(Data::Continue), true),
        ];
        assert_eq!(all(&parts.concat()), Err(Fault::TooLarge));
        let endless = [
            0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4,
        ];
        assert_eq!(all(&endless), Err(Fault::TooLarge));
    }

    #[test]
    fn what_is_no_websocket_is_told_so_by_its_code() {
        let mut unmasked = text("{}");
        unmasked[1] &= !MASKED;
        let mut compressed = text("{}");
        compressed[0] |= 0x40;
        let mut unknown = text("{}");
        unknown[0] = FINAL | 3;
        let mut halved = frame(b"", OpCode::Control(Control::Ping), true);
        halved[0] &= !FINAL;
        for (bytes, code) in [
            (unmasked, 1002),
            (compressed, 1002),
            (unknown, 1002),
            (halved, 1002),
            (frame(&[0; 126], OpCode::Control(Control::Ping), true), 1002),
            (frame(b"1", OpCode::Control(Control::Close), true), 1002),
            (frame(b"x", OpCode::Data(Data::Continue), true), 1002),
            (
                [frame(b"x", OpCode::Data(Data::Text), false), text("y")].concat(),
                1002,
            ),
            (frame(b"\xff", OpCode::Data(Data::Text), true), 1007),
        ] {
            let fault = all(&bytes, 1 << 20, 1000).unwrap_err();
            assert!(
                matches!(fault, Fault::Broken(it, _) if it == code),
                "{fault:?}"
            );
        }
    }

    #[test]
    fn of_what_is_said_after_the_end_nothing_is_kept_and_the_farewell_is_heard() {
        let mut dismissed = Dismissed::default();
        let endless = [0x81, 0xff, 0, 0, 0, 0x80, 0, 0, 0, 0, 1, 2, 3, 4];
        for piece in [
            &endless[..5],
            &endless[5..],
            &[b'x'; 100_000][..],
            &[b'x'; 100_000],
        ] {
            assert!(!dismissed.has_closed(piece));
            assert!(dismissed.head.capacity() < 100);
        }
        assert_eq!(dismissed.forgets, (0x80 << 32) - 200_000);
        let close = frame(b"\x03\xe9bye", OpCode::Control(Control::Close), true);
        for piece in [1, 3, 1000] {
            let mut dismissed = Dismissed::default();
            let all = [
                text("{}"),
                frame(b"", OpCode::Control(Control::Ping), true),
                close.clone(),
            ];
            let all = all.concat();
            let heard: Vec<bool> = all
                .chunks(piece)
                .map(|it| dismissed.has_closed(it))
                .collect();
            let (last, before) = heard.split_last().unwrap();
            assert!(before.iter().any(|it| *it) || *last, "{piece}");
            assert!(!before[..before.len() / 2].iter().any(|it| *it));
        }
        assert!(Dismissed::default().has_closed(&[FINAL | 3, MASKED]));
    }

    #[test]
    fn a_message_that_has_begun_takes_what_it_says_and_one_that_is_whole_nothing() {
        let mut reader = Reader::default();
        assert_eq!(reader.takes(), 0);
        reader.feed(&text(&"x".repeat(1000))[..3]);
        assert_eq!(reader.takes(), 3);
        reader.feed(&text(&"x".repeat(1000))[3..100]);
        assert_eq!(reader.takes(), 1008);
        reader.make_room();
        assert!((1008..2000).contains(&reader.bytes.capacity()));
        reader.feed(&text(&"x".repeat(1000))[100..]);
        assert!(matches!(reader.next(1000), Ok(Some(Came::Message(_)))));
        assert_eq!(reader.takes(), 0);
        // Between its frames it is held all the same.
        reader.feed(&frame(&[b'x'; 60], OpCode::Data(Data::Text), false));
        assert_eq!((reader.next(1000), reader.takes()), (Ok(None), 60));
        reader.feed(&frame(&[b'x'; 40], OpCode::Data(Data::Continue), true)[..9]);
        assert_eq!((reader.next(1000), reader.takes()), (Ok(None), 106));
        let empty = frame(b"", OpCode::Data(Data::Text), false);
        let mut reader = Reader::default();
        reader.feed(&empty);
        assert_eq!((reader.next(1000), reader.takes()), (Ok(None), 1));
    }

    #[test]
    fn headers_are_written_as_others_write_them() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let mut theirs = Vec::new();
            Frame::message(payload.clone(), OpCode::Data(Data::Text), true)
                .format(&mut theirs)
                .unwrap();
            let mut ours = Vec::new();
            put_header(&mut ours, Kind::Text, length);
            assert!(ours.len() <= HEADER_BYTES);
            ours.extend_from_slice(&payload);
            assert_eq!(ours, theirs);
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1_usize..50) {
            let _ = all(&bytes, piece, 100);
        }
    }
}
