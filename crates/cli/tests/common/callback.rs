//! The listening end of a native client: where the browser is sent with the answer.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

pub(crate) struct Callback {
    /// The redirect URI.
    pub(crate) uri: String,
    answers: Receiver<BTreeMap<String, String>>,
}

impl Callback {
    pub(crate) fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("http://{}/callback", listener.local_addr().unwrap());
        let (sender, answers) = channel();
        // Ends with the test program.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Some(answer) = take(stream)
                    && sender.send(answer).is_err()
                {
                    return;
                }
            }
        });
        Self { uri, answers }
    }

    /// The parameters of the next visit.
    pub(crate) fn wait(&self) -> BTreeMap<String, String> {
        self.answers.recv_timeout(Duration::from_mins(1)).expect("the browser came back")
    }

    pub(crate) fn nothing_came(&self) -> bool {
        self.answers.try_recv().is_err()
    }
}

fn take(mut stream: TcpStream) -> Option<BTreeMap<String, String>> {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    reader.read_line(&mut line).ok()?;
    let page =
        "<!doctype html><title>Back</title><link rel=icon href=data:,><p id=back>You may close this window.";
    let head = "Content-Type: text/html\r\nConnection: close\r\nContent-Length:";
    let (status, page) =
        if line.starts_with("GET /callback?") { ("200 OK", page) } else { ("404 Not Found", "") };
    write!(stream, "HTTP/1.1 {status}\r\n{head} {}\r\n\r\n{page}", page.len()).ok()?;
    let query = line.strip_prefix("GET /callback?")?.split(' ').next()?;
    Some(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
}
