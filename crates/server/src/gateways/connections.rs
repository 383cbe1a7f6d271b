//! Copies of the tokens of people's connections, for the servers of a gateway that runs alone (PC-05). The connections stay
//! here: what it gets is used for minutes, cannot be renewed by it, and ends with the connection.

use super::door::Gateway;
use super::refusal::Refusal;
use super::wire::Copied;
use crate::app::App;
use crate::connections::{Keeper, Party};
use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::IntoResponse;
use http::header;
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_gateway::{Connections as _, TokenCopy, Wanted};
use std::sync::Arc;

/// Two ids and an address.
const MAX_BODY: usize = 16 * 1024;

/// `POST /api/v1/gateways/connections`
pub(super) async fn copy(
    gateway: Gateway,
    State(app): State<Arc<App>>,
    body: Body,
) -> Result<impl IntoResponse, Refusal> {
    let body = to_bytes(body, MAX_BODY).await.map_err(|_| Refusal::Malformed("too long, or cut off"))?;
    let wanted: Wanted = serde_json::from_slice(&body).map_err(|_| Refusal::Malformed("what is wanted"))?;
    let party = Party::by_id(&app.current.load(), wanted.server);
    if !party.is_some_and(|party| gateway.share().holds(&party.name)) {
        return Err(Refusal::OtherServer);
    }
    let keeper = Keeper::default();
    keeper.works_for(&app);
    let copied = match keeper.copy(wanted.clone()).await {
        Ok(copy) => {
            // On record before it leaves.
            record(&app, &gateway, (&wanted, &copy)).await?;
            Copied::Copy(copy)
        }
        Err(none) => Copied::None(none),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(copied)))
}

async fn record(app: &App, gateway: &Gateway, (wanted, copy): (&Wanted, &TokenCopy)) -> Result<(), Refusal> {
    let mut event = Event::new(Kind::ConnectionCopied, Outcome::Allowed, Actor::System)
        .with("connection", copy.id.connection)
        .with("gateway", &gateway.known.name);
    event.user = Some(wanted.user);
    event.server = Some(wanted.server);
    let written = app.store.write(app.clock.now(), event, |event, tx| Box::pin(tx.record(event, ())));
    Ok(written.await?)
}
