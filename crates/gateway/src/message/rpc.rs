//! Errors of JSON-RPC, as we write them.

use serde_json::value::RawValue;
use serde_json::{Value, json};

/// JSON-RPC error codes. Our own stand outside the range that JSON-RPC reserves (2026-07-28, "Error Codes").
pub(crate) mod code {
    pub(crate) const PARSE: i64 = -32700;
    pub(crate) const INVALID_REQUEST: i64 = -32600;
    pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
    pub(crate) const INVALID_PARAMS: i64 = -32602;
    pub(crate) const HEADER_MISMATCH: i64 = -32020;
    pub(crate) const MISSING_CAPABILITY: i64 = -32021;
    pub(crate) const UNSUPPORTED_VERSION: i64 = -32022;
    pub(crate) const UNAUTHENTICATED: i64 = -31401;
    pub(crate) const REFUSED: i64 = -31403;
    pub(crate) const NO_SESSION: i64 = -31404;
    /// 2025-11-25, "URL Elicitation Required Error".
    pub(crate) const ELICITATION: i64 = -32042;
    pub(crate) const NOT_CONNECTED: i64 = -31424;
    pub(crate) const TOO_MANY: i64 = -31429;
    pub(crate) const UPSTREAM_FAILED: i64 = -31502;
    pub(crate) const UNAVAILABLE: i64 = -31503;
    pub(crate) const UPSTREAM_LATE: i64 = -31504;
}

/// A JSON-RPC error message; without `id` where it could not be read.
pub(crate) fn rpc_error(code: i64, sentence: &str, id: Option<&RawValue>, data: Option<Value>) -> Vec<u8> {
    let mut error = json!({ "code": code, "message": sentence });
    if let (Some(data), Some(members)) = (data, error.as_object_mut()) {
        members.insert("data".to_owned(), data);
    }
    let mut message = json!({ "jsonrpc": "2.0", "error": error });
    let id = id.and_then(|id| serde_json::from_str::<Value>(id.get()).ok());
    if let (Some(id), Some(members)) = (id, message.as_object_mut()) {
        members.insert("id".to_owned(), id);
    }
    message.to_string().into_bytes()
}
