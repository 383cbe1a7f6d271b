//! Where a gateway-mode server really runs, and how the gateway shows itself there (PC-05).
//!
//! Two layers that do not know each other: what stands in the `Authorization` header, and the TLS connection under it.

use super::SecretPlace;
use portcullis_oauth::issuer::ExternalIssuer;
use portcullis_oauth::scope::ScopeSet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a server's tokens are checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum Placement {
    /// The server checks tokens itself.
    Direct,
    /// Our gateway stands before it.
    Gateway {
        /// Where it really runs.
        upstream: Upstream,
        /// What the upstream gets instead of the caller's token (PC-05).
        credential: UpstreamCredential,
        /// What is special about the TLS connections to it.
        #[serde(default, skip_serializing_if = "UpstreamTls::is_usual")]
        tls: UpstreamTls,
    },
}

/// Where a gateway-mode server really runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upstream {
    /// A program that the machine's own configuration defines under this name, spoken to over stdio.
    Command(String),
    /// A Streamable HTTP address.
    Url(String),
}

/// What stands in the `Authorization` header of a request to an upstream. Secrets are read where the gateway runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamCredential {
    /// A signed assertion for this server: who calls, for whom, with which scopes.
    #[default]
    Assertion,
    /// A secret of this machine, the same for every caller.
    Bearer(SecretPlace),
    /// A token that we get as a client of the upstream's own issuer, the same for every caller.
    ClientCredentials(Box<ClientCredentials>),
    /// Nothing; the upstream relies on the connection alone, and posture says so.
    None,
    /// A token of whoever calls, from the account at the third party that they connected.
    PerUser(Box<PerUser>),
}

/// How people connect to a third party, one by one. What is left out, the third party says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerUser {
    /// What is asked for there, in its words.
    pub scopes: Option<ScopeSet>,
    /// Where people sign in; no other is believed.
    pub issuer: Option<ExternalIssuer>,
    /// Who we are there, if the operator registered us.
    pub client: Option<PerUserClient>,
}

/// A client that the operator registered at a third party.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerUserClient {
    /// Our name there.
    pub id: String,
    /// What proves it, on the machine of the control room.
    pub secret: Option<SecretPlace>,
}

/// Who we are at the issuer of an upstream (RFC 6749 s4.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCredentials {
    /// Where tokens are got.
    pub at: TokenEndpoint,
    /// Our name there.
    pub client_id: String,
    /// What proves it.
    pub secret: SecretPlace,
    /// What is asked for; empty: the issuer decides.
    pub scopes: ScopeSet,
    /// What the token is for (RFC 8707); `None`: an issuer that does not know the parameter is not sent it.
    pub resource: Option<String>,
}

/// Where tokens are got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenEndpoint {
    /// Where the issuer says in its metadata (RFC 8414), if that is on its own origin.
    Issuer(ExternalIssuer),
    /// Here.
    Url(String),
}

/// What is special about the TLS connections to an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamTls {
    /// Who vouches for its certificate, and nobody else does; `None`: whom the machine trusts.
    pub ca: Option<SecretPlace>,
    /// What we show there.
    pub certificate: Option<ClientCertificate>,
}

/// Our certificate at an upstream, and its key; both PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCertificate {
    /// The certificate, and those between it and the upstream's root.
    pub cert: SecretPlace,
    /// The private key.
    pub key: SecretPlace,
}

impl UpstreamTls {
    /// Whether nothing is.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Placement {
    /// Places of the gateway's machine that are read for the upstream's sake.
    pub fn places(&self) -> Vec<&SecretPlace> {
        let Self::Gateway { upstream: _, credential, tls } = self else { return Vec::new() };
        let secret = match credential {
            UpstreamCredential::Assertion | UpstreamCredential::None => None,
            UpstreamCredential::Bearer(place) => Some(place),
            UpstreamCredential::ClientCredentials(client) => Some(&client.secret),
            UpstreamCredential::PerUser(asks) => {
                asks.client.as_ref().and_then(|client| client.secret.as_ref())
            }
        };
        let certificate = tls.certificate.iter().flat_map(|shown| [&shown.cert, &shown.key]);
        secret.into_iter().chain(&tls.ca).chain(certificate).collect()
    }
}

/// Addresses at which clouds hand credentials to whoever asks from a machine, besides the link-local ones.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Whether no upstream may stand at the address, whoever registers it and by whatever name it is found (UPS-04): link-local
/// ones and those of cloud metadata, and what is no address of one machine. Private networks and this machine are where
/// upstreams live; only operators name upstreams.
pub fn is_never_dialled(address: IpAddr) -> bool {
    let address = address.to_canonical();
    METADATA.contains(&address)
        || address.is_unspecified()
        || address.is_multicast()
        || match address {
            IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
            IpAddr::V6(address) => {
                address.is_unicast_link_local()
                    || embedded(address).is_some_and(|v4| is_never_dialled(v4.into()))
            }
        }
}

/// The IPv4 address that a translator of the network would dial instead (NAT64 of RFC 6052, 6to4 of RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let parts = address.segments();
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => of(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ups_04_link_local_and_metadata_addresses_are_never_dialled() {
        for never in [
            "169.254.169.254",
            "169.254.1.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "168.63.129.16",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
        ] {
            assert!(is_never_dialled(never.parse().unwrap()), "{never}");
        }
        for may in [
            "127.0.0.1",
            "::1",
            "10.0.0.1",
            "192.168.1.1",
            "fd12::1",
            "100.64.0.1",
            "203.0.113.1",
            "2001:db8::1",
        ] {
            assert!(!is_never_dialled(may.parse().unwrap()), "{may}");
        }
    }

    #[test]
    fn what_was_stored_before_reads_as_it_was() {
        let stored = r#"{"mode":"gateway","upstream":{"url":"http://n/mcp"},"credential":"assertion"}"#;
        let read: Placement = serde_json::from_str(stored).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), stored);
    }
}
