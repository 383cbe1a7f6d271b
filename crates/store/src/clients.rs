//! OAuth clients and their secrets.

use crate::connection::{Value, values};
use crate::error::Error;
use crate::reader::Reader;
use crate::row::{Row, json};
use crate::statements::statements;
use crate::tx::Tx;
use portcullis_domain::registry::Name;
use portcullis_domain::secret::{ClientSecret, Hashed};
use portcullis_oauth::client::{AuthMethod, ClientId, GrantType};
use portcullis_oauth::redirect::RedirectUri;
use portcullis_oauth::time::Timestamp;
use std::collections::HashSet;
use std::time::Duration;

/// How a client came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// The client of a registered agent.
    Agent {
        /// The agent's.
        name: Name,
    },
    /// The operator registered it.
    Registered,
    /// It registered itself (RFC 7591).
    SelfRegistered,
}

/// A client to insert.
#[derive(Clone, Debug)]
pub struct NewClient {
    /// Its identifier.
    pub client_id: ClientId,
    /// How it came to be.
    pub kind: ClientKind,
    /// For people to read; not trusted.
    pub name: Option<String>,
    /// A page about it; not trusted.
    pub client_uri: Option<String>,
    /// Where responses may go.
    pub redirect_uris: Vec<RedirectUri>,
    /// How it authenticates; a confidential one may use either way of sending a secret.
    pub auth_method: AuthMethod,
    /// What it may ask for.
    pub grant_types: Vec<GrantType>,
    /// When it was made.
    pub created_at: Timestamp,
    /// What was registered, in short, so that the same registration can give the same client.
    pub fingerprint: Option<String>,
}

/// A client as it is known.
#[derive(Clone, Debug)]
pub struct StoredClient {
    /// Its identifier.
    pub client_id: ClientId,
    /// How it came to be.
    pub kind: ClientKind,
    /// For people to read; not trusted.
    pub name: Option<String>,
    /// A page about it; not trusted.
    pub client_uri: Option<String>,
    /// Where responses may go.
    pub redirect_uris: Vec<RedirectUri>,
    /// How it authenticates.
    pub auth_method: AuthMethod,
    /// What it may ask for.
    pub grant_types: Vec<GrantType>,
    /// Those that have not expired; any of them will do.
    pub secrets: Vec<Hashed<ClientSecret>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// It may do nothing any more.
    pub disabled: bool,
}

/// What became of an insertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is there now.
    New,
    /// The same was registered before, as this client.
    Same(ClientId),
}

statements! {
    CLIENT =
        "SELECT id, kind, agent_name, name, client_uri, redirect_uris, auth_method, grant_types, created_at, disabled
         FROM client WHERE id = $1";
    LIVE_SECRETS =
        "SELECT hash FROM client_secret
         WHERE client_id = $1 AND (expires_at IS NULL OR expires_at > $2)
         ORDER BY created_at, hash";
    WITH_SECRET =
        "SELECT DISTINCT client_id FROM client_secret WHERE expires_at IS NULL OR expires_at > $1";
    AGENT_CLIENT =
        "SELECT id FROM client WHERE agent_name = $1 AND NOT disabled";
    INSERT_CLIENT =
        "INSERT INTO client (id, kind, agent_name, name, client_uri, redirect_uris, auth_method, grant_types,
                             fingerprint, created_at, disabled)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, FALSE)
         ON CONFLICT (fingerprint) DO NOTHING";
    SAME_CLIENT =
        "SELECT id FROM client WHERE fingerprint = $1";
    INSERT_SECRET =
        "INSERT INTO client_secret (hash, client_id, created_at, expires_at) VALUES ($1, $2, $3, $4)";
    // Two rotations of one client wait for each other, and none is of a client that ended.
    TAKE_CLIENT =
        "UPDATE client SET disabled = FALSE WHERE id = $1 AND NOT disabled";
    END_SECRETS =
        "UPDATE client_secret SET expires_at = $2 WHERE client_id = $1 AND (expires_at IS NULL OR expires_at > $2)";
    INSERT_USE =
        "INSERT INTO client_use (client_id, used_at) VALUES ($1, $2)";
    TOUCH =
        "UPDATE client_use SET used_at = $2 WHERE client_id = $1 AND used_at <= $3";
}

impl Reader<'_> {
    /// A client, with the secrets that count at `now`.
    pub async fn client(&mut self, id: &ClientId, now: Timestamp) -> Result<Option<StoredClient>, Error> {
        let Some(row) = self.connection.row(CLIENT, values![id]).await? else {
            return Ok(None);
        };
        let secrets = self.connection.rows(LIVE_SECRETS, values![id, now]).await?;
        let secrets = secrets.into_iter().map(|secret| secret.named("client_secret", id).hash("hash"));
        let mut client = read(row.named("client", id))?;
        client.secrets = secrets.collect::<Result<_, _>>()?;
        Ok(Some(client))
    }

    /// Clients that have a secret that counts at `now`.
    pub async fn clients_with_secret(&mut self, now: Timestamp) -> Result<HashSet<ClientId>, Error> {
        let rows = self.connection.rows(WITH_SECRET, values![now]).await?;
        rows.into_iter().map(|row| row.named("client_secret", "of somebody").parsed("client_id")).collect()
    }

    /// The client of the agent that has this name now.
    pub async fn agent_client(&mut self, name: &Name) -> Result<Option<ClientId>, Error> {
        let row = self.connection.row(AGENT_CLIENT, values![name]).await?;
        row.map(|row| row.named("client of agent", name).parsed("id")).transpose()
    }
}

pub(crate) fn read(row: Row) -> Result<StoredClient, Error> {
    let kind = match (row.text("kind")?.as_str(), row.parsed_or_none("agent_name")?) {
        ("agent", Some(name)) => ClientKind::Agent { name },
        ("registered", None) => ClientKind::Registered,
        ("self_registered", None) => ClientKind::SelfRegistered,
        _ => return Err(row.corrupt("kind")),
    };
    let redirect_uris: Vec<String> = row.json("redirect_uris")?;
    let redirect_uris = redirect_uris.iter().map(|uri| uri.parse());
    Ok(StoredClient {
        client_id: row.parsed("id")?,
        kind,
        name: row.text_or_none("name")?,
        client_uri: row.text_or_none("client_uri")?,
        redirect_uris: redirect_uris.collect::<Result<_, _>>().map_err(|_| row.corrupt("redirect_uris"))?,
        auth_method: row.json("auth_method")?,
        grant_types: row.json("grant_types")?,
        secrets: Vec::new(),
        created_at: row.time("created_at")?,
        disabled: row.bool("disabled")?,
    })
}

impl Tx {
    /// Adds a client. Of two self-registrations with one fingerprint, the second gets the client of the first.
    pub async fn insert_client(&mut self, client: &NewClient) -> Result<Inserted, Error> {
        let (kind, agent_name) = match &client.kind {
            ClientKind::Agent { name } => ("agent", Some(name.to_string())),
            ClientKind::Registered => ("registered", None),
            ClientKind::SelfRegistered => ("self_registered", None),
        };
        let uris: Vec<&str> = client.redirect_uris.iter().map(RedirectUri::as_str).collect();
        let values = values![
            &client.client_id,
            kind,
            agent_name,
            client.name.clone(),
            client.client_uri.clone(),
            json(&uris)?,
            json(&client.auth_method)?,
            json(&client.grant_types)?,
            client.fingerprint.clone(),
            client.created_at,
        ];
        if self.connection.execute(INSERT_CLIENT, values).await? == 1 {
            let values = values![&client.client_id, self.now()];
            self.connection.execute(INSERT_USE, values).await?;
            return Ok(Inserted::New);
        }
        let fingerprint = Value::Text(client.fingerprint.clone());
        let same = self.connection.row(SAME_CLIENT, &[fingerprint]).await?;
        // READ COMMITTED: the client that stood in the way may have been purged since.
        let same = same.ok_or(Error::Conflict("client_fingerprint"))?;
        let id = same.named("client", &client.client_id).parsed("id")?;
        Ok(Inserted::Same(id))
    }

    /// Gives a client one more secret.
    pub async fn insert_secret(
        &mut self,
        client: &ClientId,
        secret: &Hashed<ClientSecret>,
        expires_at: Option<Timestamp>,
    ) -> Result<(), Error> {
        let values = values![secret, client, self.now(), expires_at];
        self.connection.execute(INSERT_SECRET, values).await?;
        Ok(())
    }

    /// Gives a client a new secret; those that it has end at `old_end`, if not before. False when the client is disabled,
    /// or there is none.
    pub async fn rotate_secret(
        &mut self,
        client: &ClientId,
        secret: &Hashed<ClientSecret>,
        old_end: Timestamp,
    ) -> Result<bool, Error> {
        if self.connection.execute(TAKE_CLIENT, values![client]).await? == 0 {
            return Ok(false);
        }
        self.connection.execute(END_SECRETS, values![client, old_end]).await?;
        self.insert_secret(client, secret, None).await?;
        Ok(true)
    }

    /// Whether a client is alive and has the secrets with which it was read, until the end of this transaction.
    pub async fn client_is(&mut self, known: &StoredClient) -> Result<bool, Error> {
        if self.connection.execute(TAKE_CLIENT, values![&known.client_id]).await? == 0 {
            return Ok(false);
        }
        let now = self.now();
        let today = self.read().client(&known.client_id, now).await?;
        Ok(today.is_some_and(|today| {
            today.secrets.len() == known.secrets.len()
                && today.secrets.iter().zip(&known.secrets).all(|(one, other)| one.matches(other))
        }))
    }

    /// Notes that the client was used, to the hour; those that nobody uses are purged (AS-DCR-08).
    pub async fn touch_client(&mut self, client: &ClientId) -> Result<(), Error> {
        let values = values![client, self.now(), self.now() - Duration::from_hours(1)];
        self.connection.execute(TOUCH, values).await?;
        Ok(())
    }
}
