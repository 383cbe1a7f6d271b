//! A transaction as write closures see it.

use crate::connection::Connection;
use crate::error::Error;
use crate::feed::ChangeKind;
use crate::reader::Reader;
use portcullis_domain::audit::Event;
use portcullis_oauth::time::Timestamp;

/// One transaction. Once a statement has failed, every later one does too, and nothing is committed.
pub struct Tx {
    pub(crate) connection: Connection,
    pub(crate) changes: Vec<ChangeKind>,
    now: Timestamp,
}

/// The result of a write whose audit event is in the same transaction. Only [`Tx::record`] makes one.
#[derive(Debug)]
#[must_use = "a closure that does not return it commits nothing"]
pub struct Recorded<T> {
    value: T,
}

impl<T> Recorded<T> {
    /// What the write gives, if it is committed.
    pub fn value(&self) -> &T {
        &self.value
    }

    pub(crate) fn into_value(self) -> T {
        self.value
    }
}

impl Tx {
    pub(crate) fn new(connection: Connection, now: Timestamp) -> Self {
        Self { connection, changes: Vec::new(), now }
    }

    /// The present, as it was given to the write.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Reads inside of this transaction.
    pub fn read(&mut self) -> Reader<'_> {
        Reader { connection: &mut self.connection }
    }

    /// Writes the audit event of this write (none ends without one), and wraps what the write gives.
    pub async fn record<T>(&mut self, event: &Event, value: T) -> Result<Recorded<T>, Error> {
        self.also(event).await?;
        Ok(Recorded { value })
    }

    /// Notes what the feed will say of this transaction; of two equal changes it says one.
    pub(crate) fn changed(&mut self, change: ChangeKind) {
        if !self.changes.contains(&change) {
            self.changes.push(change);
        }
    }
}
