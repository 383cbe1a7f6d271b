//! Changes that are asked for under a key happen once: the answer is committed with the change.

use crate::connection::values;
use crate::error::Error;
use crate::reader::Reader;
use crate::statements::statements;
use crate::tx::Tx;

/// The constraint that a second change under a key breaks.
pub const ANSWERED: &str = "answered_pkey";

/// What was answered under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The hash of the request.
    pub request: Vec<u8>,
    /// The answer.
    pub sealed: Vec<u8>,
}

statements! {
    // The answer is not there yet: nobody sees this row before it is.
    TAKE_KEY =
        "INSERT INTO answered (key, request, sealed, at) VALUES ($1, $2, $3, $4) ON CONFLICT (key) DO NOTHING";
    KEEP_ANSWER = "UPDATE answered SET sealed = $2 WHERE key = $1";
    GIVE_KEY_BACK = "DELETE FROM answered WHERE key = $1";
    ANSWERED_UNDER = "SELECT request, sealed FROM answered WHERE key = $1";
}

impl Reader<'_> {
    /// What was answered under this key, if a change was made under it. Rows are kept for 24 hours.
    pub async fn answered(&mut self, key: &[u8]) -> Result<Option<Answered>, Error> {
        let Some(row) = self.connection.row(ANSWERED_UNDER, values![key]).await? else {
            return Ok(None);
        };
        let row = row.named("answered", "of a key");
        Ok(Some(Answered { request: row.bytes("request")?, sealed: row.bytes("sealed")? }))
    }
}

impl Tx {
    /// Takes a key for this change: the first statement of its transaction. Whoever comes second waits for the first, and
    /// when that is committed fails with [`Error::Conflict`] of [`ANSWERED`], having changed nothing.
    pub async fn take_key(&mut self, key: &[u8], request: &[u8]) -> Result<(), Error> {
        let nothing: &[u8] = &[];
        let now = self.now();
        let taken = self.connection.execute(TAKE_KEY, values![key, request, nothing, now]).await?;
        if taken == 1 { Ok(()) } else { Err(Error::Conflict(ANSWERED)) }
    }

    /// Keeps the answer, to be committed with the change; or gives the key back, where nothing was changed.
    pub async fn keep_answer(&mut self, key: &[u8], sealed: Option<&[u8]>) -> Result<(), Error> {
        match sealed {
            Some(sealed) => self.connection.execute(KEEP_ANSWER, values![key, sealed]).await?,
            None => self.connection.execute(GIVE_KEY_BACK, values![key]).await?,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDatabase;
    use crate::{Recorded, Store};
    use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
    use portcullis_oauth::time::Timestamp;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

    async fn change(answer: Option<&'static [u8]>, tx: &mut Tx) -> Result<Recorded<()>, Error> {
        tx.take_key(b"key", b"request").await?;
        tx.put_setting("done", "yes").await?;
        tx.keep_answer(b"key", answer).await?;
        tx.record(&Event::new(Kind::HousekeepingDone, Outcome::Allowed, Actor::System), ()).await
    }

    async fn write(store: &Store, at: u64, answer: Option<&'static [u8]>) -> Result<(), Error> {
        let now = NOW + Duration::from_secs(at);
        store.write(now, answer, |answer, tx| Box::pin(change(*answer, tx))).await
    }

    async fn found(store: &Store) -> Option<Answered> {
        store.read().await.unwrap().reader().answered(b"key").await.unwrap()
    }

    #[tokio::test]
    async fn pc_61_of_many_at_once_under_one_key_one_is_done() {
        let database = TestDatabase::create().await;
        let store = database.open().await;
        let all = futures_util::future::join_all((0..16).map(|at| write(&store, at, Some(b"answer")))).await;
        assert_eq!(all.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        let others = all.iter().filter(|outcome| matches!(outcome, Err(Error::Conflict(ANSWERED))));
        assert_eq!(others.count(), 15);
        let kept = Answered { request: b"request".to_vec(), sealed: b"answer".to_vec() };
        assert_eq!(found(&store).await, Some(kept));
        let recorded = store.read().await.unwrap().reader().audit_after(0, 100).await.unwrap();
        assert_eq!(recorded.len(), 1, "those that were late have changed nothing");
    }

    #[tokio::test]
    async fn a_change_that_was_none_gives_its_key_back() {
        let database = TestDatabase::create().await;
        let store = database.open().await;
        write(&store, 0, None).await.unwrap();
        assert_eq!(found(&store).await, None);
        write(&store, 1, Some(b"answer")).await.unwrap();
        assert!(found(&store).await.is_some());
    }

    #[tokio::test]
    async fn answers_are_kept_for_a_day() {
        let database = TestDatabase::create().await;
        let store = database.open().await;
        write(&store, 0, Some(b"answer")).await.unwrap();
        for (hours, is_there) in [(23, true), (24, false)] {
            let purged = store.write(NOW + Duration::from_hours(hours), (), |(), tx| {
                Box::pin(async move {
                    tx.purge().await?;
                    tx.record(&Event::new(Kind::HousekeepingDone, Outcome::Allowed, Actor::System), ()).await
                })
            });
            purged.await.unwrap();
            assert_eq!(found(&store).await.is_some(), is_there, "{hours}");
        }
    }
}
