//! People's connections to third-party servers are kept by the control room; a gateway that runs alone has none yet.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use portcullis_gateway::{Connections, NoCopy, TokenCopy, Wanted};

/// Whoever needs one is told that it cannot be used here.
pub(super) struct NoConnections;

impl Connections for NoConnections {
    fn copy(&self, _: Wanted) -> BoxFuture<'_, Result<TokenCopy, NoCopy>> {
        std::future::ready(Err(NoCopy::Unavailable)).boxed()
    }
}
