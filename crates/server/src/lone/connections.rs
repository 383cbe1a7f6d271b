//! People's connections to third-party servers are kept by the control room; a gateway that runs alone asks it for a copy, for
//! each person and server, when a call needs one.

use super::control::{Control, ControlError};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use portcullis_gateway::{Connections, NoCopy, TokenCopy, Wanted};
use std::sync::Arc;

/// The connections that the control room keeps.
pub(super) struct AtControlRoom(pub(super) Arc<Control>);

impl Connections for AtControlRoom {
    fn copy(&self, wanted: Wanted) -> BoxFuture<'_, Result<TokenCopy, NoCopy>> {
        async move { self.0.copy(&wanted).await.unwrap_or_else(|error| Err(unavailable(&error))) }.boxed()
    }
}

/// Nobody is sent to connect again because the control room is away.
fn unavailable(error: &ControlError) -> NoCopy {
    let error = error as &dyn std::error::Error;
    tracing::warn!(error, "the control room gives no copy of a connection's token");
    NoCopy::Unavailable
}
