//! Upstreams that answer at once: what is measured is the way there and back.

use crate::message::Connection;
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Stands where the id goes; ids of the load have as many digits.
const ID: &str = "0000";

/// A ready answer, but for the id.
struct Answer {
    bytes: Vec<u8>,
    id_at: usize,
}

struct Answers {
    big: Answer,
    call: Answer,
    list: Answer,
    sse: Answer,
}

/// Serves until it is dropped.
pub(crate) async fn serve_all(listener: TcpListener) -> Result<()> {
    let answers = Arc::new(Answers::new()?);
    loop {
        let (stream, _) = listener.accept().await?;
        // A proxy that went away is no news.
        tokio::spawn(serve(stream, Arc::clone(&answers)));
    }
}

async fn serve(stream: TcpStream, answers: Arc<Answers>) -> Result<()> {
    let mut connection = Connection::new(stream)?;
    let mut written = Vec::new();
    while let Some(request) = connection.read().await? {
        let answer = answers.at(request.head);
        answer.with_id(request.body, &mut written)?;
        connection.stream.write_all(&written).await?;
    }
    Ok(())
}

/// One message a line.
pub(crate) async fn stdio() -> Result<()> {
    let mut lines = BufReader::with_capacity(64 * 1024, tokio::io::stdin());
    let mut out = tokio::io::stdout();
    let answer = Answer::new(format!("{}\n", called("done")))?;
    let (mut line, mut written, mut all) = (Vec::new(), Vec::new(), Vec::new());
    while lines.read_until(b'\n', &mut line).await? > 0 {
        answer.with_id(&line, &mut written)?;
        all.extend_from_slice(&written);
        line.clear();
        // Everything that waits is answered at once.
        if lines.buffer().is_empty() {
            out.write_all(&all).await?;
            out.flush().await?;
            all.clear();
        }
    }
    Ok(())
}

impl Answers {
    fn new() -> Result<Self> {
        let event = format!("event: message\ndata: {}\n\n", called(&"word ".repeat(40)));
        let chunk = format!("{:x}\r\n{event}\r\n0\r\n\r\n", event.len());
        Ok(Self {
            big: Answer::json(&called(&"The quick brown fox jumps over the lazy dog.\\n".repeat(440)))?,
            call: Answer::json(&called(&"word ".repeat(40)))?,
            list: Answer::json(&listed())?,
            sse: Answer::new(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"
            ))?,
        })
    }

    fn at(&self, head: &[u8]) -> &Answer {
        let path = head.strip_prefix(b"POST ").unwrap_or(head);
        match path.split(|byte| *byte == b' ').next() {
            Some(b"/big") => &self.big,
            Some(b"/list") => &self.list,
            Some(b"/sse") => &self.sse,
            _ => &self.call,
        }
    }
}

impl Answer {
    fn new(text: String) -> Result<Self> {
        let id_at = text.find(&format!("\"id\":{ID}")).context("no id")? + "\"id\":".len();
        Ok(Self { bytes: text.into_bytes(), id_at })
    }

    fn json(body: &str) -> Result<Self> {
        let length = body.len();
        Self::new(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    fn with_id(&self, request: &[u8], written: &mut Vec<u8>) -> Result<()> {
        let at = request.windows(5).position(|window| window == b"\"id\":").context("no id")? + 5;
        let id = request.get(at..at + ID.len()).context("no id")?;
        written.clear();
        written.extend_from_slice(&self.bytes);
        written[self.id_at..self.id_at + ID.len()].copy_from_slice(id);
        Ok(())
    }
}

fn called(text: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{ID},"result":{{"resultType":"complete","content":[{{"type":"text","text":"{text}"}}],"isError":false}}}}"#
    )
}

/// Two hundred tools, every second of which the caller of the bench may not see.
fn listed() -> String {
    let mut tools = String::new();
    for number in 0..200 {
        let kind = if number % 2 == 0 { "read" } else { "write" };
        let comma = if number == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(
            tools,
            r#"{comma}{{"name":"{kind}_{number}","title":"Tool {number}","description":"Does what tool {number} does, with a folder.","inputSchema":{{"type":"object","properties":{{"folder":{{"type":"string","description":"Which folder"}},"limit":{{"type":"integer","minimum":1}}}},"required":["folder"]}}}}"#
        );
    }
    format!(
        r#"{{"jsonrpc":"2.0","id":{ID},"result":{{"resultType":"complete","tools":[{tools}],"ttlMs":60000,"cacheScope":"public"}}}}"#
    )
}
