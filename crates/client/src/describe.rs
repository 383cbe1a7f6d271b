//! What a server says of itself: its title, and the names of its tools, prompts and resources. Read as a stranger's words:
//! bounded in size, number and time, never acted upon.

use crate::call::{Connection, either_era, not_called, not_connected, who_we_are};
use crate::error::Error;
use crate::http::{Address, Http};
use reqwest::header::{HeaderName, HeaderValue};
use rmcp::ServiceError;
use rmcp::model::{PaginatedRequestParams, Tool};
use rmcp::service::ClientServiceExt as _;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig as Config;
use std::collections::HashMap;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

/// For everything together.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of one list. A server with more is not for people to review.
const MOST_PAGES: usize = 100;
const MOST_ITEMS: usize = 2000;

/// The most that a program may write.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// What a server says of itself. All text is as the server sent it, cut where it is far too long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Its title, or its name.
    pub title: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The revision of MCP.
    pub protocol: String,
    /// In the server's order.
    pub tools: Vec<DescribedTool>,
    /// Names.
    pub prompts: Vec<String>,
    /// URIs.
    pub resources: Vec<String>,
    /// URI templates.
    pub templates: Vec<String>,
    /// Lists that are not complete, and why.
    pub incomplete: Vec<String>,
}

/// A tool, and what its server hints at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribedTool {
    /// Its name.
    pub name: String,
    /// `readOnlyHint`
    pub read_only: Option<bool>,
    /// `destructiveHint`
    pub destructive: Option<bool>,
    /// `idempotentHint`
    pub idempotent: Option<bool>,
    /// `openWorldHint`
    pub open_world: Option<bool>,
}

/// A header for the server, such as the token that it wants. Its value is never shown.
#[derive(Clone)]
pub struct Header(HeaderName, HeaderValue);

impl Header {
    /// `None` if it is no header.
    pub fn new(name: &str, value: &str) -> Option<Self> {
        let mut value = HeaderValue::from_str(value).ok()?;
        value.set_sensitive(true);
        Some(Self(name.parse().ok()?, value))
    }
}

/// Asks the server at an address. Headers are sent by https or on loopback only; redirects are not followed.
///
/// # Errors
/// [`Error::Unauthenticated`] when it wants a token, and the errors of the network.
pub async fn describe(url: &str, headers: &[Header]) -> Result<Description, Error> {
    let address = if headers.is_empty() {
        Address::open(url)
    } else {
        Address::parse(url, crate::http::Reach::Loopback)
    };
    let unusable = |problem| crate::discover::unusable(url.split('?').next().unwrap_or_default(), problem);
    let address = address.ok_or_else(|| {
        unusable("must be an http or https URL without user info; with a header: https, or loopback")
    })?;
    let headers: HashMap<HeaderName, HeaderValue> =
        headers.iter().map(|Header(name, value)| (name.clone(), value.clone())).collect();
    let config = Config::with_uri(address.as_str()).custom_headers(headers).reinit_on_expired_session(false);
    let asking = async {
        let transport = StreamableHttpClientTransport::with_client(Http::for_calls(&address)?, config);
        let connection = who_we_are()
            .serve_with_lifecycle(transport, either_era())
            .await
            .map_err(|error| not_connected(&address, error))?;
        let description = ask(&connection).await.map_err(|error| not_called(&address, error));
        let _ = connection.cancel().await;
        description
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or(Err(Error::TimedOut(PATIENCE)))
}

/// Asks a program that speaks over its input and output.
///
/// # Errors
/// [`Error::Unusable`] when it does not speak MCP, [`Error::TimedOut`] when it says nothing.
pub async fn describe_program(
    output: impl AsyncRead + Send + Unpin + 'static,
    input: impl AsyncWrite + Send + Unpin + 'static,
) -> Result<Description, Error> {
    let broken = |problem| crate::discover::unusable("the program", problem);
    let asking = async {
        let connection = who_we_are()
            .serve_with_lifecycle((output.take(MOST_BYTES), input), either_era())
            .await
            .map_err(|_| broken("does not speak MCP over stdio"))?;
        let description = ask(&connection).await.map_err(|_| broken("its answer cannot be used"));
        let _ = connection.cancel().await;
        description
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or(Err(Error::TimedOut(PATIENCE)))
}

async fn ask(connection: &Connection) -> Result<Description, ServiceError> {
    let mut said = Description::default();
    let info = connection.peer().peer_info();
    let can = info.as_ref().map(|info| info.capabilities.clone()).unwrap_or_default();
    if let Some(info) = &info {
        info.protocol_version.as_str().clone_into(&mut said.protocol);
        if let Some(who) = &info.server_info {
            said.title = Some(cut(who.title.as_deref().unwrap_or(&who.name)));
            said.version = Some(cut(&who.version));
        }
    }
    let peer = connection.peer();
    if can.tools.is_some() {
        let mut list = Pages::of("tools");
        while let Some(params) = list.next_page() {
            let page = peer.list_tools(Some(params)).await?;
            list.take(page.tools.iter().map(DescribedTool::of), page.next_cursor);
        }
        said.tools = list.end(&mut said.incomplete);
    }
    if can.prompts.is_some() {
        let mut list = Pages::of("prompts");
        while let Some(params) = list.next_page() {
            let page = peer.list_prompts(Some(params)).await?;
            list.take(page.prompts.iter().map(|prompt| cut(&prompt.name)), page.next_cursor);
        }
        said.prompts = list.end(&mut said.incomplete);
    }
    if can.resources.is_some() {
        let mut list = Pages::of("resources");
        while let Some(params) = list.next_page() {
            let page = peer.list_resources(Some(params)).await?;
            list.take(page.resources.iter().map(|resource| cut(&resource.uri)), page.next_cursor);
        }
        said.resources = list.end(&mut said.incomplete);
        let mut list = Pages::of("resource templates");
        while let Some(params) = list.next_page() {
            // Many servers with resources know no templates.
            let Ok(page) = peer.list_resource_templates(Some(params)).await else { break };
            list.take(
                page.resource_templates.iter().map(|template| cut(&template.uri_template)),
                page.next_cursor,
            );
        }
        said.templates = list.end(&mut said.incomplete);
    }
    Ok(said)
}

impl DescribedTool {
    fn of(tool: &Tool) -> Self {
        let hints = tool.annotations.as_ref();
        Self {
            name: cut(&tool.name),
            read_only: hints.and_then(|hints| hints.read_only_hint),
            destructive: hints.and_then(|hints| hints.destructive_hint),
            idempotent: hints.and_then(|hints| hints.idempotent_hint),
            open_world: hints.and_then(|hints| hints.open_world_hint),
        }
    }
}

/// One list, page by page, with an end in any case.
struct Pages<T> {
    what: &'static str,
    items: Vec<T>,
    read: usize,
    cursor: Option<String>,
    is_over: bool,
    stopped: Option<&'static str>,
}

impl<T> Pages<T> {
    fn of(what: &'static str) -> Self {
        Self { what, items: Vec::new(), read: 0, cursor: None, is_over: false, stopped: None }
    }

    fn next_page(&mut self) -> Option<PaginatedRequestParams> {
        (!self.is_over).then(|| PaginatedRequestParams::default().with_cursor(self.cursor.clone()))
    }

    fn take(&mut self, items: impl Iterator<Item = T>, cursor: Option<String>) {
        let before = std::mem::replace(&mut self.cursor, cursor);
        let cursor = &self.cursor;
        self.read += 1;
        self.is_over = true;
        self.items.extend(items.take(MOST_ITEMS + 1 - self.items.len().min(MOST_ITEMS)));
        if self.items.len() > MOST_ITEMS {
            self.items.truncate(MOST_ITEMS);
            self.stopped = Some("it has too many");
        } else if cursor.is_some() && *cursor == before {
            self.stopped = Some("the same page comes again and again");
        } else if cursor.is_some() && self.read >= MOST_PAGES {
            self.stopped = Some("it has too many pages");
        } else {
            self.is_over = cursor.is_none();
        }
    }

    fn end(self, incomplete: &mut Vec<String>) -> Vec<T> {
        incomplete.extend(self.stopped.map(|why| format!("{}: {why}", self.what)));
        self.items
    }
}

/// Far more than a name or URI needs. What was cut is recognised by its length.
const LONGEST: usize = 1000;

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pc_36_a_list_without_an_end_ends() {
        let mut list = Pages::of("tools");
        let mut asked = 0;
        while list.next_page().is_some() {
            asked += 1;
            list.take(std::iter::once(asked), Some(format!("c{asked}")));
        }
        assert_eq!(asked, MOST_PAGES);
        let mut incomplete = Vec::new();
        assert_eq!(list.end(&mut incomplete).len(), MOST_PAGES);
        assert_eq!(incomplete, ["tools: it has too many pages"]);

        let mut list = Pages::of("tools");
        while list.next_page().is_some() {
            list.take(0..10_000, Some("x".to_owned()));
        }
        assert_eq!(list.end(&mut Vec::new()).len(), MOST_ITEMS);

        let mut list = Pages::of("tools");
        let mut asked = 0;
        while list.next_page().is_some() {
            asked += 1;
            list.take(std::iter::once(1), Some("same".to_owned()));
        }
        assert_eq!(asked, 2);
    }
}
