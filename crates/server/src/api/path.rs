//! The part of an address that names one thing.

use super::error::Refusal;
use super::input::BadInput;
use crate::app::App;
use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use std::sync::Arc;

/// The one variable part of an address, decoded.
pub(crate) struct Named(pub(crate) String);

/// The two variable parts of an address, decoded: a thing, and a part of it.
pub(crate) struct NamedPart(pub(crate) String, pub(crate) String);

impl FromRequestParts<Arc<App>> for NamedPart {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let Path((name, part)) = Path::from_request_parts(parts, app)
            .await
            .map_err(|_| BadInput::Malformed("the names in the address are not UTF-8".to_owned()))?;
        Ok(Self(name, part))
    }
}

impl FromRequestParts<Arc<App>> for Named {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let Path(name) = Path::from_request_parts(parts, app)
            .await
            .map_err(|_| BadInput::Malformed("the name in the address is not UTF-8".to_owned()))?;
        Ok(Self(name))
    }
}
