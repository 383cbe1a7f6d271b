//! Sessions and authorization codes: the rows behind tokens, and the pure checks on them.

use crate::id::{GrantId, ServerId, SessionId, UserId};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::pkce::{Challenge, Verifier};
use portcullis_oauth::resource::ResourceUri;
use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;

/// Who a session acts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionOwner {
    /// A machine for itself.
    Agent,
    /// A person, through a client, by a grant.
    User {
        /// The person.
        user: UserId,
        /// What the person agreed to.
        grant: GrantId,
    },
}

/// One run of an agent: what started with one code or one client-credentials call, and its renewals (PC-17).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// In every token as `sid`.
    pub id: SessionId,
    /// The client that holds it.
    pub client_id: ClientId,
    /// For whom.
    pub owner: SessionOwner,
    /// The one server.
    pub server: ServerId,
    /// The audience of its tokens.
    pub resource: ResourceUri,
    /// The most its tokens may carry.
    pub scopes: ScopeSet,
    /// When it began.
    pub started_at: Timestamp,
    /// Ends then at the latest.
    pub ends_at: Timestamp,
    /// Ended early.
    pub revoked: bool,
}

/// The row of an authorization code.
#[derive(Clone, Debug)]
pub struct IssuedCode {
    /// To whom it was issued.
    pub client_id: ClientId,
    /// Who agreed.
    pub user: UserId,
    /// Under which grant.
    pub grant: GrantId,
    /// For which server.
    pub server: ServerId,
    /// Its audience.
    pub resource: ResourceUri,
    /// What was agreed to.
    pub scopes: ScopeSet,
    /// Where it was sent.
    pub redirect_uri: String,
    /// PKCE.
    pub challenge: Challenge,
    /// The user's roles then.
    pub roles: Vec<String>,
    /// Too late from then on.
    pub expires_at: Timestamp,
    /// What the first redemption made, if there was one.
    pub redeemed_as: Option<SessionId>,
}

/// What a client presents together with a code.
#[derive(Debug)]
pub struct Redemption<'a> {
    /// Who presents it; authenticated, or public.
    pub client_id: &'a ClientId,
    /// PKCE.
    pub verifier: &'a Verifier,
    /// If sent.
    pub redirect_uri: Option<&'a str>,
    /// If sent.
    pub resource: Option<&'a ResourceUri>,
    /// The present.
    pub now: Timestamp,
}

/// Why a code is refused. None of these spends it (AS-CODE-04, -06).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedeemRefusal {
    /// Too late.
    #[error("expired")]
    Expired,
    /// PKCE.
    #[error("wrong code_verifier")]
    Verifier,
    /// Issued to another.
    #[error("another client")]
    WrongClient,
    /// Sent elsewhere.
    #[error("another redirect_uri")]
    WrongRedirect,
    /// Authorized for another server.
    #[error("another resource")]
    WrongResource,
}

/// A code that was presented rightly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redeemable {
    /// For the first time, as far as this row says; the store's conditional write decides.
    Fresh,
    /// Again: what the first redemption made must be revoked (AS-CODE-03).
    Replay(SessionId),
}

impl IssuedCode {
    /// Checks a redemption: client, expiry, redirect, verifier, resource. Only a fully valid one spends or revokes.
    pub fn check(&self, redemption: &Redemption<'_>) -> Result<Redeemable, RedeemRefusal> {
        if *redemption.client_id != self.client_id {
            return Err(RedeemRefusal::WrongClient);
        }
        if redemption.redirect_uri.is_some_and(|uri| uri != self.redirect_uri) {
            return Err(RedeemRefusal::WrongRedirect);
        }
        if !self.challenge.is_met_by(redemption.verifier) {
            return Err(RedeemRefusal::Verifier);
        }
        if redemption.resource.is_some_and(|resource| *resource != self.resource) {
            return Err(RedeemRefusal::WrongResource);
        }
        // After expiry a replay is still a replay: it revokes for as long as the row is kept.
        if let Some(session) = self.redeemed_as {
            return Ok(Redeemable::Replay(session));
        }
        if self.expires_at.has_passed(redemption.now) {
            return Err(RedeemRefusal::Expired);
        }
        Ok(Redeemable::Fresh)
    }
}
