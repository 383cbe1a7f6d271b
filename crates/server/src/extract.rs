//! What handlers take: each extractor reads one thing of a request, or refuses in the words of its surface.

use crate::app::App;
use crate::issuer::error::Refusal;
use crate::pages::ErrorPage;
use crate::pages::error::PageRefusal;
use crate::throttle::Source;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, header};
use portcullis_gateway::ClientAddress;
use portcullis_oauth::form::{Form, InvalidForm};
use portcullis_oauth::time::Timestamp;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Forms and registrations are longer than this only by mistake or malice.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// Longest authorization request. It must fit, sealed and encoded, into the hidden field of a form.
pub(crate) const MAX_QUERY: usize = 16 * 1024;

/// The present moment, read once per request.
pub(crate) struct Now(pub(crate) Timestamp);

impl FromRequestParts<Arc<App>> for Now {
    type Rejection = Infallible;
    async fn from_request_parts(_: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        Ok(Self(app.clock.now()))
    }
}

/// The client's address, for limits: the peer of the connection, or whom a trusted proxy names (AS-HTTP-02).
pub(crate) struct Peer(pub(crate) Source);

impl FromRequestParts<Arc<App>> for Peer {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Infallible> {
        let client = parts.extensions.get::<ClientAddress>();
        // Without a connection there is only ourselves.
        let address = client.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |client| client.0);
        Ok(Self(address.into()))
    }
}

/// The client's address, if it is known, for conditions (PC-24).
pub(crate) struct Address(pub(crate) Option<IpAddr>);

impl FromRequestParts<Arc<App>> for Address {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<ClientAddress>().map(|client| client.0)))
    }
}

/// Why a body was not read as parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyRefusal {
    #[error("body was cut off")]
    Broken,
    #[error(transparent)]
    Form(#[from] InvalidForm),
    #[error("body too long")]
    TooLarge,
    #[error("not the media type of this endpoint")]
    Type,
}

/// A request to an endpoint that programs call with a form: the credential of the header, and the form.
pub(crate) struct ClientRequest {
    /// The value of `Authorization`; something unreadable if there are several.
    pub(crate) authorization: Option<String>,
    /// The body. The query is never looked at (AS-HTTP-07).
    pub(crate) form: Form,
}

impl FromRequest<Arc<App>> for ClientRequest {
    type Rejection = Refusal;
    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, Refusal> {
        let authorization = authorization(request.headers());
        let form = read_form(request).await.map_err(Refusal::Body)?;
        Ok(Self { authorization, form })
    }
}

fn authorization(headers: &HeaderMap) -> Option<String> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let first = all.next()?;
    // Several, or not ASCII: a credential that cannot be read, never none.
    let alone = all.next().is_none();
    let text = first.to_str().ok().filter(|_| alone);
    Some(text.unwrap_or_default().to_owned())
}

/// A form that a person sent from a page of ours.
pub(crate) struct PageRequest {
    /// For cookies.
    pub(crate) headers: HeaderMap,
    /// The fields.
    pub(crate) form: Form,
}

impl FromRequest<Arc<App>> for PageRequest {
    type Rejection = ErrorPage;
    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ErrorPage> {
        let headers = request.headers().clone();
        if !is_same_origin(&headers, app.config.issuer.origin()) {
            return Err(ErrorPage::new(app, PageRefusal::NotYours));
        }
        let form = read_form(request).await.map_err(|refusal| ErrorPage::new(app, refusal.into()))?;
        Ok(Self { headers, form })
    }
}

/// An authorization request, by GET or POST (OAuth 2.1 s3.1).
pub(crate) struct AuthorizationQuery {
    /// For cookies.
    pub(crate) headers: HeaderMap,
    /// The parameters, written anew in one encoding: fit for an address of ours.
    pub(crate) text: String,
    /// The same, read.
    pub(crate) form: Form,
}

impl FromRequest<Arc<App>> for AuthorizationQuery {
    type Rejection = ErrorPage;
    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ErrorPage> {
        Self::read(request).await.map_err(|refusal| ErrorPage::new(app, refusal.into()))
    }
}

impl AuthorizationQuery {
    async fn read(request: Request) -> Result<Self, BodyRefusal> {
        let headers = request.headers().clone();
        let text = match *request.method() {
            Method::GET => request.uri().query().unwrap_or_default().to_owned(),
            Method::POST => read_form_text(request).await?,
            // AUTHZ-15: HEAD issues nothing.
            _ => return Err(BodyRefusal::Type),
        };
        if text.len() > MAX_QUERY {
            return Err(BodyRefusal::TooLarge);
        }
        let form = Form::parse(&text, &["resource"])?;
        let pairs = url::form_urlencoded::parse(text.as_bytes());
        let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        Ok(Self { headers, text, form })
    }
}

impl From<BodyRefusal> for PageRefusal {
    fn from(refusal: BodyRefusal) -> Self {
        match refusal {
            BodyRefusal::TooLarge => Self::TooLarge,
            BodyRefusal::Broken | BodyRefusal::Form(_) | BodyRefusal::Type => Self::Malformed,
        }
    }
}

async fn read_form(request: Request) -> Result<Form, BodyRefusal> {
    let text = read_form_text(request).await?;
    Ok(Form::parse(&text, &["resource"])?)
}

async fn read_form_text(request: Request) -> Result<String, BodyRefusal> {
    let body = read_body(request, "application/x-www-form-urlencoded").await?;
    String::from_utf8(body.into()).map_err(|_| BodyRefusal::Form(InvalidForm::Encoding))
}

/// The body, if it is of this media type and not too long.
pub(crate) async fn read_body(request: Request, media_type: &str) -> Result<Bytes, BodyRefusal> {
    let stated = request.headers().get(header::CONTENT_TYPE);
    let stated = stated.and_then(|value| value.to_str().ok());
    let essence = stated.and_then(|value| value.split(';').next());
    if !essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(media_type)) {
        return Err(BodyRefusal::Type);
    }
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > MAX_BODY) {
        return Err(BodyRefusal::TooLarge);
    }
    read_bounded(request.into_body()).await
}

async fn read_bounded(body: Body) -> Result<Bytes, BodyRefusal> {
    to_bytes(body, MAX_BODY).await.map_err(|error| {
        let cause = std::error::Error::source(&error);
        if cause.is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>) {
            BodyRefusal::TooLarge
        } else {
            BodyRefusal::Broken
        }
    })
}

/// Whether a form was sent from a page of ours, as far as headers can say; the sealed field is what decides.
/// Our pages send no referrer, so browsers write `Origin: null`, which says nothing (Fetch, "append a request Origin header").
fn is_same_origin(headers: &HeaderMap, origin: &str) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let site = text(HeaderName::from_static("sec-fetch-site"));
    let from = text(header::ORIGIN);
    site.is_none_or(|site| site == "same-origin") && from.is_none_or(|from| from == origin || from == "null")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn as_cons_03_forms_come_from_our_own_pages() {
        let ours = "https://as.test";
        for good in [
            &[][..],
            &[("origin", "https://as.test")],
            &[("origin", "null"), ("sec-fetch-site", "same-origin")],
        ] {
            assert!(is_same_origin(&headers(good), ours), "{good:?}");
        }
        for bad in [
            &[("origin", "https://evil.test")][..],
            &[("origin", "https://as.test:8443")],
            &[("origin", "https://as.test.evil.test")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site"), ("origin", "null")],
        ] {
            assert!(!is_same_origin(&headers(bad), ours), "{bad:?}");
        }
    }

    #[test]
    fn cli_11_two_credentials_are_an_unreadable_one_not_none() {
        let mut two = headers(&[("authorization", "Basic YTpi")]);
        assert_eq!(authorization(&two).as_deref(), Some("Basic YTpi"));
        two.append(header::AUTHORIZATION, HeaderValue::from_static("Basic YTpi"));
        assert_eq!(authorization(&two).as_deref(), Some(""));
        assert_eq!(authorization(&headers(&[])), None);
    }

    async fn body_of(content_type: &str, body: Vec<u8>) -> Result<Bytes, BodyRefusal> {
        let request = Request::post("/").header("content-type", content_type).body(Body::from(body)).unwrap();
        read_body(request, "application/x-www-form-urlencoded").await
    }

    #[tokio::test]
    async fn tok_06_07_type_and_length() {
        let form = "application/x-www-form-urlencoded";
        assert_eq!(body_of(form, b"a=b".to_vec()).await.unwrap(), "a=b");
        let with_charset = "Application/X-WWW-Form-URLencoded; charset=utf-8";
        assert!(body_of(with_charset, b"a=b".to_vec()).await.is_ok());
        for other in [
            "application/json",
            "text/plain",
            "multipart/form-data; boundary=x",
            "",
            "application/x-www-form-urlencoded2",
        ] {
            assert_eq!(body_of(other, b"a=b".to_vec()).await, Err(BodyRefusal::Type), "{other}");
        }
        assert!(body_of(form, vec![b'a'; MAX_BODY]).await.is_ok());
        assert_eq!(body_of(form, vec![b'a'; MAX_BODY + 1]).await, Err(BodyRefusal::TooLarge));
    }
}
