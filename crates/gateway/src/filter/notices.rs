//! What a server tells of its own accord, on streams that stay open while policy changes (STRM-03): a notification about a
//! resource or a task is passed on only while its reader may have what it is about. Others are about nothing in particular.

use crate::known::tasks::Tasks;
use portcullis_domain::condition::Circumstances;
use portcullis_domain::policy::{Decision, Operation, ServerPolicy};
use portcullis_domain::principal::Principal;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Who hears a notification, and by which policy.
pub(crate) struct Hearer<'a> {
    pub(crate) policy: &'a ServerPolicy,
    pub(crate) principal: &'a Principal,
    pub(crate) tasks: &'a Tasks,
}

#[derive(Deserialize)]
struct Notice<'a> {
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Params<'a> {
    #[serde(borrow, default)]
    uri: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "taskId")]
    task: Option<Cow<'a, str>>,
}

/// Whether the message is for whoever hears it.
pub(crate) fn may_hear(message: &[u8], hearer: &Hearer<'_>, circumstances: &Circumstances<'_>) -> bool {
    let may = |operation: Operation<'_>| {
        let decision = hearer.policy.decide(hearer.principal, operation, circumstances);
        matches!(decision, Decision::Permit(_))
    };
    let Ok(Notice { method, params }) = serde_json::from_slice::<Notice<'_>>(message) else {
        return false;
    };
    // What cannot be read is about nothing that anybody may have.
    let about = || -> Params<'_> {
        params.and_then(|params| serde_json::from_str(params.get()).ok()).unwrap_or_default()
    };
    match method.as_deref() {
        Some("notifications/resources/updated") => {
            about().uri.is_some_and(|uri| may(Operation::Resource(&uri)))
        }
        Some("notifications/tasks/status" | "notifications/tasks") => about()
            .task
            .and_then(|task| hearer.tasks.of(hearer.policy.server().id, &task, hearer.principal))
            .is_some_and(|made_by| may(Operation::Tool(&made_by.tool))),
        Some(_) | None => true,
    }
}
