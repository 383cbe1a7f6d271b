//! From the one reader of a program to one caller: bounded in messages and bytes, so that a slow caller costs only itself.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// What a caller is sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// The end of it.
    Answer { body: Bytes, good: bool },
    /// Something on the way.
    Notice(Bytes),
}

impl Frame {
    fn len(&self) -> usize {
        match self {
            Self::Answer { body, .. } | Self::Notice(body) => body.len(),
        }
    }
}

/// The most that waits for one caller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) messages: usize,
    /// One message is always taken, however long: its own bound is the line's.
    pub(super) bytes: usize,
}

/// The caller is gone, or does not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

pub(super) struct Sender {
    frames: mpsc::Sender<Frame>,
    waiting: Arc<AtomicUsize>,
    most: usize,
}

pub(super) struct Receiver {
    frames: mpsc::Receiver<Frame>,
    waiting: Arc<AtomicUsize>,
}

pub(super) fn queue(bound: Bound) -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::channel(bound.messages);
    let waiting = Arc::new(AtomicUsize::new(0));
    (
        Sender { frames: sender, waiting: Arc::clone(&waiting), most: bound.bytes },
        Receiver { frames: receiver, waiting },
    )
}

impl Sender {
    /// Never waits.
    pub(super) fn push(&mut self, frame: Frame) -> Result<(), Refused> {
        let len = frame.len();
        // There is one sender: between this look and the addition the number can only shrink.
        let waiting = self.waiting.load(Ordering::Acquire);
        if waiting > 0 && waiting + len > self.most {
            return Err(Refused);
        }
        self.waiting.fetch_add(len, Ordering::AcqRel);
        self.frames.try_send(frame).map_err(|_| {
            self.waiting.fetch_sub(len, Ordering::AcqRel);
            Refused
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }
}

impl Receiver {
    pub(super) async fn next(&mut self) -> Option<Frame> {
        let frame = self.frames.recv().await?;
        self.waiting.fetch_sub(frame.len(), Ordering::AcqRel);
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(len: usize) -> Frame {
        Frame::Notice(Bytes::from(vec![b'x'; len]))
    }

    #[tokio::test]
    async fn stdio_a_queue_is_bounded_in_messages_and_bytes() {
        let (mut sender, mut receiver) = queue(Bound { messages: 3, bytes: 10 });
        assert_eq!(sender.push(notice(100)), Ok(()));
        assert_eq!(sender.push(notice(1)), Err(Refused));
        assert_eq!(receiver.next().await, Some(notice(100)));
        for _ in 0..3 {
            assert_eq!(sender.push(notice(1)), Ok(()));
        }
        assert_eq!(sender.push(notice(1)), Err(Refused));
        assert_eq!(receiver.next().await, Some(notice(1)));
        assert_eq!(sender.push(notice(1)), Ok(()));
        drop(receiver);
        assert!(sender.is_closed());
        assert_eq!(sender.push(notice(1)), Err(Refused));
    }
}
