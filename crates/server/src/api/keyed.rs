//! `Idempotency-Key`: which change a request asks for, so that a repeat is known as one.
//!
//! It is read after the operator was found and before the handler, which still checks everything else of a repeat: an
//! answer is given again only to somebody who might ask for the change today.

use super::door::AskedAgain;
use super::error::Refusal;
use super::input::{self, BadInput};
use super::operator::{Admitted, RightName};
use crate::app::App;
use crate::fault::Fault;
use crate::once::{Claim, Once};
use aws_lc_rs::digest::{Context, SHA256};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName};
use std::sync::Arc;

/// draft-ietf-httpapi-idempotency-key-header
pub(super) const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// A UUID has 36 characters.
const LONGEST: usize = 200;

/// What the layer of a route knows.
#[derive(Clone)]
pub(super) struct Keyed {
    pub(super) app: Arc<App>,
    pub(super) right: RightName,
}

/// Notes the key, if there is one, for the operator of the handler. Whoever has not even the right is left to the handler.
pub(super) async fn by_key(State(keyed): State<Keyed>, request: Request, next: Next) -> Response {
    match with_key(&keyed, request).await {
        Ok(request) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

async fn with_key(keyed: &Keyed, request: Request) -> Result<Request, Refusal> {
    let Some(Admitted(identity)) = request.extensions().get::<Admitted>().cloned() else {
        return Ok(request);
    };
    if !request.headers().contains_key(HEADER) || !identity.has(keyed.right) {
        return Ok(request);
    }
    let key = key_in(request.headers())?;
    let (mut parts, body) = request.into_parts();
    let body = input::whole(body).await?;
    if let Some(again) = parts.extensions.get::<AskedAgain>() {
        again.check().await?;
    }
    let asked =
        [parts.method.as_str().as_bytes(), parts.uri.to_string().as_bytes(), &body].map(<[u8]>::to_vec);
    let claim = Claim::new(
        Arc::clone(&keyed.app),
        hash([identity.as_one().as_bytes(), key.as_bytes()]),
        hash(asked.iter().map(Vec::as_slice)),
    );
    parts.extensions.insert(Once::by(claim.map_err(Fault::from)?));
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// A string of a structured field (RFC 8941 s3.3.3), or as many write it, without quotes.
fn key_in(headers: &HeaderMap) -> Result<String, BadInput> {
    let says = || {
        BadInput::Malformed(format!(
            "Idempotency-Key is there once and has 1 to {LONGEST} visible characters without quotes and backslashes"
        ))
    };
    let mut values = headers.get_all(HEADER).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(says()) };
    let text = value.to_str().map_err(|_| says())?;
    let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let is_legal = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
    if (1..=LONGEST).contains(&bare.len()) && bare.bytes().all(is_legal) {
        Ok(bare.to_owned())
    } else {
        Err(says())
    }
}

/// Of the parts, each with its length: no two lists of parts are one.
fn hash<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, value.parse().unwrap());
        }
        key_in(&headers).ok()
    }

    #[test]
    fn pc_63_a_key_is_one_word_with_or_without_quotes() {
        let key = Some("8e03978e-40d5-43e8".to_owned());
        assert_eq!(read(&["8e03978e-40d5-43e8"]), key);
        assert_eq!(read(&["\"8e03978e-40d5-43e8\""]), key);
        let long = "x".repeat(201);
        for bad in [&[""][..], &["\"\""], &["a b"], &["a", "b"], &["a", "a"], &["\"a"], &["a\\b"], &[&long]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(hash([&b"ab"[..], b"c"]), hash([&b"a"[..], b"bc"]));
        assert_ne!(hash([&b"a"[..]]), hash([&b"a"[..], b""]));
    }
}
