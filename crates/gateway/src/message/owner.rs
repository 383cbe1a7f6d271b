//! Whose a session is, or a task.

use portcullis_domain::principal::{Principal, Subject};
use portcullis_oauth::client::ClientId;

/// A principal, whatever its token. There is one issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    subject: Subject,
    client: ClientId,
}

impl Owner {
    pub(crate) fn of(principal: &Principal) -> Self {
        Self { subject: principal.subject.clone(), client: principal.client_id.clone() }
    }
}
