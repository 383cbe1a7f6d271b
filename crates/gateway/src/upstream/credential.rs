//! What an upstream gets in the `Authorization` header instead of the caller's token (PC-05). Never in an error, a log or a span.

use crate::Inner;
use crate::decide::authorize::policy_of;
use crate::decide::refusal::Refusal;
use crate::known::caller::Caller;
use crate::message::answer::UpstreamFailure;
use crate::reach::credential::{Source, shown};
use crate::upstream::connections::CopyId;
use http::HeaderValue;

/// What is shown.
pub(crate) struct Shown {
    pub(crate) header: HeaderValue,
    /// Of a person's connection: nothing goes on when that ends.
    pub(crate) copy: Option<CopyId>,
}

impl From<HeaderValue> for Shown {
    fn from(header: HeaderValue) -> Self {
        Self { header, copy: None }
    }
}

impl Inner {
    /// What is shown for a caller.
    pub(crate) async fn credential(
        &self,
        caller: &Caller,
        source: &Source,
    ) -> Result<Option<Shown>, Refusal> {
        let header = match source {
            Source::Assertion => self.assertion_for(caller)?,
            Source::Bearer(bearer) => bearer.current().ok_or(Refusal::Upstream(UpstreamFailure::Secret))?,
            Source::Machine(machine) => {
                machine.current().await.ok_or(Refusal::Upstream(UpstreamFailure::NoToken))?
            }
            Source::Nothing => return Ok(None),
            Source::Person(address) => return self.of_person(caller, address, None).await.map(Some),
        };
        Ok(Some(header.into()))
    }

    /// Another one than the upstream just refused, if there may be a better one.
    pub(crate) async fn another_than(
        &self,
        refused: &Shown,
        caller: &Caller,
        source: &Source,
    ) -> Result<Option<Shown>, Refusal> {
        let another = match source {
            Source::Bearer(bearer) => bearer.another_than(&refused.header),
            Source::Machine(machine) => machine.another_than(&refused.header).await,
            Source::Assertion | Source::Nothing => None,
            Source::Person(address) => {
                return self.of_person(caller, address, refused.copy).await.map(Some);
            }
        };
        Ok(another.map(Shown::from))
    }

    async fn of_person(
        &self,
        caller: &Caller,
        address: &str,
        refused: Option<CopyId>,
    ) -> Result<Shown, Refusal> {
        let copy = self.copies.of((caller, &*self.knowledge), address, refused).await?;
        // What cannot stand in a header is none of HTTP's tokens.
        let header = shown(&copy.token).ok_or(Refusal::Upstream(UpstreamFailure::Connection))?;
        Ok(Shown { header, copy: Some(copy.id) })
    }

    fn assertion_for(&self, caller: &Caller) -> Result<HeaderValue, Refusal> {
        let made = self.assertions.assert(caller, policy_of(caller)?, || self.unique());
        made.ok_or(Refusal::Upstream(UpstreamFailure::Signing))
    }
}
