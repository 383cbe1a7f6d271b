//! Whose message a program is sent next. A message does not wait among others: whoever has one waits for the turn, and makes sure
//! then that the message may still go (PC-45).

use super::StdioFailure;
use bytes::Bytes;
use tokio::sync::oneshot;

/// What waits to be written.
pub(super) enum Wish {
    /// A line of our own, for which nobody needs to be asked.
    Say(Bytes),
    /// Somebody who has a line.
    Turn(oneshot::Sender<Turn>),
}

/// What is said in it is written next.
pub(super) struct Turn(oneshot::Sender<Bytes>);

/// A wish for a turn, and when it is granted.
pub(super) fn wish() -> (Wish, oneshot::Receiver<Turn>) {
    let (wish, granted) = oneshot::channel();
    (Wish::Turn(wish), granted)
}

impl Wish {
    /// The line to write now; none if whoever wished for the turn has gone, or may not say it any more.
    pub(super) async fn granted(self) -> Option<Bytes> {
        let wish = match self {
            Self::Say(line) => return Some(line),
            Self::Turn(wish) => wish,
        };
        let (turn, line) = oneshot::channel();
        wish.send(Turn(turn)).ok()?;
        line.await.ok()
    }
}

impl Turn {
    /// Says it; uses up what permits it.
    pub(super) fn say<P>(self, line: Bytes, _permit: P) -> Result<(), StdioFailure> {
        self.0.send(line).map_err(|_| StdioFailure::Ended)
    }
}
