//! `policy suggest` (PC-26): narrower ceilings and rules, from what was really called in a period. Nothing here ever gives
//! anybody more, and nothing that was called in the period would be refused by a narrower ceiling.

mod ceilings;
mod rules;
mod used;

use crate::app::App;
use crate::calls::{self, Sources};
use crate::fault::Fault;
use crate::simulate::Facts;
use portcullis_oauth::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;
use used::Used;

/// One thing that could be narrower.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Suggestion {
    /// Which kind of narrowing.
    pub(crate) kind: Kind,
    /// `agent ci-bot`, `server notes rule 2`
    pub(crate) about: String,
    /// Why.
    pub(crate) reason: String,
    /// What would stand in the fleet file; empty where there is nothing to write.
    pub(crate) toml: String,
}

/// Kinds of suggestions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A ceiling holds scopes that were never needed.
    UnusedScopes,
    /// A rule allows tools that were never called.
    UncalledTools,
    /// A pattern allows more than the tools that were called.
    WidePattern,
    /// A rule opens harmless and harmful tools alike.
    MixedRule,
    /// A harmful tool is not marked as one.
    UnmarkedRisk,
    /// What an observed server would refuse.
    Observed,
}

/// What could be narrower, and from how much it was learned.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Suggestions {
    /// Calls of the period that were looked at.
    pub(crate) calls: u64,
    /// Lines of the record that could not be read.
    pub(crate) unreadable: u64,
    /// Calls of somebody, or to something, that is not there any more.
    pub(crate) gone: u64,
    /// In the order of their kinds.
    #[serde(rename = "suggestions")]
    pub(crate) items: Vec<Suggestion>,
}

/// Learns from the calls since then.
pub(crate) async fn suggest(app: &Arc<App>, since: Timestamp) -> Result<Suggestions, Fault> {
    app.catch_up().await;
    let until = app.clock.now() + std::time::Duration::from_secs(1);
    let facts = Facts::read(app).await?;
    let current = app.current.load_full();
    let data = app.config.data.clone();
    let learned = tokio::task::spawn_blocking(move || {
        let mut used = Used::default();
        let lost = calls::each(&Sources::of(&data)?, (since, until), |call| used.learn(&call, &facts))?;
        Ok::<_, std::io::Error>((used, lost))
    });
    let learned = learned.await.map_err(|_| Fault::Shape("the record of calls"))?;
    let (used, unreadable) = learned.map_err(|error| {
        tracing::error!(error = %error, "the record of calls cannot be read");
        Fault::Shape("the record of calls")
    })?;
    // Nothing was called: nothing was learned.
    let mut items = Vec::new();
    if used.calls > 0 {
        items.extend(ceilings::narrower(&current.snapshot, &used));
        items.extend(rules::narrower(&current.snapshot, &used));
    }
    items.sort_by(|a, b| (a.kind, &a.about).cmp(&(b.kind, &b.about)));
    Ok(Suggestions { calls: used.calls, unreadable, gone: used.gone, items })
}
