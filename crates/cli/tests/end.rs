//! Ctrl-C: within 5 s open streams are told, children are gone.

mod common;

#[cfg(test)]
mod tests {
    use crate::common::http::send;
    use crate::common::person::{Person, header, register};
    use crate::common::{Demo, until};
    use std::fs;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::process::Command;
    use std::time::Duration;

    /// As Ctrl-C; it must be gone within the 5 s that are promised, which are 100 polls of 50 ms.
    fn interrupt(demo: &mut Demo) {
        let asked = Command::new("kill").args(["-s", "INT", &demo.serving.child.id().to_string()]).status();
        assert!(asked.unwrap().success());
        let mut polls = 0;
        let status = until("the server has ended", || {
            polls += 1;
            demo.serving.child.try_wait().unwrap()
        });
        assert!(status.success());
        assert!(polls <= 100, "{polls} polls");
    }

    fn host(demo: &Demo) -> String {
        demo.issuer().strip_prefix("http://").unwrap().to_owned()
    }

    #[test]
    fn it_ends_although_somebody_does_not_let_go() {
        let mut demo = Demo::start();
        let host = host(&demo);
        // One that is idle, one in the middle of a head, one in the middle of a body.
        let held: Vec<TcpStream> = [
            String::new(),
            format!("GET / HTTP/1.1\r\nHost: {host}\r\n"),
            format!("POST /oauth/token HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ngrant"),
        ]
        .iter()
        .map(|sent| {
            let mut stream = TcpStream::connect(&host).unwrap();
            stream.write_all(sent.as_bytes()).unwrap();
            stream
        })
        .collect();
        interrupt(&mut demo);
        drop(held);
    }

    #[test]
    fn open_streams_are_told_and_programs_are_gone() {
        let mut demo = Demo::start();
        let client = register(demo.issuer());
        let account = |name: &str| demo.facts["user"][name].as_str().unwrap().to_owned();
        let mut person = Person::new(&account("username"), &account("password"));
        let ops = demo.server("ops").to_owned();
        let token = person.tokens(&client, &ops, "ops:read")["access_token"].as_str().unwrap().to_owned();
        let bearer = format!("Bearer {token}");
        let common = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
        ];
        let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
        let begun = send("POST", &ops, &common, initialize).unwrap();
        assert_eq!(begun.status, 200);
        let session = header(&begun, "mcp-session-id").unwrap();
        let programs = children(demo.serving.child.id());
        assert!(!programs.is_empty(), "ops is a program");

        let host = host(&demo);
        let mut stream = TcpStream::connect(&host).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let listen = format!(
            "GET /mcp/ops HTTP/1.1\r\nHost: {host}\r\nAuthorization: {bearer}\r\nAccept: text/event-stream\r\nMcp-Session-Id: {session}\r\nMCP-Protocol-Version: 2025-11-25\r\n\r\n"
        );
        stream.write_all(listen.as_bytes()).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        interrupt(&mut demo);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest.ends_with(b"0\r\n\r\n"), "the stream came to its proper end");
        for program in programs {
            assert!(!fs::exists(format!("/proc/{program}")).unwrap(), "{program} is still there");
        }
    }

    /// The processes that a process started.
    fn children(parent: u32) -> Vec<u32> {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let found = entries.filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name of the program is in parentheses and may hold anything.
            let (_, fields) = stat.rsplit_once(')')?;
            let started_by: u32 = fields.split_whitespace().nth(1)?.parse().ok()?;
            (started_by == parent).then_some(pid)
        });
        found.collect()
    }
}
