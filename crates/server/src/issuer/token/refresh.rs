//! Refresh tokens (PC-13, decision 3). `domain::refresh` judges, one conditional statement decides, and whatever
//! refuses without harm is asked before anything turns (REFR-06).

use super::{Asking, Stop};
use crate::app::App;
use crate::fault::Fault;
use crate::issuer::error::{GrantRefusal, Refusal};
use crate::issuer::mint::Issued;
use crate::issuer::today::{left_of, roles_of};
use portcullis_domain::audit::Event;
use portcullis_domain::grant::{Session, SessionOwner};
use portcullis_domain::policy::Asker;
use portcullis_domain::refresh::{Claimed, Family, Judgement};
use portcullis_oauth::resource::ResourceUri;
use portcullis_oauth::scope::{Scope, ScopeSet};
use portcullis_oauth::token::Presented;
use portcullis_store::{Error, StoredUser, Tx};
use std::sync::Arc;

/// What was sent beside the token.
pub(super) struct Wish {
    pub(super) resource: Option<ResourceUri>,
    pub(super) scope: Option<ScopeSet>,
}

struct Input {
    asking: Arc<Asking>,
    claimed: Claimed,
    wish: Wish,
}

/// So many answers lost in a row look like a client that races with itself, or like a thief (PC-46).
const REPEATS_TO_WARN_AT: u32 = 3;

/// Renews tokens.
pub(super) async fn renew(
    app: &App,
    asking: &Arc<Asking>,
    token: &Presented,
    wish: Wish,
) -> Result<Issued, Refusal> {
    // A wrong MAC reveals and changes nothing: not even a row is read.
    let Some(claimed) = app.keys.load().refresh.verify(token.reveal()) else {
        return Err(asking.refuse(app, GrantRefusal::RefreshUnknown.into()).await);
    };
    let input = Input { asking: Arc::clone(asking), claimed, wish };
    let written = app.store.write(asking.now, input, |input, tx| {
        Box::pin(async move {
            let mut event = input.asking.event().with("grant_type", "refresh_token");
            event = event.with("family.id", input.claimed.family);
            let decided = decide(input, tx, &mut event).await;
            input.asking.record(tx, event, decided).await
        })
    });
    let issued = written.await.map_err(Fault::from)?;
    watch(app, asking, claimed, &issued).await;
    Ok(issued?)
}

/// PC-46: what looks stolen, and what looks like a client that races with itself, are told apart.
async fn watch(app: &App, asking: &Asking, claimed: Claimed, issued: &Result<Issued, GrantRefusal>) {
    let (family, client) = (claimed.family, asking.caller.id());
    match issued {
        Err(refusal @ (GrantRefusal::RefreshReused | GrantRefusal::RefreshAheadOfRow)) => {
            tracing::warn!(family.id = %family, client.id = %client, reason = %refusal,
                "a refresh token was reused; its session is revoked");
            app.catch_up().await;
        }
        Ok(issued) if issued.repeats == REPEATS_TO_WARN_AT => {
            tracing::warn!(family.id = %family, client.id = %client,
                "a client asks for the same refresh again and again; it races with itself");
        }
        Ok(_) | Err(_) => {}
    }
}

async fn decide(input: &Input, tx: &mut Tx, event: &mut Event) -> Result<Issued, Stop> {
    let asking = &input.asking;
    asking.is_up_to_date(tx).await?;
    // Losing the race to advance means that the row has changed: what it says now is judged again, once.
    for _ in 0..2 {
        let (family, session) = find(input, tx).await?;
        describe(event, &session);
        let judgement = family.judge(
            input.claimed.generation,
            asking.caller.id(),
            asking.now,
            asking.lives.refresh_grace,
        );
        match judgement {
            Judgement::Advance => {
                let issued = issue(input, &family, &session, tx).await?;
                let idle_end = (asking.now + asking.lives.refresh_idle).min(family.absolute_end);
                if tx.advance_family(family.id, family.generation, idle_end).await? {
                    return Ok(with_generation(issued, &family, family.generation + 1));
                }
            }
            Judgement::Repeat => {
                let issued = issue(input, &family, &session, tx).await?;
                let repeats = tx.note_repeat(family.id).await?;
                event.detail.insert("refresh.repeats".to_owned(), repeats.to_string());
                let issued = with_generation(issued, &family, family.generation);
                return Ok(Issued { repeats, ..issued });
            }
            Judgement::Revoke(reuse) => {
                tx.revoke_family(family.id).await?;
                tx.revoke_session(session.id, asking.all_dead_by()).await?;
                return Err(GrantRefusal::from(reuse).into());
            }
            Judgement::Refuse(refusal) => return Err(GrantRefusal::from(refusal).into()),
        }
    }
    Err(Stop::Failed(Error::Conflict("family_race")))
}

async fn find(input: &Input, tx: &mut Tx) -> Result<(Family, Session), Stop> {
    let found = tx.read().family(input.claimed.family).await?;
    let found = found.filter(|(family, _)| family.key_version == input.claimed.key_version);
    let (family, session) = found.ok_or(GrantRefusal::RefreshUnknown)?;
    let session = tx.read().session(session).await?;
    Ok((family, session.ok_or(GrantRefusal::RefreshUnknown)?))
}

fn describe(event: &mut Event, session: &Session) {
    event.session = Some(session.id);
    event.server = Some(session.server);
    match &session.owner {
        SessionOwner::Agent => {}
        SessionOwner::User { user, grant } => {
            event.user = Some(*user);
            event.grant = Some(*grant);
        }
    }
}

fn with_generation(issued: Issued, family: &Family, generation: u32) -> Issued {
    let refresh = Claimed { family: family.id, generation, key_version: family.key_version };
    Issued { refresh: Some(refresh), ..issued }
}

/// The token for this renewal, if everything that it hangs from is alive (AS-RT-10) and policy leaves something (PC-21).
async fn issue(input: &Input, family: &Family, session: &Session, tx: &mut Tx) -> Result<Issued, Stop> {
    let asking = &input.asking;
    if session.revoked || session.ends_at.has_passed(asking.now) {
        return Err(GrantRefusal::RefreshRevoked.into());
    }
    if input.wish.resource.as_ref().is_some_and(|resource| *resource != session.resource) {
        return Err(GrantRefusal::Target.into());
    }
    let user = alive(asking, session, tx).await?;
    let server = asking.current.policy.server_by_uri(session.resource.as_str());
    let server = server.filter(|server| server.server().id == session.server);
    let server = server.ok_or(GrantRefusal::Target)?;
    let roles = roles_of(&user, &asking.current);
    let wanted = wanted(input.wish.scope.as_ref(), session)?;
    let asker = Asker::User { client: &session.client_id, roles: &roles };
    let scopes = left_of(&wanted, asker, server, asking.now).ok_or(GrantRefusal::NothingLeft)?;
    let scopes = asking.in_force(asker, &scopes, server)?;
    Ok(Issued {
        token: asking.new_token,
        expires_at: asking.expiry(server, session.ends_at.min(family.absolute_end)),
        session: session.clone(),
        scopes,
        roles: Some(roles),
        refresh: None,
        repeats: 0,
    })
}

/// AS-RT-07: a subset for this one token; the session keeps what was agreed to.
fn wanted(asked: Option<&ScopeSet>, session: &Session) -> Result<ScopeSet, GrantRefusal> {
    let counts = |scope: &&Scope| scope.as_str() != "offline_access";
    let asked: Option<ScopeSet> = asked.map(|asked| asked.iter().filter(counts).collect());
    let wanted = asked.filter(|asked| !asked.is_empty()).unwrap_or_else(|| session.scopes.clone());
    if !wanted.is_subset(&session.scopes) {
        return Err(GrantRefusal::Scope);
    }
    Ok(wanted)
}

async fn alive(asking: &Asking, session: &Session, tx: &mut Tx) -> Result<StoredUser, Stop> {
    let (user, grant) = match &session.owner {
        SessionOwner::User { user, grant } => (*user, *grant),
        // Machines have no refresh tokens (AS-CC-04).
        SessionOwner::Agent => return Err(GrantRefusal::RefreshUnknown.into()),
    };
    let client = tx.read().client(&session.client_id, asking.now).await?;
    client.filter(|client| !client.disabled).ok_or(GrantRefusal::ClientDisabled)?;
    let grant = tx.read().grant_by_id(grant).await?;
    grant.filter(|grant| !grant.revoked).ok_or(GrantRefusal::ConsentWithdrawn)?;
    // Held first: a change of their groups either came before and is seen, or comes after and ends this token.
    tx.hold_user(user).await?;
    let user = tx.read().user(user).await?;
    let user = user.filter(|user| !user.disabled);
    Ok(user.ok_or(GrantRefusal::UserDisabled)?)
}
