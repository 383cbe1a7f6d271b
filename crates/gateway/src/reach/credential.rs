//! Where the credential comes from that an upstream gets instead of the caller's token (PC-05). Never in an error, a log or a span.

mod bearer;
mod machine;

use crate::reach::means::Means;
use bearer::Bearer;
use http::HeaderValue;
use machine::Machine;
use portcullis_domain::registry::UpstreamCredential;
use std::sync::Arc;

/// Where it comes from; of one upstream, kept for as long as that is reached in the same way.
pub(crate) enum Source {
    /// Made here, for each caller.
    Assertion,
    /// A secret of this machine.
    Bearer(Bearer),
    /// A token of the upstream's issuer.
    Machine(Arc<Machine>),
    Nothing,
    /// The caller's own account at the third party, at this address.
    Person(String),
}

impl Source {
    pub(crate) fn of(
        credential: &UpstreamCredential,
        (server, address): (&str, &str),
        means: &Means,
    ) -> Self {
        match credential {
            UpstreamCredential::Assertion => Self::Assertion,
            UpstreamCredential::Bearer(place) => Self::Bearer(Bearer::new(place.clone(), means)),
            UpstreamCredential::ClientCredentials(client) => {
                Self::Machine(Machine::new((**client).clone(), server, means.clone()))
            }
            UpstreamCredential::None => Self::Nothing,
            UpstreamCredential::PerUser(_) => Self::Person(address.to_owned()),
        }
    }
}

/// The header; `None` where the text cannot stand in one.
pub(crate) fn shown(token: &str) -> Option<HeaderValue> {
    let mut shown = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    shown.set_sensitive(true);
    Some(shown)
}

/// RFC 6750 s2.1: what may stand behind `Bearer`.
fn is_token(text: &str) -> bool {
    let core = text.trim_end_matches('=');
    !core.is_empty() && core.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}
