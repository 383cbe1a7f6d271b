//! Tokens for machines (OAuth 2.1 s4.2, PC-14, PC-17): only for registered agents, never with a refresh token.

use super::{Asking, Stop};
use crate::app::App;
use crate::fault::Fault;
use crate::issuer::error::{GrantRefusal, Refusal};
use crate::issuer::mint::Issued;
use crate::issuer::today::{agent_may_use, left_of};
use portcullis_domain::audit::Event;
use portcullis_domain::grant::{Session, SessionOwner};
use portcullis_domain::id::SessionId;
use portcullis_domain::policy::{Asker, ServerPolicy};
use portcullis_oauth::resource::ResourceUri;
use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{Error, Tx};
use std::sync::Arc;

/// What a machine asks for.
pub(super) struct Wish {
    pub(super) resource: ResourceUri,
    pub(super) scope: Option<ScopeSet>,
    pub(super) session_id: Option<String>,
}

struct Input {
    asking: Arc<Asking>,
    wish: Wish,
}

/// Issues a token to a machine.
pub(super) async fn issue(app: &App, asking: &Arc<Asking>, wish: Wish) -> Result<Issued, Refusal> {
    // AS-CC-01: a public client has no credentials, and what registered itself is no agent.
    if !asking.caller.is_agent() {
        return Err(asking.refuse(app, Refusal::GrantNotAllowed).await);
    }
    let input = Input { asking: Arc::clone(asking), wish };
    let written = app.store.write(asking.now, input, |input, tx| {
        Box::pin(async move {
            let mut event = input.asking.event().with("grant_type", "client_credentials");
            event.asked.clone_from(&input.wish.scope);
            let decided = decide(input, tx, &mut event).await;
            input.asking.record(tx, event, decided).await
        })
    });
    Ok(written.await.map_err(Fault::from)??)
}

async fn decide(input: &Input, tx: &mut Tx, event: &mut Event) -> Result<Issued, Stop> {
    let asking = &input.asking;
    asking.is_up_to_date(tx).await?;
    let server = asking.current.policy.server_by_uri(input.wish.resource.as_str());
    let server = server.ok_or(GrantRefusal::Target)?;
    if !server.server().issuers.own {
        return Err(GrantRefusal::OtherIssuers.into());
    }
    event.server = Some(server.server().id);
    if !agent_may_use(server.server(), asking.caller.id(), &asking.current) {
        return Err(GrantRefusal::Target.into());
    }
    let (session, scopes) = match &input.wish.session_id {
        None => begin(input, server, tx).await?,
        Some(id) => go_on(input, server, id, tx).await?,
    };
    Ok(Issued {
        token: asking.new_token,
        expires_at: asking.expiry(server, session.ends_at.min(end_of_agent(asking))),
        session,
        scopes,
        roles: None,
        refresh: None,
        repeats: 0,
    })
}

async fn begin(input: &Input, server: &ServerPolicy, tx: &mut Tx) -> Result<(Session, ScopeSet), Stop> {
    let asking = &input.asking;
    let agent = Asker::Agent(asking.caller.id());
    let scopes = server.issue(agent, input.wish.scope.as_ref(), asking.now).map_err(GrantRefusal::from)?;
    let in_force = asking.in_force(agent, &scopes, server)?;
    let session = Session {
        id: asking.new_session,
        client_id: asking.caller.id().clone(),
        owner: SessionOwner::Agent,
        server: server.server().id,
        // AUD-02: the registered spelling, never the caller's.
        resource: server.server().canonical_uri.clone(),
        scopes,
        started_at: asking.now,
        ends_at: asking.now + asking.lives.session_max,
        revoked: false,
    };
    tx.insert_session(&session).await?;
    // Asked now that the client is held: a rotation either came before and is seen, or comes after and ends this session.
    let today = tx.read().client(asking.caller.id(), asking.now).await?;
    if !today.is_some_and(|today| asking.caller.holds_for(&today)) {
        // Undone as a whole: the client asks again, and is told that its secret is wrong.
        return Err(Stop::Failed(Error::Conflict("secret_live")));
    }
    Ok((session, in_force))
}

/// PC-17: another token in a session that runs; it carries no more than the session began with.
async fn go_on(
    input: &Input,
    server: &ServerPolicy,
    id: &str,
    tx: &mut Tx,
) -> Result<(Session, ScopeSet), Stop> {
    let asking = &input.asking;
    let id: SessionId = id.parse().map_err(|_| GrantRefusal::SessionUnknown)?;
    let session = tx.read().session(id).await?;
    let session = session.filter(|session| {
        session.client_id == *asking.caller.id()
            && session.owner == SessionOwner::Agent
            && session.server == server.server().id
    });
    let session = session.ok_or(GrantRefusal::SessionUnknown)?;
    if session.revoked || session.ends_at.has_passed(asking.now) {
        return Err(GrantRefusal::SessionEnded.into());
    }
    let agent = Asker::Agent(asking.caller.id());
    let asked = match &input.wish.scope {
        Some(_) => server
            .issue(agent, input.wish.scope.as_ref(), asking.now)
            .map_err(GrantRefusal::from)?
            .intersection(&session.scopes),
        None => session.scopes.clone(),
    };
    let scopes = left_of(&asked, agent, server, asking.now).ok_or(GrantRefusal::Scope)?;
    let in_force = asking.in_force(agent, &scopes, server)?;
    Ok((session, in_force))
}

/// No token of an agent lives past the agent's end.
fn end_of_agent(asking: &Asking) -> Timestamp {
    let mut agents = asking.current.snapshot.agents.iter();
    let agent = agents.find(|agent| agent.client_id == *asking.caller.id());
    agent.and_then(|agent| agent.expires_at).unwrap_or(Timestamp::from_seconds(i64::MAX))
}
