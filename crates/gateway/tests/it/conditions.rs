//! What circumstances forbid (PC-24), and servers that are only observed (PC-36).

use crate::world::{Ask, META, World, request, tool};
use portcullis_domain::condition::{Forbid, When};
use portcullis_gateway::ClientAddress;
use std::time::Duration;

fn when(text: &str) -> When {
    let (key, value) = text.split_once('=').unwrap();
    serde_json::from_str(&format!("{{\"{key}\":{value}}}")).unwrap()
}

fn forbid(name: &str, condition: &str) -> Forbid {
    Forbid { name: name.to_owned(), when: when(condition), ..Forbid::default() }
}

async fn world(forbids: Vec<Forbid>) -> World {
    World::with(|_| (), |snapshot| snapshot.forbids = forbids).await
}

fn call(token: &str, name: &str, arguments: &str) -> Ask {
    let params = format!(r#"{{"name":"{name}",{arguments}{META}}}"#);
    request(token, "tools/call", &params).header("mcp-name", name)
}

fn from(address: &str, ask: Ask) -> Ask {
    ask.from(ClientAddress(address.parse().unwrap()))
}

#[tokio::test]
async fn pc_24_a_time_window_refuses_by_name_and_without_a_challenge() {
    // The world begins at 08:00 in UTC.
    let night = Forbid {
        scopes: "notes:write".parse().unwrap(),
        ..forbid("no writes at night", r#"outside="07:00-19:00 UTC""#)
    };
    let world = world(vec![night]).await;
    let token = |world: &World| world.user_token("notes:read notes:write");
    world.served(tool(&token(&world), "create_note")).await;
    world.clock.fetch_add(12 * 3600, std::sync::atomic::Ordering::SeqCst);
    world.feed_snapshot(&world.snapshot);
    let refused = world.refused(tool(&token(&world), "create_note"), 403).await;
    assert_eq!(refused.challenge(), "", "no scope would help");
    assert_eq!(refused.json()["error"]["message"], "forbidden by \"no writes at night\"");
    let last = world.records().into_iter().rfind(|record| record["kind"] == "call.decided").unwrap();
    assert_eq!((&last["outcome"], &last["reason"]), (&"refused".into(), &"forbidden".into()));
    assert_eq!(last["condition"], "no writes at night");
    world.served(tool(&token(&world), "list_notes")).await;
    let assertion = world.upstream.last().headers["authorization"].to_str().unwrap().to_owned();
    let claims = assertion.split('.').nth(1).unwrap().to_owned();
    let claims = base64_text(&claims);
    assert!(
        claims.contains("notes:read") && !claims.contains("notes:write"),
        "the upstream is told what may be used"
    );
}

fn base64_text(text: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bits = 0_u32;
    let mut count = 0;
    let mut bytes = Vec::new();
    for letter in text.bytes() {
        let value = LETTERS.iter().position(|known| *known == letter).unwrap();
        bits = bits << 6 | u32::try_from(value).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).unwrap());
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn pc_24_an_address_counts_only_as_the_listener_tells_it() {
    let world = world(vec![forbid("office only", r#"address_not_in=["10.0.0.0/8"]"#)]).await;
    let ask = || tool(&world.token(), "list_notes");
    world.served(from("10.1.2.3", ask())).await;
    world.served(from("::ffff:10.1.2.3", ask())).await;
    for elsewhere in ["192.0.2.1", "::1", "::ffff:192.0.2.1"] {
        let refused = world.refused(from(elsewhere, ask()), 403).await;
        assert_eq!(refused.json()["error"]["message"], "forbidden by \"office only\"", "{elsewhere}");
    }
    world.refused(ask(), 403).await;
    let claimed = ask().header("x-forwarded-for", "10.1.2.3").header("forwarded", "for=10.1.2.3");
    world.refused(from("192.0.2.1", claimed), 403).await;
}

#[tokio::test]
async fn pc_24_an_argument_is_judged_as_it_stands_in_the_message() {
    let fenced = Forbid {
        tools: vec!["create_note".into()],
        ..forbid("only notes", r#"argument_outside={"path":"/srv/notes/**"}"#)
    };
    let world = world(vec![fenced]).await;
    let token = world.user_token("notes:write");
    let with = |arguments: &str| call(&token, "create_note", arguments);
    world.served(with(r#""arguments":{"path":"/srv/notes/a.txt"},"#)).await;
    world.served(with(r#""arguments":{"x":{"path":"/etc"},"p\u0061th":"/srv/notes\u002fa"},"#)).await;
    for arguments in [
        "",
        r#""arguments":{},"#,
        r#""arguments":{"Path":"/srv/notes/a"},"#,
        r#""arguments":{"path":"/srv/notes/a","Path":"/etc/passwd"},"#,
        r#""arguments":{"PATH":"/etc/passwd","path":"/srv/notes/a"},"#,
        r#""arguments":{"path":"/srv/notes/a","__proto__":{"path":"/etc/passwd"}},"#,
        r#""arguments":{"path":7},"#,
        r#""arguments":{"path":["/srv/notes/a"]},"#,
        r#""arguments":{"path":"/etc/passwd"},"#,
        r#""arguments":{"path":"/srv/notes/../../etc/passwd"},"#,
        r#""arguments":{"path":"/srv/notes/\u002e\u002e/x"},"#,
        r#""arguments":{"path":"/srv/notes/%2e%2e/x"},"#,
        r#""arguments":{"path":"/srv/notes\\..\\x"},"#,
        r#""arguments":[],"#,
        r#""path":"/srv/notes/a","#,
    ] {
        let refused = world.refused(with(arguments), 403).await;
        assert_eq!(refused.json()["error"]["message"], "forbidden by \"only notes\"", "{arguments}");
    }
    world.served(tool(&token, "list_notes")).await;
    let records = world.records();
    let all: String = records.iter().map(ToString::to_string).collect();
    assert!(!all.contains("/etc/passwd"), "arguments are in no record");
}

#[tokio::test]
async fn pc_22_lists_hide_what_is_forbidden_now_and_show_what_arguments_decide() {
    let tools = |tool: &str, forbid: Forbid| Forbid { tools: vec![tool.to_owned()], ..forbid };
    let world = world(vec![
        tools("create_note", forbid("always", r#"address_in=["192.0.2.0/24"]"#)),
        tools("list_notes", forbid("by path", r#"argument_in={"path":"/etc/**"}"#)),
    ])
    .await;
    world.upstream.answers(|seen| {
        let id = crate::world::request_id(seen).unwrap();
        let tools = r#"[{"name":"list_notes"},{"name":"create_note"}]"#;
        crate::world::json(200, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":{tools}}}}}"#))
    });
    let list =
        |world: &World| request(&world.user_token("notes:write"), "tools/list", &format!("{{{META}}}"));
    let elsewhere = world.served(from("192.0.2.1", list(&world))).await.text();
    assert!(elsewhere.contains("list_notes") && !elsewhere.contains("create_note"), "{elsewhere}");
    let here = world.served(from("10.0.0.1", list(&world))).await.text();
    assert!(here.contains("list_notes") && here.contains("create_note"), "{here}");
}

#[tokio::test]
async fn pc_36_an_observed_server_lets_through_what_only_scopes_stand_against() {
    let night = Forbid { tools: vec!["wipe".into()], ..forbid("never wipe", r#"outside="00:00-00:01 UTC""#) };
    let world = World::with(
        |_| (),
        |snapshot| {
            snapshot.servers[0].observe = true;
            snapshot.forbids = vec![night];
        },
    )
    .await;
    let token = world.token();
    world.served(tool(&token, "list_notes")).await;
    assert!(world.records().iter().all(|record| record.get("observed").is_none()));
    world.served(tool(&token, "create_note")).await;
    let claims = world.upstream.last().headers["authorization"]
        .to_str()
        .unwrap()
        .split('.')
        .nth(1)
        .unwrap()
        .to_owned();
    assert!(!base64_text(&claims).contains("notes:write"), "the upstream is told no more than before");
    let decided = world.records().into_iter().rfind(|record| record["kind"] == "call.decided").unwrap();
    assert_eq!((&decided["outcome"], &decided["observed"]), (&"allowed".into(), &"beyond_agent".into()));
    world.served(tool(&token, "no_rule_at_all")).await;
    let refused = world.refused(tool(&token, "wipe"), 403).await;
    assert_eq!(refused.json()["error"]["message"], "forbidden by \"never wipe\"");
    let nothing = world.sign(|claims| claims.scope = "ops:read".parse().unwrap());
    world.refused(tool(&nothing, "list_notes"), 403).await;
    let foreign = world.sign(|claims| claims.aud = "https://as.test/mcp/ops".into());
    world.refused(tool(&foreign, "list_notes"), 401).await;
    world.refused(request(&token, "tools/unheard_of", &format!("{{{META}}}")), 404).await;
}

#[tokio::test]
async fn pc_24_a_forbid_without_selection_closes_the_server() {
    let night = forbid("day only", r#"outside="07:00-08:30 UTC""#);
    let world = world(vec![night]).await;
    world.served(tool(&world.token(), "list_notes")).await;
    world.advance(Duration::from_hours(1));
    world.feed_snapshot(&world.snapshot);
    let refused = world.refused(tool(&world.token(), "list_notes"), 403).await;
    assert_eq!(refused.json()["error"]["message"], "forbidden by \"day only\"");
}

#[tokio::test]
async fn rpc_22_a_number_satisfies_no_condition_however_it_is_written() {
    let world = world(vec![Forbid {
        tools: vec!["create_note".into()],
        ..forbid("only notes", r#"argument_outside={"path":"/srv/notes/**"}"#)
    }])
    .await;
    let token = world.user_token("notes:write");
    let with = |path: &str| call(&token, "create_note", &format!(r#""arguments":{{"path":{path}}},"#));
    world.served(with(r#""/srv/notes/1""#)).await;
    for number in
        ["1", "1.0", "-0", "1e2", "9007199254740993", "18446744073709551616", "1e308", "true", "null"]
    {
        let refused = world.refused(with(number), 403).await;
        assert_eq!(refused.json()["error"]["message"], "forbidden by \"only notes\"", "{number}");
    }
    assert_eq!(world.refused(with("1e999"), 400).await.code(), -32700, "no reader has such a number");
}
