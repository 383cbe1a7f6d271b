//! Audit events: appended in the transaction of what they record, never changed (PC-50).

use crate::connection::values;
use crate::error::Error;
use crate::reader::Reader;
use crate::statements::statements;
use portcullis_domain::audit::Event;
use portcullis_oauth::time::Timestamp;

statements! {
    // `Tx::record` runs it.
    pub(crate) INSERT = "INSERT INTO audit (at, body) VALUES ($1, $2)";
    RECORDS_AFTER = "SELECT number, at, body FROM audit WHERE number > $1 ORDER BY number LIMIT $2";
}

impl Reader<'_> {
    /// Up to `limit` records after `number`, in the order of their numbers. To show pages of them; on PostgreSQL a
    /// transaction that is still open can yet add one with a smaller number.
    pub async fn audit_after(
        &mut self,
        number: u64,
        limit: u32,
    ) -> Result<Vec<(u64, Timestamp, Event)>, Error> {
        let rows = self.connection.rows(RECORDS_AFTER, values![number, limit]).await?;
        rows.into_iter()
            .map(|row| {
                let number: u64 = row.int("number")?;
                let row = row.named("audit", number);
                Ok((number, row.time("at")?, row.json("body")?))
            })
            .collect()
    }
}
