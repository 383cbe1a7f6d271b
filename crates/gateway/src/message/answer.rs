//! What an upstream answered, over HTTP or stdio alike, and what of it may be passed on.

use crate::message::events::BrokenOff;
use crate::message::rpc::code;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The upstream's answer to one message.
pub(crate) enum Answer {
    /// 202: nothing is answered to a notification or a response.
    Accepted,
    /// Whole server-sent events.
    Events { events: BoxStream<'static, Result<Bytes, BrokenOff>>, session: Option<String> },
    /// One body; nothing is known about it yet.
    Json { body: Bytes, session: Option<String> },
    /// The upstream refused the message, by a 4xx that may be the caller's doing; with its JSON-RPC error if it has one.
    Refused { status: StatusCode, body: Option<Bytes> },
}

/// Why there is no answer that could be passed on. Nothing of the upstream's insides is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UpstreamFailure {
    #[error("the upstream broke off before it answered")]
    BrokeOff,
    #[error("the caller's account at the third party cannot be used at the moment: try again")]
    Connection,
    #[error("the upstream did not take our credential")]
    Credential,
    #[error("the upstream's answer cannot be understood")]
    Garbled,
    #[error("the upstream did not answer in time")]
    Late,
    #[error("the upstream's address cannot be dialled")]
    NoAddress,
    #[error("this machine has no program of that name")]
    NoProgram,
    #[error("no token for the upstream can be got now")]
    NoToken,
    #[error("there is no room for the answer now; the call may have been carried out")]
    NoRoom,
    #[error("the upstream failed")]
    Status,
    #[error("the upstream redirects")]
    Redirect,
    #[error("the upstream cannot be reached: try again in {seconds} s")]
    Resting { seconds: u64 },
    #[error("the secret for the upstream cannot be read")]
    Secret,
    #[error("the upstream's session cannot be used")]
    Session,
    #[error("the assertion could not be signed")]
    Signing,
    #[error(
        "the upstream's answer is larger than is read whole: it must be sent as a stream of events, or in parts"
    )]
    TooLarge,
    #[error("the upstream's list has more than 10,000 items in one part: it must be sent in pages")]
    TooManyItems,
    #[error("too many programs run")]
    TooManyPrograms,
    #[error("the upstream is not there")]
    Unreachable,
}

#[derive(Deserialize)]
struct Response<'a> {
    jsonrpc: &'a str,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<RpcError<'a>>,
}

#[derive(Deserialize)]
struct RpcError<'a> {
    code: i64,
    #[serde(borrow)]
    #[expect(dead_code, reason = "its presence is checked")]
    message: &'a RawValue,
}

/// Whether `body` is the one JSON-RPC response to the request `id` (UPS-03: a wrong id is somebody else's answer).
pub(crate) fn is_response_to(body: &[u8], id: &RawValue) -> bool {
    let Ok(response) = serde_json::from_slice::<Response<'_>>(body) else {
        return false;
    };
    let same_id = match response.id {
        Some(answered) if answered.get() != "null" => same_value(answered, id),
        // JSON-RPC 2.0 s5: null where the id could not be read.
        _ => response.error.is_some(),
    };
    response.jsonrpc == "2.0"
        && response.method.is_none()
        && (response.result.is_some() != response.error.is_some())
        && same_id
}

/// Whether `body` is a JSON-RPC error, of the request `id` if it says so.
pub(crate) fn is_error_for(body: &[u8], id: Option<&RawValue>) -> bool {
    let Ok(response) = serde_json::from_slice::<Response<'_>>(body) else {
        return false;
    };
    let same_id = match (response.id, id) {
        (Some(answered), Some(id)) if answered.get() != "null" => same_value(answered, id),
        (Some(answered), None) if answered.get() != "null" => false,
        _ => true,
    };
    response.jsonrpc == "2.0" && response.error.is_some() && response.result.is_none() && same_id
}

/// The status that an error has over HTTP in 2026-07-28 (Streamable HTTP, "Protocol Version Header"; schema, "Errors"). A
/// program says no status, and clients find out by it which revision a server speaks.
pub(crate) fn status_of_error(body: &[u8], id: Option<&RawValue>) -> Option<StatusCode> {
    if !is_error_for(body, id) {
        return None;
    }
    match serde_json::from_slice::<Response<'_>>(body).ok()?.error?.code {
        code::METHOD_NOT_FOUND => Some(StatusCode::NOT_FOUND),
        code::HEADER_MISMATCH | code::MISSING_CAPABILITY | code::UNSUPPORTED_VERSION => {
            Some(StatusCode::BAD_REQUEST)
        }
        _ => None,
    }
}

/// Whether two ids are the same, however they are written.
pub(crate) fn same_value(one: &RawValue, other: &RawValue) -> bool {
    let value = |raw: &RawValue| serde_json::from_str::<serde_json::Value>(raw.get()).ok();
    one.get() == other.get() || value(one).is_some_and(|one| Some(one) == value(other))
}
