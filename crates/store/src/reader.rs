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

#[cfg(test)]
mod tests {
    use crate::connection::values;
    use crate::testing::TestDatabase;
    use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
    use portcullis_oauth::time::Timestamp;

    #[tokio::test]
    async fn a_read_handle_cannot_write() {
        let database = TestDatabase::create().await;
        let store = database.open().await;
        let sql = "INSERT INTO setting (name, value) VALUES ('a', 'b')";
        let mut handle = store.read().await.unwrap();
        assert!(handle.reader().setting("a").await.is_ok());
        assert!(handle.connection.execute(sql, values![]).await.is_err());
        drop(handle);
        assert_eq!(store.read().await.unwrap().reader().setting("a").await.unwrap(), None);
    }

    #[tokio::test]
    async fn everything_read_through_a_handle_is_of_one_moment() {
        let database = TestDatabase::create().await;
        let store = database.open().await;
        let mut handle = store.read().await.unwrap();
        assert_eq!(handle.reader().setting("a").await.unwrap(), None);
        let event = Event::new(Kind::HousekeepingDone, Outcome::Allowed, Actor::System);
        let write = store.write(Timestamp::from_seconds(0), event, |event, tx| {
            Box::pin(async move {
                tx.put_setting("a", "b").await?;
                tx.record(event, ()).await
            })
        });
        write.await.unwrap();
        assert_eq!(handle.reader().setting("a").await.unwrap(), None);
        assert!(store.read().await.unwrap().reader().setting("a").await.unwrap().is_some());
    }
}
