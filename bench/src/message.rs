//! HTTP/1.1 messages, read with as little work as possible: the load and the stub must not be what is measured.

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;

/// Both directions of one kept-alive connection.
pub(crate) struct Connection<S = TcpStream> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
    taken: usize,
}

/// One message, as it lies in the buffer.
pub(crate) struct Message<'b> {
    pub(crate) head: &'b [u8],
    /// With its chunk lines, if it has such.
    pub(crate) body: &'b [u8],
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }
}

impl<S: AsyncRead + Unpin> Connection<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, buffer: Vec::with_capacity(64 * 1024), taken: 0 }
    }

    /// The next message; `None` when the other side is done.
    pub(crate) async fn read(&mut self) -> Result<Option<Message<'_>>> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        loop {
            if let Some(head) = end_of_head(&self.buffer)
                && let Some(end) = end_of_body(&self.buffer, head)?
            {
                self.taken = end;
                return Ok(Some(Message { head: &self.buffer[..head], body: &self.buffer[head..end] }));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                bail!("the connection ended within a message");
            }
        }
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

fn end_of_body(bytes: &[u8], head: usize) -> Result<Option<usize>> {
    let end = match length(&bytes[..head])? {
        Some(length) => head + length,
        // Nobody here sends two messages without waiting for an answer.
        None if bytes.ends_with(b"\r\n0\r\n\r\n") => bytes.len(),
        None => return Ok(None),
    };
    Ok((bytes.len() >= end).then_some(end))
}

/// `None` for a chunked body.
fn length(head: &[u8]) -> Result<Option<usize>> {
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        if name.eq_ignore_ascii_case(b"content-length") {
            let value = std::str::from_utf8(&value[1..])?.trim();
            return Ok(Some(value.parse().context("not a length")?));
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Ok(None);
        }
    }
    Ok(Some(0))
}
