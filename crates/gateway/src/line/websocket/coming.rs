//! What of a message has come so far. The library that reads WebSocket gives messages whole; what it has of one that is not
//! whole is seen here, as the bytes pass: how long that takes (HTTP-12), and how much memory it needs.
//!
//! Only lengths and ends are read (RFC 6455 s5.2). What is not as it must be is for the library to refuse.

use crate::bounds::room::{Held, NoRoom, Share};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// The longest beginning of a frame: two bytes, eight of length, four of a mask.
const LONGEST_HEAD: usize = 14;

/// What one connection has of a message. Clones are the same.
#[derive(Clone)]
pub(super) struct Coming(Arc<Mutex<State>>);

struct State {
    share: Share,
    /// The longest message; the library refuses longer ones.
    most: u64,
    /// Of the beginning of a frame.
    head: [u8; LONGEST_HEAD],
    have: usize,
    /// Of a frame whose beginning is there.
    left: u64,
    frame_ends_message: bool,
    /// Whether a message began and did not end. Pings and pongs may come between its frames.
    is_within: bool,
    /// Of the message, what its frames say.
    length: u64,
    held: Option<Held>,
    since: Option<Instant>,
    has_room: bool,
}

/// Something that is read from, and watched.
pub(super) struct Watched<Io> {
    io: Io,
    coming: Coming,
}

impl Coming {
    pub(super) fn new(share: Share, most: usize) -> Self {
        let state = State {
            share,
            most: most as u64,
            head: [0; LONGEST_HEAD],
            have: 0,
            left: 0,
            frame_ends_message: false,
            is_within: false,
            length: 0,
            held: None,
            since: None,
            has_room: true,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(super) fn watching<Io>(&self, io: Io) -> Watched<Io> {
        Watched { io, coming: self.clone() }
    }

    /// When what is not whole began to come, if there is something.
    pub(super) fn since(&self) -> Option<Instant> {
        self.state().since
    }

    /// While nobody read, it could not come on.
    pub(super) fn waited_for_us(&self) {
        let mut state = self.state();
        state.since = state.since.map(|_| Instant::now());
    }

    /// Whether there was room for everything so far.
    pub(super) fn has_room(&self) -> bool {
        self.state().has_room
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, mut came: &[u8]) -> Result<(), NoRoom> {
        while let Some((first, rest)) = came.split_first() {
            self.since.get_or_insert_with(Instant::now);
            if self.left > 0 {
                let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(came.len());
                self.left -= taken as u64;
                came = came.get(taken..).unwrap_or_default();
                if self.left == 0 {
                    self.frame_ended();
                }
                continue;
            }
            if let Some(place) = self.head.get_mut(self.have) {
                *place = *first;
            }
            self.have += 1;
            came = rest;
            if self.have >= 2 && self.have == head_length(self.head[1]) {
                self.begin_frame()?;
            }
        }
        Ok(())
    }

    fn begin_frame(&mut self) -> Result<(), NoRoom> {
        self.have = 0;
        self.left = payload_length(&self.head);
        let (is_final, is_control) = (self.head[0] & 0x80 != 0, self.head[0] & 0x08 != 0);
        self.frame_ends_message = is_final && !is_control;
        if !is_control {
            self.is_within = true;
            self.length = self.length.saturating_add(self.left);
            if self.length <= self.most {
                let held = self.held.get_or_insert_with(|| self.share.nothing());
                held.cover(usize::try_from(self.length).unwrap_or(usize::MAX))?;
            }
        }
        if self.left == 0 {
            self.frame_ended();
        }
        Ok(())
    }

    fn frame_ended(&mut self) {
        if self.frame_ends_message {
            (self.is_within, self.length, self.held) = (false, 0, None);
        }
        if !self.is_within {
            self.since = None;
        }
    }
}

fn head_length(second: u8) -> usize {
    let of_length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + of_length + if second & 0x80 != 0 { 4 } else { 0 }
}

fn payload_length(head: &[u8; LONGEST_HEAD]) -> u64 {
    let long = |bytes: &[u8]| bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
    match head[1] & 0x7f {
        126 => long(&head[2..4]),
        127 => long(&head[2..10]),
        short => short.into(),
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Watched<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        let came = buffer.filled().get(before..).unwrap_or_default();
        let mut state = self.coming.state();
        if let Err(NoRoom) = state.take(came) {
            state.has_room = false;
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        drop(state);
        read
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Watched<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::room::Room;
    use portcullis_domain::principal::Subject;

    const MIB: usize = 1024 * 1024;

    fn coming(room: &Room) -> Coming {
        Coming::new(room.of(&Subject::Agent("cli_one".parse().unwrap())), MIB)
    }

    /// A masked frame, as clients send them.
    fn frame(first: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match length {
            0..126 => frame.push(0x80 | u8::try_from(length).unwrap()),
            126..65536 => {
                frame.push(0x80 | 0x7e);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 0x7f);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend([1, 2, 3, 4]);
        frame.resize(frame.len() + length, b'x');
        frame
    }

    const TEXT: u8 = 0x81;
    const BEGINNING: u8 = 0x01;
    const MIDDLE: u8 = 0x00;
    const END: u8 = 0x80;
    const PING: u8 = 0x89;

    #[tokio::test]
    async fn http_12_what_is_not_whole_is_known_however_it_is_cut() {
        let whole = [
            frame(TEXT, 0),
            frame(TEXT, 5),
            frame(TEXT, 300),
            frame(PING, 4),
            [frame(BEGINNING, 70_000), frame(PING, 0), frame(MIDDLE, 126), frame(END, 0)].concat(),
        ];
        for step in [1, 2, 3, 7, 1000, usize::MAX] {
            let room = Room::new(8 * MIB, MIB);
            let coming = coming(&room);
            for message in &whole {
                let (last, first) = message.split_last().unwrap();
                for part in first.chunks(step) {
                    coming.state().take(part).unwrap();
                    assert!(coming.since().is_some(), "in steps of {step}");
                }
                coming.state().take(&[*last]).unwrap();
                assert!(coming.since().is_none() && room.taken() == 0, "in steps of {step}");
            }
            coming.state().take(&whole.concat()).unwrap();
            assert!(coming.since().is_none() && room.taken() == 0);
        }
    }

    #[tokio::test]
    async fn dos_05_a_message_takes_its_room_when_it_is_announced_and_gives_it_back() {
        let room = Room::new(4 * MIB, MIB);
        let (one, other) = (coming(&room), coming(&room));
        one.state().take(&frame(BEGINNING, 512 * 1024)).unwrap();
        one.state().take(&frame(MIDDLE, 512 * 1024)[..14]).unwrap();
        assert_eq!(room.taken(), MIB as u64);
        assert_eq!(
            other.state().take(&frame(TEXT, 512 * 1024)[..14]),
            Err(NoRoom),
            "a quarter is for one caller"
        );
        drop(one);
        assert_eq!(room.taken(), 0);
        other.state().take(&frame(TEXT, MIB + 1)).unwrap();
        assert_eq!(room.taken(), 0, "what is too long is refused, not held");
    }
}
