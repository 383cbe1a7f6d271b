//! Refresh families: one row each.

use crate::connection::values;
use crate::error::Error;
use crate::reader::Reader;
use crate::row::Row;
use crate::statements::statements;
use crate::tx::Tx;
use portcullis_domain::id::{FamilyId, SessionId};
use portcullis_domain::refresh::Family;
use portcullis_oauth::time::Timestamp;

statements! {
    FAMILY =
        "SELECT id, session_id, client_id, generation, rotated_at, idle_end, absolute_end, key_version, revoked
         FROM family WHERE id = $1";
    INSERT_FAMILY =
        "INSERT INTO family (id, session_id, client_id, generation, rotated_at, idle_end, absolute_end, key_version,
                             repeats, revoked)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9)";
    // AS-RT-02: whoever changes the row has advanced the family; there is one who does.
    ADVANCE =
        "UPDATE family SET generation = generation + 1, rotated_at = $3, idle_end = $4, repeats = 0
         WHERE id = $1 AND generation = $2 AND NOT revoked";
    NOTE_REPEAT =
        "UPDATE family SET repeats = repeats + 1 WHERE id = $1 RETURNING repeats";
    REVOKE_FAMILY =
        "UPDATE family SET revoked = TRUE WHERE id = $1 AND NOT revoked";
}

impl Reader<'_> {
    /// A family, revoked or not, and its session.
    pub async fn family(&mut self, id: FamilyId) -> Result<Option<(Family, SessionId)>, Error> {
        let row = self.connection.row(FAMILY, values![id]).await?;
        row.map(read).transpose()
    }
}

fn read(row: Row) -> Result<(Family, SessionId), Error> {
    let id: FamilyId = row.parsed("id")?;
    let row = row.named("family", id);
    let family = Family {
        id,
        client_id: row.parsed("client_id")?,
        generation: row.int("generation")?,
        rotated_at: row.time_or_none("rotated_at")?,
        idle_end: row.time("idle_end")?,
        absolute_end: row.time("absolute_end")?,
        key_version: row.int("key_version")?,
        revoked: row.bool("revoked")?,
    };
    Ok((family, row.parsed("session_id")?))
}

impl Tx {
    /// Adds a family to a session that is alive.
    pub async fn insert_family(&mut self, session: SessionId, family: &Family) -> Result<(), Error> {
        self.hold_session(session).await?;
        let values = values![
            family.id,
            session,
            &family.client_id,
            family.generation,
            family.rotated_at,
            family.idle_end,
            family.absolute_end,
            family.key_version,
            family.revoked,
        ];
        self.connection.execute(INSERT_FAMILY, values).await?;
        Ok(())
    }

    /// Advances a family by one generation, now; false when it is not at `from_generation` any more, or revoked.
    pub async fn advance_family(
        &mut self,
        id: FamilyId,
        from_generation: u32,
        idle_end: Timestamp,
    ) -> Result<bool, Error> {
        let values = values![id, from_generation, self.now(), idle_end];
        Ok(self.connection.execute(ADVANCE, values).await? == 1)
    }

    /// Counts one more graced repeat; how many there were in a row since the family last advanced. 0 without a family.
    pub async fn note_repeat(&mut self, id: FamilyId) -> Result<u32, Error> {
        let row = self.connection.row(NOTE_REPEAT, values![id]).await?;
        row.map_or(Ok(0), |row| row.named("family", id).int("repeats"))
    }

    /// Revokes a family; false when it was revoked before, or there is none.
    pub async fn revoke_family(&mut self, id: FamilyId) -> Result<bool, Error> {
        Ok(self.connection.execute(REVOKE_FAMILY, values![id]).await? == 1)
    }
}
