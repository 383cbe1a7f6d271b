//! HTTP/1.1 by hand, one request per connection: no library of ours or of others decides what is sent.

use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// `None` when there is nobody.
pub(crate) fn get(url: &str) -> Option<Answer> {
    send("GET", url, &[], "")
}

pub(crate) fn post(url: &str, content_type: &str, body: &str) -> Answer {
    send("POST", url, &[("Content-Type", content_type)], body).unwrap()
}

pub(crate) fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Option<Answer> {
    let (host, _) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    send_to(host, method, url, headers, body)
}

/// The same, whoever listens at `address`.
pub(crate) fn send_to(
    address: &str,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<Answer> {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut request = format!(
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    stream.write_all(format!("{request}\r\n{body}").as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some(Answer { status: head.get(9..12)?.parse().ok()?, head: head.to_owned(), body: body.to_owned() })
}

/// A form body.
pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(pairs).finish()
}
