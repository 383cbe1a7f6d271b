//! Authorization codes for tokens (OAuth 2.1 s4.1.3). Only a fully valid redemption spends a code; a fully valid second
//! one revokes what the first one made; nothing else changes anything (AS-CODE-02 to -06).

use super::{Asking, MOVED, Stop};
use crate::app::App;
use crate::fault::Fault;
use crate::issuer::error::{GrantRefusal, Refusal};
use crate::issuer::mint::Issued;
use crate::issuer::today::{left_of, roles_of};
use portcullis_domain::audit::Event;
use portcullis_domain::grant::{IssuedCode, Redeemable, Redemption, Session, SessionOwner};
use portcullis_domain::policy::{Asker, ServerPolicy};
use portcullis_domain::refresh::{Claimed, Family};
use portcullis_domain::secret::{AuthorizationCode, Hashed};
use portcullis_oauth::client::GrantType;
use portcullis_oauth::pkce::Verifier;
use portcullis_oauth::resource::ResourceUri;
use portcullis_oauth::token::Presented;
use portcullis_store::{Error, StoredUser, Tx};
use std::sync::Arc;

/// A code with what was sent beside it.
pub(super) struct Presentation {
    code: Hashed<AuthorizationCode>,
    verifier: Verifier,
    redirect_uri: Option<String>,
    resource: Option<ResourceUri>,
}

impl Presentation {
    pub(super) fn new(
        code: Presented,
        verifier: Verifier,
        redirect_uri: Option<String>,
        resource: Option<ResourceUri>,
    ) -> Self {
        Self { code: Hashed::of(code.reveal()), verifier, redirect_uri, resource }
    }
}

struct Input {
    asking: Arc<Asking>,
    presented: Presentation,
    /// Version of the root key for a new refresh family.
    key_version: u16,
}

/// Redeems a code.
pub(super) async fn redeem(
    app: &App,
    asking: &Arc<Asking>,
    presented: Presentation,
) -> Result<Issued, Refusal> {
    // Whoever proves nothing and holds no code of ours is a stranger: no row is written for them.
    if !asking.caller.is_identified() {
        let mut handle = app.store.read().await.map_err(Fault::from)?;
        let known = handle.reader().code(&presented.code).await.map_err(Fault::from)?;
        if known.is_none() {
            return Err(GrantRefusal::CodeUnknown.into());
        }
    }
    let key_version = app.keys.load().refresh.newest().ok_or(Fault::NoRefreshRoot)?;
    let input = Input { asking: Arc::clone(asking), presented, key_version };
    let written = app.store.write(asking.now, input, |input, tx| {
        Box::pin(async move {
            let mut event = input.asking.event().with("grant_type", "authorization_code");
            let decided = decide(input, tx, &mut event).await;
            input.asking.record(tx, event, decided).await
        })
    });
    let issued = written.await.map_err(Fault::from)?;
    if let Err(GrantRefusal::CodeReplayed) = issued {
        app.catch_up().await;
    }
    Ok(issued?)
}

async fn decide(input: &Input, tx: &mut Tx, event: &mut Event) -> Result<Issued, Stop> {
    let asking = &input.asking;
    asking.is_up_to_date(tx).await?;
    let code = tx.read().code(&input.presented.code).await?;
    let code = code.ok_or(GrantRefusal::CodeUnknown)?;
    describe(event, &code);
    let redemption = Redemption {
        client_id: asking.caller.id(),
        verifier: &input.presented.verifier,
        redirect_uri: input.presented.redirect_uri.as_deref(),
        resource: input.presented.resource.as_ref(),
        now: asking.now,
    };
    match code.check(&redemption).map_err(GrantRefusal::from)? {
        Redeemable::Fresh => {}
        Redeemable::Replay(session) => {
            event.session = Some(session);
            tx.revoke_session(session, asking.all_dead_by()).await?;
            return Err(GrantRefusal::CodeReplayed.into());
        }
    }
    let user = alive(asking, &code, tx).await?;
    let server = asking.current.policy.server_by_uri(code.resource.as_str());
    let server = server.filter(|server| server.server().id == code.server);
    let server = server.ok_or(GrantRefusal::Target)?;
    let issued = issue(input, &code, &user, server)?;
    if !tx.redeem_code(&input.presented.code, asking.new_session).await? {
        return Err(replayed(input, tx, event).await?);
    }
    begin(input, &issued, tx).await?;
    // Asked now that the account is held: a change of its groups either came before and is seen, or comes after and ends
    // this token.
    if tx.read().user(code.user).await?.as_ref() != Some(&user) {
        return Err(Stop::Failed(Error::Conflict(MOVED)));
    }
    Ok(issued)
}

fn describe(event: &mut Event, code: &IssuedCode) {
    event.user = Some(code.user);
    event.server = Some(code.server);
    event.grant = Some(code.grant);
    event.asked = Some(code.scopes.clone());
}

/// Somebody else was faster with the same valid redemption: one of the two is a thief, so both lose.
async fn replayed(input: &Input, tx: &mut Tx, event: &mut Event) -> Result<Stop, Stop> {
    let code = tx.read().code(&input.presented.code).await?;
    if let Some(session) = code.and_then(|code| code.redeemed_as) {
        event.session = Some(session);
        tx.revoke_session(session, input.asking.all_dead_by()).await?;
    }
    Ok(GrantRefusal::CodeReplayed.into())
}

/// AS-CODE-10: person, client and consent are looked at again.
async fn alive(asking: &Asking, code: &IssuedCode, tx: &mut Tx) -> Result<StoredUser, Stop> {
    let client = tx.read().client(&code.client_id, asking.now).await?;
    client.filter(|client| !client.disabled).ok_or(GrantRefusal::ClientDisabled)?;
    let grant = tx.read().grant_by_id(code.grant).await?;
    grant.filter(|grant| !grant.revoked).ok_or(GrantRefusal::ConsentWithdrawn)?;
    let user = tx.read().user(code.user).await?;
    let user = user.filter(|user| !user.disabled);
    Ok(user.ok_or(GrantRefusal::UserDisabled)?)
}

fn issue(
    input: &Input,
    code: &IssuedCode,
    user: &StoredUser,
    server: &ServerPolicy,
) -> Result<Issued, GrantRefusal> {
    let asking = &input.asking;
    let roles = roles_of(user, &asking.current);
    let asker = Asker::User { client: &code.client_id, roles: &roles };
    let scopes = left_of(&code.scopes, asker, server, asking.now).ok_or(GrantRefusal::NothingLeft)?;
    let scopes = asking.in_force(asker, &scopes, server)?;
    let may_refresh = asking.caller.client.grant_types.contains(&GrantType::RefreshToken);
    let refresh = may_refresh.then_some(Claimed {
        family: asking.new_family,
        generation: 0,
        key_version: input.key_version,
    });
    let ends_at = if may_refresh {
        asking.now + asking.lives.refresh_max
    } else {
        asking.expiry(server, asking.now + asking.lives.refresh_max)
    };
    let session = Session {
        id: asking.new_session,
        client_id: code.client_id.clone(),
        owner: SessionOwner::User { user: code.user, grant: code.grant },
        server: code.server,
        resource: code.resource.clone(),
        scopes: code.scopes.clone(),
        started_at: asking.now,
        ends_at,
        revoked: false,
    };
    Ok(Issued {
        token: asking.new_token,
        expires_at: asking.expiry(server, ends_at),
        session,
        scopes,
        roles: Some(roles),
        refresh,
        repeats: 0,
    })
}

/// The session, and its refresh family if the client has use for one.
async fn begin(input: &Input, issued: &Issued, tx: &mut Tx) -> Result<(), Stop> {
    let asking = &input.asking;
    tx.insert_session(&issued.session).await?;
    if let Some(claimed) = issued.refresh {
        let absolute_end = issued.session.ends_at;
        let family = Family {
            id: claimed.family,
            client_id: issued.session.client_id.clone(),
            generation: claimed.generation,
            rotated_at: None,
            idle_end: (asking.now + asking.lives.refresh_idle).min(absolute_end),
            absolute_end,
            key_version: claimed.key_version,
            revoked: false,
        };
        tx.insert_family(issued.session.id, &family).await?;
    }
    Ok(())
}
