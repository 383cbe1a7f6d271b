//! Memory for what is read whole and long: bodies of calls, answers, events. So much there is in all, and a quarter of it for one
//! caller, so that nobody takes it from the others by reading slowly. What is short is not counted: there are never more of
//! those than connections.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use portcullis_domain::principal::Subject;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

/// What is not counted.
const SHORT: usize = 64 * 1024;

/// All of it. Clones are the same.
#[derive(Clone)]
pub(crate) struct Room {
    most: usize,
    of_one: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by: HashMap<Subject, usize>,
}

/// One caller's part of it.
#[derive(Clone)]
pub(crate) struct Share {
    room: Room,
    who: Subject,
}

/// Taken until this is dropped.
pub(crate) struct Held {
    share: Share,
    bytes: usize,
}

/// There is none left now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// Why a body could not be read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    Broken,
    NoRoom,
    TooLarge,
}

impl Room {
    /// `most` in all; `longest` may one thing be, and so much there is.
    pub(crate) fn new(most: usize, longest: usize) -> Self {
        Self { most: most.max(longest), of_one: (most / 4).max(longest), taken: Arc::default() }
    }

    pub(crate) fn of(&self, who: &Subject) -> Share {
        Share { room: self.clone(), who: who.clone() }
    }

    /// What is taken now.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).all as u64
    }
}

impl Share {
    /// A body, whole, and not longer than `most`. It gives back its room when nobody holds it any more.
    pub(crate) async fn collect<B>(&self, body: B, most: usize) -> Result<Bytes, Unread>
    where
        B: Body<Data = Bytes>,
    {
        let mut body = pin!(body);
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        let mut held = self.nothing();
        while let Some(frame) = body.frame().await {
            // Trailers are dropped: nothing in them counts.
            let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else {
                continue;
            };
            let length = first.len() + all.len() + data.len();
            if length > most {
                return Err(Unread::TooLarge);
            }
            held.cover(length).map_err(|NoRoom| Unread::NoRoom)?;
            if first.is_empty() && all.is_empty() {
                first = data;
                continue;
            }
            if all.is_empty() {
                // What is said to come is believed as far as nothing is counted.
                let rest = usize::try_from(body.size_hint().lower()).unwrap_or(SHORT);
                all.reserve(length + rest.min(SHORT.saturating_sub(length)));
            }
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
        Ok(held.with(if all.is_empty() { first } else { all.freeze() }))
    }

    /// Holds what is there already.
    pub(crate) fn hold(&self, bytes: Bytes) -> Result<Bytes, NoRoom> {
        let mut held = self.nothing();
        held.cover(bytes.len())?;
        Ok(held.with(bytes))
    }

    pub(crate) fn nothing(&self) -> Held {
        Held { share: self.clone(), bytes: 0 }
    }
}

impl Held {
    /// Takes as much as something so long needs.
    pub(crate) fn cover(&mut self, length: usize) -> Result<(), NoRoom> {
        let wanted = if length > SHORT { length } else { 0 };
        let Some(more) = wanted.checked_sub(self.bytes).filter(|more| *more > 0) else {
            return Ok(());
        };
        let Share { room, who } = &self.share;
        let mut taken = room.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = taken.by.get(who).copied().unwrap_or_default();
        if taken.all + more > room.most || of_one + more > room.of_one {
            return Err(NoRoom);
        }
        taken.all += more;
        taken.by.insert(who.clone(), of_one + more);
        drop(taken);
        self.bytes = wanted;
        Ok(())
    }

    /// As if nothing were taken yet, by the same caller.
    pub(crate) fn nothing(&self) -> Self {
        self.share.nothing()
    }

    /// Stays for as long as somebody holds `bytes`.
    pub(crate) fn with(self, bytes: Bytes) -> Bytes {
        if self.bytes == 0 { bytes } else { Bytes::from_owner(Holding { bytes, _held: self }) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let Share { room, who } = &self.share;
        let mut taken = room.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= self.bytes;
        if let Some(of_one) = taken.by.get_mut(who) {
            *of_one -= self.bytes;
            if *of_one == 0 {
                taken.by.remove(who);
            }
        }
    }
}

/// The same bytes, for as long as somebody holds which something else is kept, if they are long: whoever does not take an
/// answer is still being answered. What is short is given out of hand, and nothing is made anew for it.
pub(crate) fn keeping<T: Send + 'static>(kept: T, bytes: Bytes) -> Bytes {
    if bytes.len() > SHORT { Bytes::from_owner(Holding { bytes, _held: kept }) } else { bytes }
}

struct Holding<T> {
    bytes: Bytes,
    _held: T,
}

impl<T> AsRef<[u8]> for Holding<T> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    const MIB: usize = 1024 * 1024;

    fn who(name: &str) -> Subject {
        Subject::Agent(name.parse().unwrap())
    }

    #[tokio::test]
    async fn dos_05_one_caller_has_a_quarter_and_all_have_what_there_is() {
        let room = Room::new(8 * MIB, MIB);
        let long = |length: usize| Body::from(vec![b'x'; length]);
        let one = room.of(&who("cli_one"));
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(one.collect(long(MIB), MIB).await.unwrap());
        }
        assert_eq!(one.collect(long(MIB), MIB).await, Err(Unread::NoRoom));
        assert_eq!(one.collect(long(SHORT), MIB).await.unwrap().len(), SHORT, "what is short is free");
        assert_eq!(one.collect(long(MIB + 1), MIB).await, Err(Unread::TooLarge));
        assert_eq!(room.taken(), 2 * MIB as u64, "what was refused holds nothing");
        for name in ["cli_two", "cli_three", "cli_four"] {
            let share = room.of(&who(name));
            held.push(share.hold(Bytes::from(vec![b'x'; 2 * MIB])).unwrap());
        }
        assert_eq!(room.of(&who("cli_five")).collect(long(MIB), MIB).await, Err(Unread::NoRoom));
        let part = held[0].slice(..1);
        held.clear();
        assert_eq!(room.taken(), MIB as u64, "a part holds the whole");
        drop(part);
        assert_eq!(room.taken(), 0);
        assert!(room.taken.lock().unwrap().by.is_empty());
    }

    #[tokio::test]
    async fn a_body_in_pieces_is_the_same_and_the_longest_always_fits() {
        let room = Room::new(1, 3 * MIB);
        let pieces: Vec<Bytes> = (0..30_u8).map(|at| Bytes::from(vec![at; 100 * 1024])).collect();
        let stream = futures_util::stream::iter(pieces.clone().into_iter().map(Ok::<_, std::io::Error>));
        let body = room.of(&who("cli_one")).collect(Body::from_stream(stream), 3 * MIB).await.unwrap();
        assert_eq!(body, pieces.concat());
    }
}
