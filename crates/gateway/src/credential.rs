//! What an upstream gets in the `Authorization` header instead of the caller's token (PC-05). Never in an error, a log or a span.

mod bearer;
mod machine;

use crate::Inner;
use crate::answer::UpstreamFailure;
use crate::authenticate::Caller;
use crate::error::Refusal;
use crate::exchange::policy_of;
use crate::forward::Means;
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
}

impl Source {
    pub(crate) fn of(credential: &UpstreamCredential, server: &str, means: &Means) -> Self {
        match credential {
            UpstreamCredential::Assertion => Self::Assertion,
            UpstreamCredential::Bearer(place) => Self::Bearer(Bearer::new(place.clone(), means)),
            UpstreamCredential::ClientCredentials(client) => {
                Self::Machine(Machine::new((**client).clone(), server, means.clone()))
            }
            UpstreamCredential::None => Self::Nothing,
        }
    }

    /// Another one than the upstream just refused, if there may be a better one.
    pub(crate) async fn another_than(&self, refused: &HeaderValue) -> Option<HeaderValue> {
        match self {
            Self::Bearer(bearer) => bearer.another_than(refused),
            Self::Machine(machine) => machine.another_than(refused).await,
            Self::Assertion | Self::Nothing => None,
        }
    }
}

impl Inner {
    /// What is shown for a caller.
    pub(crate) async fn credential(
        &self,
        caller: &Caller,
        source: &Source,
    ) -> Result<Option<HeaderValue>, Refusal> {
        match source {
            Source::Assertion => self.assertion_for(caller).map(Some),
            Source::Bearer(bearer) => {
                bearer.current().map(Some).ok_or(Refusal::Upstream(UpstreamFailure::Secret))
            }
            Source::Machine(machine) => {
                machine.current().await.map(Some).ok_or(Refusal::Upstream(UpstreamFailure::NoToken))
            }
            Source::Nothing => Ok(None),
        }
    }

    fn assertion_for(&self, caller: &Caller) -> Result<HeaderValue, Refusal> {
        let scopes = policy_of(caller)?.effective(&caller.principal, &caller.circumstances());
        let made = self.assertions.assert(
            &caller.principal,
            &caller.door.server,
            (scopes, caller.known.number),
            (caller.now, || self.unique()),
        );
        made.ok().and_then(|text| shown(&text)).ok_or(Refusal::Upstream(UpstreamFailure::Signing))
    }
}

/// The header; `None` where the text cannot stand in one.
fn shown(token: &str) -> Option<HeaderValue> {
    let mut shown = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    shown.set_sensitive(true);
    Some(shown)
}

/// RFC 6750 s2.1: what may stand behind `Bearer`.
fn is_token(text: &str) -> bool {
    let core = text.trim_end_matches('=');
    !core.is_empty() && core.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}
