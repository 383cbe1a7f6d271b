//! As what we are registered with the issuers of third-party servers, sealed.

use crate::connection::values;
use crate::error::Error;
use crate::reader::Reader;
use crate::statements::statements;
use crate::tx::Tx;
use portcullis_domain::id::ServerId;

statements! {
    CLIENT =
        "SELECT sealed FROM upstream_client WHERE server_id = $1 AND issuer = $2";
    PUT =
        "INSERT INTO upstream_client (server_id, issuer, sealed, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (server_id, issuer) DO UPDATE SET sealed = excluded.sealed, created_at = excluded.created_at";
    FORGET =
        "DELETE FROM upstream_client WHERE server_id = $1 AND issuer = $2";
    FORGET_ALL =
        "DELETE FROM upstream_client WHERE server_id = $1";
}

impl Reader<'_> {
    /// As what we are registered with this issuer, for this server.
    pub async fn upstream_client(
        &mut self,
        server: ServerId,
        issuer: &str,
    ) -> Result<Option<Vec<u8>>, Error> {
        let row = self.connection.row(CLIENT, values![server, issuer]).await?;
        row.map(|row| row.named("upstream_client", server).bytes("sealed")).transpose()
    }
}

impl Tx {
    /// Remembers a registration.
    pub async fn put_upstream_client(
        &mut self,
        server: ServerId,
        issuer: &str,
        sealed: &[u8],
    ) -> Result<(), Error> {
        self.hold_server(server).await?;
        self.connection.execute(PUT, values![server, issuer, sealed, self.now()]).await?;
        Ok(())
    }

    /// The issuer does not know us any more; whether we thought it did.
    pub async fn forget_upstream_client(&mut self, server: ServerId, issuer: &str) -> Result<bool, Error> {
        Ok(self.connection.execute(FORGET, values![server, issuer]).await? == 1)
    }

    /// Forgets every registration for a server.
    pub(crate) async fn forget_upstream_clients(&mut self, server: ServerId) -> Result<(), Error> {
        self.connection.execute(FORGET_ALL, values![server]).await?;
        Ok(())
    }
}
