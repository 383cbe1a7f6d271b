//! Whose tokens a database is for: noted at the first start, held against `public_url` at each.
//!
//! Tokens, delivered secrets, settings of clients and the addresses of servers name the issuer. A database that is served under
//! another would answer none of them, so that is refused before anything is changed.

use crate::config::Config;
use crate::demo;
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{Error, Store};

/// Why the database is not served under this address.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentError {
    /// It is for another.
    #[error(
        "this database is for {theirs}, but public_url is {ours}: tokens, delivered secrets and clients name the first. Set public_url (without it: --listen) back to that, or choose another database (database.url) and data folder (--data); `portcullis export` takes the fleet along"
    )]
    Issuer {
        /// Of the database.
        theirs: Issuer,
        /// Of the configuration.
        ours: Issuer,
    },
    /// The database.
    #[error("the database does not say which issuer it is for")]
    Store(#[from] Error),
}

/// Notes the issuer if none is noted, and refuses if it is another. The demo makes its fleet anew at each start: its own
/// database may move.
pub(crate) async fn settle(store: &Store, config: &Config, now: Timestamp) -> Result<(), DeploymentError> {
    let ours = &config.issuer;
    let (mut known, is_demos) = look(store).await?;
    let may_move = config.demo && is_demos;
    if known.is_none() || (may_move && known.as_ref() != Some(ours)) {
        write(store, ours, may_move, now).await?;
        // Another node may have been faster.
        (known, _) = look(store).await?;
    }
    match known {
        Some(theirs) if theirs != *ours => Err(DeploymentError::Issuer { theirs, ours: ours.clone() }),
        Some(_) | None => Ok(()),
    }
}

async fn look(store: &Store) -> Result<(Option<Issuer>, bool), Error> {
    let mut handle = store.read().await?;
    Ok((handle.reader().issuer().await?, demo::made(handle.reader()).await?))
}

async fn write(store: &Store, ours: &Issuer, may_move: bool, now: Timestamp) -> Result<(), Error> {
    let event = Event::new(Kind::IssuerSet, Outcome::Allowed, Actor::System).with("issuer", ours);
    let written = store.write(now, (ours.clone(), event), move |(issuer, event), tx| {
        Box::pin(async move {
            let is_done = tx.claim_issuer(issuer).await? || (may_move && tx.move_issuer(issuer).await?);
            let mut event = event.clone();
            if !is_done {
                event.outcome = Outcome::Refused("set_by_another_node".to_owned());
            }
            tx.record(&event, ()).await
        })
    });
    written.await
}
