//! Changes that are asked for under an `Idempotency-Key`: they happen once, and are answered the same each time.
//!
//! The key is taken and the answer kept in the transaction of the change itself. So a repeat finds either both or neither,
//! whenever the first attempt was cut off, and of two at once the second waits for the first and gets its answer.

use crate::app::App;
use crate::fault::Fault;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use http::{HeaderValue, StatusCode, header};
use portcullis_domain::seal::{SealingKey, Unsealable};
use portcullis_oauth::time::Timestamp;
use portcullis_store::{Error, Recorded, Tx};
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A change that is asked for, under a key or not.
#[derive(Clone, Default)]
pub(crate) struct Once(Option<Arc<Claim>>);

/// A key, and for what it is used.
pub(crate) struct Claim {
    app: Arc<App>,
    seal: SealingKey,
    key: [u8; 32],
    request: [u8; 32],
}

/// An answer, whole: it may hold a secret.
#[derive(Clone)]
pub(crate) struct Kept {
    status: StatusCode,
    /// JSON; empty for an answer without content.
    body: Zeroizing<Vec<u8>>,
}

/// Why an earlier answer cannot be given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OnceError {
    #[error("the key was used for another request")]
    OtherRequest,
    #[error("an answer that was kept cannot be read")]
    Sealed(#[from] Unsealable),
    #[error("the database")]
    Store(#[from] Error),
}

impl Claim {
    /// `key` is the hash of the key and of who uses it, `request` that of all that is asked for.
    pub(crate) fn new(app: Arc<App>, key: [u8; 32], request: [u8; 32]) -> Result<Self, Unsealable> {
        Ok(Self { seal: app.master.sealing_key("answers")?, app, key, request })
    }

    fn context(&self) -> String {
        format!("answered/{}", BASE64_URL_SAFE_NO_PAD.encode(self.key))
    }

    fn sealed(&self, kept: &Kept) -> Result<Vec<u8>, Error> {
        let plain = Zeroizing::new([&kept.status.as_u16().to_be_bytes(), kept.body.as_slice()].concat());
        let sealed = self.seal.seal(&self.context(), &plain, &mut self.app.entropy.rng());
        sealed.map_err(|Unsealable| Error::Conflict("answer_sealed"))
    }

    fn opened(&self, sealed: &[u8]) -> Result<Kept, Unsealable> {
        let plain = self.seal.open(&self.context(), sealed)?;
        let (status, body) = plain.split_first_chunk().ok_or(Unsealable)?;
        let status = StatusCode::from_u16(u16::from_be_bytes(*status)).map_err(|_| Unsealable)?;
        Ok(Kept { status, body: Zeroizing::new(body.to_vec()) })
    }
}

impl Once {
    /// Under this key.
    pub(crate) fn by(claim: Claim) -> Self {
        Self(Some(Arc::new(claim)))
    }

    /// Whether there is a key.
    pub(crate) fn has_key(&self) -> bool {
        self.0.is_some()
    }

    /// Answers as before, or does `change`, which writes with [`Once::write`]. When it fails because another attempt came
    /// first, that one's answer counts.
    pub(crate) async fn or_do<E: From<OnceError>>(
        &self,
        change: impl Future<Output = Result<Kept, E>>,
    ) -> Result<Kept, E> {
        if let Some(kept) = self.before().await? {
            return Ok(kept);
        }
        match change.await {
            Ok(kept) => Ok(kept),
            Err(error) => self.before().await?.ok_or(error),
        }
    }

    async fn before(&self) -> Result<Option<Kept>, OnceError> {
        let Some(claim) = &self.0 else { return Ok(None) };
        let Some(found) = claim.app.store.read().await?.reader().answered(&claim.key).await? else {
            return Ok(None);
        };
        if found.request != claim.request {
            return Err(OnceError::OtherRequest);
        }
        // It may have been done by another node, and its answer promises that this one knows.
        claim.app.catch_up().await;
        Ok(Some(claim.opened(&found.sealed)?))
    }

    /// As `Store::write`. Under a key, what `answer` says of the result is kept with it; nothing where it changed nothing.
    pub(crate) async fn write<S, T, F, A>(
        &self,
        (app, now): (&App, Timestamp),
        input: S,
        closure: F,
        answer: A,
    ) -> Result<T, Error>
    where
        S: Send + Sync + 'static,
        T: Send + Sync + 'static,
        F: for<'t> Fn(&'t S, &'t mut Tx) -> BoxFuture<'t, Result<Recorded<T>, Error>>,
        F: Send + Sync + 'static,
        A: Fn(&T) -> Option<Kept> + Send + Sync + 'static,
    {
        let Some(claim) = &self.0 else {
            return app.store.write(now, input, closure).await;
        };
        let all = (Arc::clone(claim), input, closure, answer);
        let written = app.store.write(now, all, |(claim, input, closure, answer), tx| {
            Box::pin(async move {
                tx.take_key(&claim.key, &claim.request).await?;
                let recorded = closure(input, tx).await?;
                let sealed = answer(recorded.value()).map(|kept| claim.sealed(&kept)).transpose()?;
                tx.keep_answer(&claim.key, sealed.as_deref()).await?;
                Ok(recorded)
            })
        });
        written.await
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.has_key() { "Once(under a key)" } else { "Once(without a key)" })
    }
}

impl Kept {
    /// With this as JSON.
    pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Result<Self, Fault> {
        let body = serde_json::to_vec(body).map_err(|_| Fault::Shape("an answer"))?;
        Ok(Self { status, body: Zeroizing::new(body) })
    }

    /// Done, and nothing to say.
    pub(crate) fn nothing() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: Zeroizing::default() }
    }
}

impl IntoResponse for Kept {
    fn into_response(self) -> Response {
        let Self { status, body } = self;
        let mut response = (status, body.to_vec()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if body.is_empty() {
            headers.remove(header::CONTENT_TYPE);
        } else {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        response
    }
}
