//! Which client calls, and whether it proved it (OAuth 2.1 s2.4, s3.2.1).

use crate::app::App;
use crate::extract::ClientRequest;
use crate::fault::Fault;
use crate::issuer::error::Refusal;
use crate::throttle::Source;
use portcullis_domain::secret::{ClientSecret, Hashed};
use portcullis_oauth::client::{AuthMethod, ClientId, PresentedClient};
use portcullis_oauth::time::Timestamp;
use portcullis_store::{ClientKind, StoredClient};

/// A client that may go on.
pub(crate) struct Caller {
    /// As registered; enabled.
    pub(crate) client: StoredClient,
    /// What stands behind its name.
    pub(crate) proof: Proof,
}

/// What a client showed beside its name.
#[derive(Debug)]
pub(crate) enum Proof {
    /// Nothing: it is public, and whoever says its name is it.
    Nothing,
    /// Its secret, which was this one.
    Secret(Hashed<ClientSecret>),
}

impl Caller {
    pub(crate) fn id(&self) -> &ClientId {
        &self.client.client_id
    }

    /// Whether it showed more than its name.
    pub(crate) fn is_identified(&self) -> bool {
        match self.proof {
            Proof::Secret(_) => true,
            Proof::Nothing => false,
        }
    }

    /// The agent's client, with its secret shown.
    pub(crate) fn is_agent(&self) -> bool {
        match self.client.kind {
            ClientKind::Agent { .. } => self.is_identified(),
            ClientKind::Registered | ClientKind::SelfRegistered => false,
        }
    }

    /// Whether what it showed still counts for the client as it is `today`: a secret may have been replaced meanwhile.
    pub(crate) fn holds_for(&self, today: &StoredClient) -> bool {
        match &self.proof {
            Proof::Secret(shown) => !today.disabled && has_secret(today, shown),
            Proof::Nothing => !today.disabled,
        }
    }
}

fn has_secret(client: &StoredClient, shown: &Hashed<ClientSecret>) -> bool {
    client.secrets.iter().fold(false, |found, secret| found | secret.matches(shown))
}

/// Authenticates the client of `request`. An unknown client and a wrong secret give the same answer after the same work.
pub(crate) async fn authenticate(
    app: &App,
    request: &ClientRequest,
    from: Source,
    now: Timestamp,
) -> Result<Caller, Refusal> {
    let presented = PresentedClient::read(request.authorization.as_deref(), &request.form)?;
    let mut handle = app.store.read().await.map_err(Fault::from)?;
    let stored = handle.reader().client(presented.client_id(), now).await.map_err(Fault::from)?;
    drop(handle);
    // Assertions are not on offer; to ignore one would be to let a client in on less than it showed.
    let has_assertion = request.form.has("client_assertion") || request.form.has("client_assertion_type");
    let proof = prove(&presented, stored.as_ref());
    match (stored, proof) {
        (Some(client), Some(proof)) if !client.disabled && !has_assertion => Ok(Caller { client, proof }),
        _ => Err(refuse(app, &presented, from, now)),
    }
}

/// What `presented` proves about `stored`; `None` when it does not make the caller that client.
fn prove(presented: &PresentedClient, stored: Option<&StoredClient>) -> Option<Proof> {
    match presented {
        PresentedClient::Named { .. } => match stored?.auth_method {
            AuthMethod::None => Some(Proof::Nothing),
            AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost => None,
        },
        PresentedClient::Secret { unverified_secret, method, .. } => {
            // Hashed before anything is known, so that an unknown client takes as long (CLI-04).
            let presented = Hashed::<ClientSecret>::of(unverified_secret);
            let client = stored?;
            let is_right = has_secret(client, &presented);
            (is_right && takes(client, *method)).then_some(Proof::Secret(presented))
        }
    }
}

/// Whether the client may send its secret this way: who registered itself as it said, others either way (AS-CLI-04).
fn takes(client: &StoredClient, method: AuthMethod) -> bool {
    match (&client.kind, client.auth_method) {
        (_, AuthMethod::None) => false,
        (
            ClientKind::Agent { .. } | ClientKind::Registered,
            AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost,
        ) => true,
        (ClientKind::SelfRegistered, AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost) => {
            client.auth_method == method
        }
    }
}

fn refuse(app: &App, presented: &PresentedClient, from: Source, now: Timestamp) -> Refusal {
    let client_id = presented.client_id().as_str();
    match app.throttle.wrong_secret(client_id, from, now) {
        Err(wait) => Refusal::Throttled(wait),
        Ok(()) => Refusal::Client(match presented {
            PresentedClient::Named { .. } => AuthMethod::None,
            PresentedClient::Secret { method, .. } => *method,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(secrets: &[&str]) -> StoredClient {
        StoredClient {
            client_id: "cli_1".parse().unwrap(),
            kind: ClientKind::Agent { name: "bot".parse().unwrap() },
            name: None,
            client_uri: None,
            redirect_uris: vec![],
            auth_method: AuthMethod::ClientSecretBasic,
            grant_types: vec![],
            secrets: secrets.iter().map(|secret| Hashed::of(secret)).collect(),
            created_at: Timestamp::from_seconds(0),
            disabled: false,
        }
    }

    #[test]
    fn pc_14_a_secret_that_was_replaced_meanwhile_counts_no_more() {
        let caller = Caller { client: client(&["old"]), proof: Proof::Secret(Hashed::of("old")) };
        assert!(caller.holds_for(&client(&["old"])) && caller.holds_for(&client(&["new", "old"])), "overlap");
        assert!(!caller.holds_for(&client(&["new"])) && !caller.holds_for(&client(&[])));
        assert!(!caller.holds_for(&StoredClient { disabled: true, ..client(&["old"]) }));
    }
}
