//! What a server tells of its own accord, on streams that stay open while policy changes (STRM-03): a notification about a
//! resource or a task is passed on only while its reader may have what it is about. Others are about nothing in particular.

use crate::list::Reader;
use portcullis_domain::condition::Circumstances;
use portcullis_domain::policy::{Decision, Operation};
use serde::Deserialize;
use std::borrow::Cow;

#[derive(Deserialize)]
struct Notice<'a> {
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow, default)]
    uri: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "taskId")]
    task: Option<Cow<'a, str>>,
}

/// Whether the message is for its reader to hear.
pub(crate) fn may_hear(message: &[u8], reader: &Reader<'_>, circumstances: &Circumstances<'_>) -> bool {
    let may = |operation: Operation<'_>| {
        let decision = reader.policy.decide(reader.principal, operation, circumstances);
        matches!(decision, Decision::Permit(_))
    };
    let Ok(Notice { method, params }) = serde_json::from_slice::<Notice<'_>>(message) else {
        return false;
    };
    let params = params.unwrap_or(Params { uri: None, task: None });
    match method.as_deref() {
        Some("notifications/resources/updated") => {
            params.uri.is_some_and(|uri| may(Operation::Resource(&uri)))
        }
        Some("notifications/tasks/status" | "notifications/tasks") => params
            .task
            .and_then(|task| reader.tasks.of(reader.policy.server().id, &task, reader.principal))
            .is_some_and(|made_by| may(Operation::Tool(&made_by.tool))),
        Some(_) | None => true,
    }
}
