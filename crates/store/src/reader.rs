//! Reading: inside of a write, or through a handle that cannot write.

use crate::connection::Connection;

/// Reads of one transaction. The methods are in the files of what they read.
pub struct Reader<'c> {
    pub(crate) connection: &'c mut Connection,
}

/// A read-only transaction: everything read through one handle is of one moment.
pub struct ReadHandle {
    connection: Connection,
}

impl ReadHandle {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// The reads.
    pub fn reader(&mut self) -> Reader<'_> {
        Reader { connection: &mut self.connection }
    }
}
