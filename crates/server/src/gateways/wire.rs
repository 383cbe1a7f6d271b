//! What control room and gateway say to each other. Both sides read this file.

use portcullis_domain::id::GatewayId;
use portcullis_domain::registry::Name;
use portcullis_gateway::{NoCopy, TokenCopy};
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::jwk::PublicJwk;
use portcullis_oauth::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Where a gateway comes for its identity.
pub const ENROL: &str = "/api/v1/gateways/enrol";
/// Where it is told what it decides by: one [`portcullis_domain::snapshot::Update`] as JSON a line, without end.
pub const SNAPSHOT: &str = "/api/v1/gateways/snapshot";
/// Where it brings what it recorded.
pub const RECORDS: &str = "/api/v1/gateways/records";
/// Where it tells which tools are not as they were approved.
pub const SIGHTINGS: &str = "/api/v1/gateways/sightings";

/// Where it asks for copies of the tokens of people's connections.
pub const CONNECTIONS: &str = "/api/v1/gateways/connections";

/// Names that no gateway may have: they stand in these addresses.
pub const RESERVED: [&str; 5] = ["connections", "enrol", "records", "sightings", "snapshot"];

/// `typ` of the JWT by which a gateway shows itself (after RFC 7523 s3).
pub const IDENTITY_TYPE: &str = "portcullis-gateway+jwt";

/// How long such a JWT lives.
pub const IDENTITY_LIFE: Duration = Duration::from_mins(1);

/// The control room says that it is there at least so often.
pub const BEAT: Duration = Duration::from_millis(500);

/// The most of a record that is sent at once.
pub const MOST_RECORD: usize = 1024 * 1024;

/// The kind of the problem that says: there is no such gateway, or no more.
pub const UNKNOWN_GATEWAY: &str = "urn:portcullis:problem:unknown_gateway";

/// The claims of that JWT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityClaims {
    /// The gateway.
    pub iss: GatewayId,
    /// The whole address that is asked, so that what was shown there is of no use elsewhere.
    pub aud: String,
    /// When it was made.
    pub iat: Timestamp,
    /// Its end.
    pub exp: Timestamp,
    /// Makes each another.
    pub jti: String,
}

/// The file with which a gateway comes for its identity, once.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentFile {
    /// Where the control room is, and whose tokens count.
    pub issuer: Issuer,
    /// Who it is to be.
    pub gateway: GatewayId,
    /// What it is called.
    pub name: Name,
    /// The one-time secret.
    pub secret: String,
    /// Until when that is good: RFC 3339, in UTC.
    pub expires: String,
}

impl fmt::Debug for EnrolmentFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EnrolmentFile").field("gateway", &self.gateway).finish_non_exhaustive()
    }
}

/// What a gateway sends for its identity.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrol {
    /// Who it is to be.
    pub gateway: GatewayId,
    /// The one-time secret.
    pub secret: String,
    /// It will show itself with this one.
    pub identity: PublicJwk,
    /// It will sign assertions with this one.
    pub assertion: PublicJwk,
}

impl fmt::Debug for Enrol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Enrol").field("gateway", &self.gateway).finish_non_exhaustive()
    }
}

/// What it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// Who it is.
    pub gateway: GatewayId,
    /// Whose tokens count.
    pub issuer: Issuer,
}

/// The answer to whoever wants a copy of a person's token for one server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Copied {
    /// Here it is.
    Copy(TokenCopy),
    /// There is none.
    None(NoCopy),
}

/// What of a segment the control room has on its disk: the answer to a piece, taken or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Which.
    pub segment: u64,
    /// So many bytes of it, from its beginning.
    pub bytes: u64,
}

/// The `kid` of the key by which a gateway shows itself.
pub fn identity_kid(gateway: GatewayId) -> String {
    format!("identity-{gateway}")
}

/// The `kid` of the key by which it signs assertions.
pub fn assertion_kid(gateway: GatewayId) -> String {
    format!("assertion-{gateway}")
}
