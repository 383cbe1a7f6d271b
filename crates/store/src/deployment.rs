//! Whose tokens the database is for: the issuer, noted once.

use crate::connection::values;
use crate::error::Error;
use crate::reader::Reader;
use crate::statements::statements;
use crate::tx::Tx;
use portcullis_oauth::issuer::Issuer;

statements! {
    ISSUER =
        "SELECT issuer FROM deployment";
    CLAIM_ISSUER =
        "INSERT INTO deployment (number, issuer) VALUES (1, $1) ON CONFLICT (number) DO NOTHING";
    MOVE_ISSUER =
        "UPDATE deployment SET issuer = $1 WHERE issuer <> $1";
}

impl Reader<'_> {
    /// The issuer that this database is for; `None` before the first start.
    pub async fn issuer(&mut self) -> Result<Option<Issuer>, Error> {
        let row = self.connection.row(ISSUER, values![]).await?;
        row.map(|row| row.named("deployment", 1).parsed("issuer")).transpose()
    }
}

impl Tx {
    /// Notes the issuer, if none is noted: of several nodes that start at once, one wins. Whether it was this one.
    pub async fn claim_issuer(&mut self, issuer: &Issuer) -> Result<bool, Error> {
        Ok(self.connection.execute(CLAIM_ISSUER, values![issuer.as_str()]).await? == 1)
    }

    /// Notes another issuer in the place of the one that is noted; whether it was another.
    pub async fn move_issuer(&mut self, issuer: &Issuer) -> Result<bool, Error> {
        Ok(self.connection.execute(MOVE_ISSUER, values![issuer.as_str()]).await? == 1)
    }
}
