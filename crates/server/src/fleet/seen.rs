//! The tools that were seen so far, for the checks of a fleet file.

use crate::app::App;
use portcullis_domain::fleet::SeenTools;
use portcullis_domain::pins::KnownTool;
use portcullis_store::Error;

/// Pinned or waiting; of a tool that is both, either definition may be what a condition asks about.
pub(crate) async fn seen_tools(app: &App) -> Result<SeenTools, Error> {
    let mut handle = app.store.read().await?;
    let mut reader = handle.reader();
    let mut seen = SeenTools::new();
    for server in reader.registry().await?.servers {
        let pinned = reader.pinned_tools(server.id).await?;
        let waiting = reader.sighted_tools(server.id).await?;
        let pinned = pinned.iter().map(|tool| KnownTool::of(&tool.name, &tool.definition));
        let waiting = waiting.iter().map(|tool| KnownTool::of(&tool.name, &tool.definition));
        seen.insert((server.name, server.canonical_uri), pinned.chain(waiting).collect());
    }
    Ok(seen)
}
