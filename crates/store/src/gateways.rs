//! Gateways that run alone (PC-62): who they are, and how one gets its identity, once.

use crate::connection::values;
use crate::error::Error;
use crate::feed::ChangeKind;
use crate::reader::Reader;
use crate::row::{Row, json};
use crate::statements::statements;
use crate::tx::Tx;
use portcullis_domain::id::GatewayId;
use portcullis_domain::registry::Name;
use portcullis_domain::secret::{Enrolment, Hashed};
use portcullis_oauth::jwk::PublicJwk;
use portcullis_oauth::time::Timestamp;

/// A gateway to add.
#[derive(Clone, Debug)]
pub struct NewGateway {
    /// Ours.
    pub id: GatewayId,
    /// Unique.
    pub name: Name,
    /// The servers that it may serve; `None`: all.
    pub servers: Option<Vec<Name>>,
    /// The one-time secret.
    pub enrolment: Hashed<Enrolment>,
    /// From then on the secret is good for nothing.
    pub enrol_until: Timestamp,
}

/// The public halves of a gateway's own keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayKeys {
    /// It shows itself to the control room with this one.
    pub identity: PublicJwk,
    /// It signs assertions for upstreams with this one.
    pub assertion: PublicJwk,
}

/// A gateway as it is known.
#[derive(Clone, Debug)]
pub struct StoredGateway {
    /// Ours.
    pub id: GatewayId,
    /// Unique.
    pub name: Name,
    /// The servers that it may serve; `None`: all.
    pub servers: Option<Vec<Name>>,
    /// The one-time secret.
    pub enrolment: Hashed<Enrolment>,
    /// From then on the secret is good for nothing.
    pub enrol_until: Timestamp,
    /// When it was added.
    pub created_at: Timestamp,
    /// None before it came for its identity.
    pub keys: Option<GatewayKeys>,
    /// When it came.
    pub enrolled_at: Option<Timestamp>,
}

/// How somebody who wants to be a gateway fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enrolling {
    /// It is the gateway from now on.
    Done,
    /// It was before, with the same keys: the answer was lost.
    Again,
    /// The secret was used with other keys.
    Spent,
    /// The secret is too old.
    Expired,
    /// There is no such gateway, or it has another secret.
    Unknown,
}

statements! {
    GATEWAYS =
        "SELECT id, name, servers, enrol_hash, enrol_until, identity, assertion, created_at, enrolled_at
         FROM gateway";
    GATEWAY =
        "SELECT id, name, servers, enrol_hash, enrol_until, identity, assertion, created_at, enrolled_at
         FROM gateway WHERE id = $1";
    INSERT_GATEWAY =
        "INSERT INTO gateway (id, name, servers, enrol_hash, enrol_until, created_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (name) DO NOTHING";
    // The once-only statement: of two that come with the secret, one becomes the gateway.
    ENROL =
        "UPDATE gateway SET identity = $3, assertion = $4, enrolled_at = $5
         WHERE id = $1 AND enrol_hash = $2 AND enrol_until > $5 AND identity IS NULL";
    REMOVE_GATEWAY =
        "DELETE FROM gateway WHERE id = $1";
}

impl Reader<'_> {
    /// All gateways, by name.
    pub async fn gateways(&mut self) -> Result<Vec<StoredGateway>, Error> {
        let rows = self.connection.rows(GATEWAYS, values![]).await?;
        let mut gateways: Vec<StoredGateway> = rows.into_iter().map(read).collect::<Result<_, _>>()?;
        // Not by the database, which may sort as a language does: pages of this list go on by comparing names here.
        gateways.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(gateways)
    }

    /// One gateway.
    pub async fn gateway(&mut self, id: GatewayId) -> Result<Option<StoredGateway>, Error> {
        self.connection.row(GATEWAY, values![id]).await?.map(read).transpose()
    }
}

fn read(row: Row) -> Result<StoredGateway, Error> {
    let id: GatewayId = row.parsed("id")?;
    let row = row.named("gateway", id);
    let keys = match (row.json_or_none("identity")?, row.json_or_none("assertion")?) {
        (Some(identity), Some(assertion)) => Some(GatewayKeys { identity, assertion }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err(row.corrupt("identity")),
    };
    Ok(StoredGateway {
        id,
        name: row.parsed("name")?,
        servers: row.json_or_none("servers")?,
        enrolment: row.hash("enrol_hash")?,
        enrol_until: row.time("enrol_until")?,
        created_at: row.time("created_at")?,
        keys,
        enrolled_at: row.time_or_none("enrolled_at")?,
    })
}

impl Tx {
    /// Adds a gateway; false when there is one of this name.
    pub async fn insert_gateway(&mut self, gateway: &NewGateway) -> Result<bool, Error> {
        let values = values![
            gateway.id,
            &gateway.name,
            gateway.servers.as_ref().map(json).transpose()?,
            &gateway.enrolment,
            gateway.enrol_until,
            self.now(),
        ];
        Ok(self.connection.execute(INSERT_GATEWAY, values).await? == 1)
    }

    /// Gives a gateway its identity, once.
    pub async fn enrol_gateway(
        &mut self,
        id: GatewayId,
        secret: &Hashed<Enrolment>,
        keys: &GatewayKeys,
    ) -> Result<Enrolling, Error> {
        let values = values![id, secret, json(&keys.identity)?, json(&keys.assertion)?, self.now()];
        if self.connection.execute(ENROL, values).await? == 1 {
            self.changed(ChangeKind::Keys);
            return Ok(Enrolling::Done);
        }
        let now = self.now();
        let found = self.read().gateway(id).await?;
        let Some(found) = found.filter(|found| found.enrolment.matches(secret)) else {
            return Ok(Enrolling::Unknown);
        };
        Ok(if found.enrol_until.has_passed(now) {
            Enrolling::Expired
        } else if found.keys.as_ref() == Some(keys) {
            Enrolling::Again
        } else {
            Enrolling::Spent
        })
    }

    /// Removes a gateway, with its keys; false when there is none.
    pub async fn remove_gateway(&mut self, id: GatewayId) -> Result<bool, Error> {
        let removed = self.connection.execute(REMOVE_GATEWAY, values![id]).await? == 1;
        if removed {
            self.changed(ChangeKind::Keys);
        }
        Ok(removed)
    }
}
