//! Authorization codes, by their hashes.

use crate::connection::values;
use crate::error::Error;
use crate::reader::Reader;
use crate::row::{Row, json};
use crate::statements::statements;
use crate::tx::Tx;
use portcullis_domain::grant::IssuedCode;
use portcullis_domain::id::SessionId;
use portcullis_domain::secret::{AuthorizationCode, Hashed};

statements! {
    CODE =
        "SELECT client_id, user_id, grant_id, server_id, resource, scopes, redirect_uri, challenge, roles, expires_at,
                redeemed_as
         FROM code WHERE hash = $1";
    INSERT_CODE =
        "INSERT INTO code (hash, flow, client_id, user_id, grant_id, server_id, resource, scopes, redirect_uri,
                           challenge, roles, created_at, expires_at, redeemed_as)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, NULL)
         ON CONFLICT (flow) DO NOTHING";
    // AS-CODE-02: whoever changes the row has redeemed the code; there is one who does.
    // PC-45: nor is one redeemed that was ended after it was read.
    REDEEM =
        "UPDATE code SET redeemed_as = $2 WHERE hash = $1 AND redeemed_as IS NULL AND expires_at > $3";
}

impl Reader<'_> {
    /// A code, redeemed or not.
    pub async fn code(&mut self, code: &Hashed<AuthorizationCode>) -> Result<Option<IssuedCode>, Error> {
        let row = self.connection.row(CODE, values![code]).await?;
        row.map(read).transpose()
    }
}

fn read(row: Row) -> Result<IssuedCode, Error> {
    let grant = row.parsed("grant_id")?;
    let row = row.named("code of grant", grant);
    Ok(IssuedCode {
        client_id: row.parsed("client_id")?,
        user: row.parsed("user_id")?,
        grant,
        server: row.parsed("server_id")?,
        resource: row.parsed("resource")?,
        scopes: row.parsed("scopes")?,
        redirect_uri: row.text("redirect_uri")?,
        challenge: row.parsed("challenge")?,
        roles: row.json("roles")?,
        expires_at: row.time("expires_at")?,
        redeemed_as: row.parsed_or_none("redeemed_as")?,
    })
}

impl Tx {
    /// Adds a code. `flow` is the authorization request that it answers; false when that was answered before.
    pub async fn insert_code(
        &mut self,
        hash: &Hashed<AuthorizationCode>,
        flow: &str,
        code: &IssuedCode,
    ) -> Result<bool, Error> {
        self.hold_grant(code.grant).await?;
        let values = values![
            hash,
            flow,
            &code.client_id,
            code.user,
            code.grant,
            code.server,
            code.resource.as_str(),
            &code.scopes,
            code.redirect_uri.as_str(),
            code.challenge.to_string(),
            json(&code.roles)?,
            self.now(),
            code.expires_at,
        ];
        Ok(self.connection.execute(INSERT_CODE, values).await? == 1)
    }

    /// Redeems a code as `session`; false when it was redeemed before, or has ended.
    pub async fn redeem_code(
        &mut self,
        code: &Hashed<AuthorizationCode>,
        session: SessionId,
    ) -> Result<bool, Error> {
        let values = values![code, session, self.now()];
        Ok(self.connection.execute(REDEEM, values).await? == 1)
    }
}
