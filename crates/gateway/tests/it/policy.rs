//! What a token may do (PC-20 to PC-23).

use crate::world::{META, METADATA, World, request, rule, tool};
use portcullis_domain::registry::{Risk, Rule};

#[tokio::test]
async fn scope_10_too_little_scope_names_all_that_is_needed() {
    let world = World::new().await;
    let token = world.user_token("notes:read");
    world.served(tool(&token, "list_notes")).await;
    let answered = world.refused(tool(&token, "create_note"), 403).await;
    assert_eq!(
        answered.challenge(),
        format!(
            r#"Bearer error="insufficient_scope", error_description="needs notes:write", scope="notes:write", resource_metadata="{METADATA}""#
        )
    );
    let error = &answered.json()["error"];
    assert_eq!(
        (error["code"].as_i64(), error["message"].as_str()),
        (Some(-31403), Some("needs notes:write"))
    );
    assert_eq!(answered.json()["id"], 1);
}

#[tokio::test]
async fn pc_23_beyond_the_ceiling_says_that_asking_again_cannot_help() {
    let world = World::new().await;
    let answered = world.refused(tool(&world.token(), "create_note"), 403).await;
    assert!(answered.challenge().contains(r#"error="insufficient_scope""#));
    assert!(answered.challenge().contains(r#"scope="notes:write""#));
    let sentence = "needs notes:write, which is beyond this agent's ceiling: ask its owner";
    assert!(answered.challenge().contains(sentence));
    assert_eq!(answered.json()["error"]["message"], sentence);
    let answered = world.refused(tool(&world.user_token("notes:write"), "wipe"), 403).await;
    assert!(answered.challenge().contains("beyond what you may have here"));
}

#[tokio::test]
async fn pc_07_no_rule_is_no_call_and_reveals_nothing() {
    let world = World::new().await;
    let token = world.user_token("notes:write");
    world.served(tool(&token, "create_note")).await;
    let unknown = world.refused(tool(&token, "hidden_tool"), 403).await;
    let other = world.refused(tool(&token, "nonexistent"), 403).await;
    assert_eq!(unknown.body, other.body);
    assert_eq!((unknown.challenge(), unknown.code()), ("", -31403));
}

#[tokio::test]
async fn scope_11_scopes_are_compared_exactly() {
    let world = World::new().await;
    world.served(tool(&world.token(), "list_notes")).await;
    for text in ["NOTES:READ", "notes:rea", "notes:readx", "notes:*", "*", "ops:read", ""] {
        let token = world.sign(|claims| claims.scope = text.parse().unwrap());
        let answered = world.refused(tool(&token, "list_notes"), 403).await;
        assert!(answered.challenge().contains("insufficient_scope"), "{text}");
    }
}

#[tokio::test]
async fn scope_13_every_method_has_a_rule_or_is_refused() {
    let world = World::new().await;
    let token = world.token();
    let ask = |method: &str, params: &str, name: Option<&str>| {
        let ask = request(&token, method, &format!("{{{params}{META}}}"));
        match name {
            Some(name) => ask.header("mcp-name", name),
            None => ask,
        }
    };
    for (method, params, name) in [
        ("resources/read", r#""uri":"note://public/1","#, Some("note://public/1")),
        ("prompts/get", r#""name":"greet","#, Some("greet")),
        (
            "completion/complete",
            r#""ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"a","value":""},"#,
            None,
        ),
        ("completion/complete", r#""ref":{"type":"ref/resource","uri":"note://public/{id}"},"#, None),
        ("server/discover", "", None),
        ("subscriptions/listen", r#""notifications":{"toolsListChanged":true},"#, None),
        ("subscriptions/listen", r#""notifications":{"resourceSubscriptions":["note://public/1"]},"#, None),
    ] {
        world.served(ask(method, params, name)).await;
    }
    for (method, params, name, status) in [
        ("resources/read", r#""uri":"note://private/1","#, Some("note://private/1"), 403),
        ("resources/read", r#""uri":"file:///etc/passwd","#, Some("file:///etc/passwd"), 403),
        ("prompts/get", r#""name":"list_notes","#, Some("list_notes"), 403),
        ("completion/complete", r#""ref":{"type":"ref/prompt","name":"other"},"#, None, 403),
        (
            "completion/complete",
            r#""ref":{"type":"ref/prompt","name":"greet","uri":"note://private/1"},"#,
            None,
            400,
        ),
        ("completion/complete", r#""ref":{"type":"ref/tool","name":"greet"},"#, None, 400),
        ("completion/complete", "", None, 400),
        (
            "subscriptions/listen",
            r#""notifications":{"resourceSubscriptions":["note://public/1","note://private/1"]},"#,
            None,
            403,
        ),
        ("subscriptions/listen", r#""notifications":{"taskIds":["1"]},"#, None, 400),
        (
            "subscriptions/listen",
            r#""notifications":{"resource_subscriptions":["note://private/1"]},"#,
            None,
            400,
        ),
        (
            "subscriptions/listen",
            r#""notifications":{"resourceSubscriptions":"note://private/1"},"#,
            None,
            400,
        ),
        ("subscriptions/listen", "", None, 400),
        ("tasks/get", r#""taskId":"1","#, Some("1"), 400),
        ("tasks/list2", "", None, 404),
        ("sampling/createMessage", "", None, 404),
        ("vendor/anything", "", None, 404),
    ] {
        world.refused(ask(method, params, name), status).await;
    }
}

#[tokio::test]
async fn scope_13_a_uri_that_upstreams_read_otherwise_is_refused_wherever_it_stands() {
    let world = World::with(
        |_| (),
        |snapshot| snapshot.servers[0].rules.push(rule(&[], &[], &["note://*", "file:///*"], "notes:read")),
    )
    .await;
    let token = world.token();
    let ways = |uri: &str| {
        let read = request(&token, "resources/read", &format!(r#"{{"uri":"{uri}",{META}}}"#));
        let complete = format!(r#"{{"ref":{{"type":"ref/resource","uri":"{uri}"}},{META}}}"#);
        let listen = format!(r#"{{"notifications":{{"resourceSubscriptions":["{uri}"]}},{META}}}"#);
        [
            read.header("mcp-name", uri),
            request(&token, "completion/complete", &complete),
            request(&token, "subscriptions/listen", &listen),
        ]
    };
    for uri in [
        "note://public/1",
        "note://public/a%20b?c=d",
        "note://public/guide%2Fintro",
        "note://Mary%20Ann",
        "file:///srv/public/x",
        "note://public/{id}",
    ] {
        for ask in ways(uri) {
            world.served(ask).await;
        }
    }
    for uri in [
        "note://public/../private/1",
        "note://public/%2e%2e/private/1",
        "note://public/..%2Fprivate/1",
        "note://public/%252e%252e/private/1",
        "note://public//private/1",
        "note://public/%70rivate",
        "NOTE://private/1",
        "FILE:///etc/passwd",
        "file://localhost/etc/passwd",
        "file:/etc/passwd",
        "https://x.example:443/",
        "note://public/../{id}",
        "1",
    ] {
        for ask in ways(uri) {
            let answered = world.refused(ask, 403).await;
            assert!(
                answered.text().contains("can be read in more than one way"),
                "{uri}: {}",
                answered.text()
            );
            assert_eq!((answered.challenge(), answered.code()), ("", -31403), "no scope would help");
        }
    }
    let reasons = |record: &serde_json::Value| record["reason"].as_str().map(str::to_owned);
    let refused: Vec<_> = world.records().iter().filter_map(reasons).collect();
    assert_eq!(refused, vec!["unclear_uri"; 13 * 3]);
    // Another case, a name before the host or a port: another thing to some readers, the same to others.
    for uri in ["note://PRIVATE/1", "note://me@private/1", "note://private:1/1", "note://private/1?x"] {
        for ask in ways(uri) {
            let answered = world.refused(ask, 403).await;
            assert!(answered.text().contains("needs notes:read notes:write"), "{uri}: {}", answered.text());
        }
    }
}

#[tokio::test]
async fn scope_07_a_rule_that_became_stricter_refuses_the_very_next_call() {
    let world = World::new().await;
    let token = world.user_token("notes:read");
    let read = |uri: &str| {
        let params = format!(r#"{{"uri":"{uri}",{META}}}"#);
        request(&token, "resources/read", &params).header("mcp-name", uri)
    };
    world.served(tool(&token, "list_notes")).await;
    world.served(read("note://public/1")).await;
    // The rule asks for one scope more.
    let mut stricter = world.snapshot.clone();
    stricter.number += 1;
    stricter.servers[0].rules[0].scopes = crate::world::scopes("notes:read notes:write");
    world.feed_snapshot(&stricter);
    for ask in [tool(&token, "list_notes"), read("note://public/1")] {
        let answered = world.refused(ask, 403).await;
        assert!(
            answered.challenge().contains(r#"scope="notes:read notes:write""#),
            "{}",
            answered.challenge()
        );
    }
    world.served(tool(&world.user_token("notes:read notes:write"), "list_notes")).await;
    // Another rule is about the same.
    let mut overlapping = world.snapshot.clone();
    overlapping.number += 2;
    overlapping.servers[0].rules.push(rule(&["list_*"], &[], &["note://public/1*"], "notes:write"));
    world.feed_snapshot(&overlapping);
    world.refused(tool(&token, "list_notes"), 403).await;
    world.refused(read("note://public/1"), 403).await;
    world.served(read("note://public/2")).await;
    // No rule is about it any more.
    let mut gone = world.snapshot.clone();
    gone.number += 3;
    gone.servers[0].rules.clear();
    world.feed_snapshot(&gone);
    let answered = world.refused(read("note://public/2"), 403).await;
    assert!(answered.text().contains("no rule"), "{}", answered.text());
}

#[tokio::test]
async fn pc_21_tightening_acts_on_the_next_call() {
    let world = World::new().await;
    let token = world.token();
    world.served(tool(&token, "list_notes")).await;
    let mut tightened = world.snapshot.clone();
    tightened.number += 1;
    tightened.agents[0].access.clear();
    world.feed_snapshot(&tightened);
    world.refused(tool(&token, "list_notes"), 403).await;
    let answered = world.refused(request(&token, "tools/list", &format!("{{{META}}}")), 403).await;
    assert!(answered.text().contains("nothing on this server"));
}

#[tokio::test]
async fn pc_50_every_decision_about_an_identified_caller_is_recorded() {
    let world = World::with(
        |_| (),
        |snapshot| {
            let mut risky = rule(&["purge"], &[], &[], "notes:read");
            risky.risk = Risk::High;
            snapshot.servers[0].rules.push(risky);
        },
    )
    .await;
    let token = world.token();
    world.served(tool(&token, "list_notes")).await;
    world.served(tool(&token, "purge")).await;
    world.refused(tool(&token, "create_note"), 403).await;
    world.refused(tool(&token, "list_notes").body("{"), 400).await;
    let records = world.records();
    let decided: Vec<_> = records.iter().filter(|record| record["kind"] == "call.decided").collect();
    let shown: Vec<_> = decided
        .iter()
        .map(|record| {
            (record["outcome"].as_str().unwrap(), record["object"].as_str(), record["reason"].as_str())
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("allowed", Some("list_notes"), None),
            ("allowed", Some("purge"), None),
            ("refused", Some("create_note"), Some("beyond_agent")),
            ("refused", None, Some("body_malformed")),
        ]
    );
    assert_eq!(decided[0]["subject"], "cli_agent");
    assert_eq!(decided[0]["rules"], serde_json::json!([{ "rule": 1 }]));
    assert_eq!(decided[2]["needed"], "notes:write");
    let ended = records.iter().filter(|record| record["kind"] == "call.ended").count();
    assert_eq!(ended, 2, "allowed calls have an outcome");
    let text = serde_json::to_string(&records).unwrap();
    assert!(!text.contains(&token) && !text.contains("1.1"), "neither tokens nor arguments");
}

#[tokio::test]
async fn pc_51_a_full_spool_refuses_calls() {
    let world = World::with(|settings| settings.spool.max_bytes = 3_000, |_| ()).await;
    let token = world.token();
    world.served(tool(&token, "list_notes")).await;
    let mut served = 1;
    let answered = loop {
        let before = world.upstream.count();
        let answered = world.send(tool(&token, "list_notes")).await;
        if answered.status != 200 {
            assert_eq!(world.upstream.count(), before, "nothing goes upstream unrecorded");
            break answered;
        }
        served += 1;
        assert!(served < 100, "the spool never fills");
    };
    assert_eq!((answered.status.as_u16(), answered.header("retry-after")), (503, "1"));
    let ended = world.records().iter().filter(|record| record["kind"] == "call.ended").count();
    assert_eq!(ended, served, "room for outcomes was reserved");
}

#[tokio::test]
async fn pc_51_a_full_spool_serves_again_when_closed_segments_were_moved_away() {
    let world = World::with(|settings| settings.spool.max_bytes = 20_000, |_| ()).await;
    let token = world.token();
    let mut calls = 0;
    while world.send(tool(&token, "list_notes")).await.status == 200 {
        calls += 1;
        assert!(calls < 1000, "the spool never fills");
    }
    world.refused(tool(&token, "list_notes"), 503).await;
    let mut segments: Vec<_> = std::fs::read_dir(world.spool.path().join("decisions"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    segments.sort();
    let _current = segments.pop().unwrap();
    assert!(segments.len() > 5, "{} closed segments", segments.len());
    for closed in &segments {
        std::fs::rename(closed, world.spool.path().join(closed.file_name().unwrap())).unwrap();
    }
    for _ in 0..calls / 2 {
        world.served(tool(&token, "list_notes")).await;
    }
}

#[tokio::test]
async fn pc_51_a_call_for_many_resources_is_not_a_long_record_and_there_is_a_bound() {
    let world = World::new().await;
    let token = world.token();
    let listen = |resources: usize| {
        let uris = vec![r#""note://public/1""#; resources].join(",");
        let params = format!(r#"{{"notifications":{{"resourceSubscriptions":[{uris}]}},{META}}}"#);
        request(&token, "subscriptions/listen", &params)
    };
    world.served(listen(1000)).await;
    world.refused(listen(1001), 400).await;
    let records = world.records();
    let decided = records.iter().find(|record| record["outcome"] == "allowed").unwrap();
    assert_eq!(decided["rules"], serde_json::json!(["connect", { "rule": 1 }]));
}

#[tokio::test]
async fn pc_07_a_method_that_mcp_does_not_know_needs_a_rule_that_names_it() {
    let world = World::with(
        |_| (),
        |snapshot| {
            let reindex =
                Rule { methods: vec!["com.example/reindex".into()], ..rule(&[], &[], &[], "notes:read") };
            let drop =
                Rule { methods: vec!["com.example/drop".into()], ..rule(&[], &[], &[], "notes:write") };
            snapshot.servers[0].rules.extend([reindex, drop]);
            snapshot.servers[0].observe = true;
        },
    )
    .await;
    let person = world.user_token("notes:read");
    let ask = |method: &str| request(&person, method, &format!("{{{META}}}"));
    world.served(ask("com.example/reindex")).await;
    world.served(request(&person, "com.example/reindex", &format!(r#"{{"name":"wipe",{META}}}"#))).await;
    for method in [
        "com.example/Reindex",
        "com.example/reindex ",
        "com.example/reindex2",
        "reindex",
        "*",
        "resources/subscribe",
    ] {
        // As a header it would not be the same text.
        let answered = world
            .refused(
                ask("com.example/x")
                    .body(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{META}}}}}"#))
                    .header("mcp-method", method.trim()),
                if method.ends_with(' ') { 400 } else { 404 },
            )
            .await;
        assert!([-32601, -32020].contains(&answered.code()), "{method}: {}", answered.text());
    }
    let unobserved = World::with(
        |_| (),
        |snapshot| {
            let drop =
                Rule { methods: vec!["com.example/drop".into()], ..rule(&[], &[], &[], "notes:write") };
            snapshot.servers[0].rules.push(drop);
        },
    )
    .await;
    let person = unobserved.user_token("notes:read");
    let answered =
        unobserved.refused(request(&person, "com.example/drop", &format!("{{{META}}}")), 403).await;
    assert!(answered.challenge().contains("notes:write"), "PC-23: {}", answered.challenge());
    let may = unobserved.user_token("notes:write");
    unobserved.served(request(&may, "com.example/drop", &format!("{{{META}}}"))).await;
}

#[tokio::test]
async fn scope_12_14_what_a_list_hides_cannot_be_called_by_its_name_either() {
    let world = World::new().await;
    let tools = ["list_notes", "create_note", "wipe", "added_yesterday"];
    world.upstream.answers(move |_| {
        let listed: Vec<_> = tools.iter().map(|name| serde_json::json!({ "name": name })).collect();
        let answer = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "result": { "tools": listed } });
        crate::world::json(200, &answer.to_string())
    });
    let token = world.token();
    let listed = world.served(request(&token, "tools/list", &format!("{{{META}}}"))).await.json();
    let shown: Vec<&str> = listed["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(shown, ["list_notes"]);
    world.served(tool(&token, "list_notes")).await;
    for hidden in &tools[1..] {
        assert_eq!(world.refused(tool(&token, hidden), 403).await.code(), -31403, "{hidden}");
    }
}

#[tokio::test]
async fn scope_15_a_rule_is_of_one_server_and_no_spelling_names_two() {
    let world = World::new().await;
    let token = world.token();
    world.served(tool(&token, "list_notes")).await;
    for name in [
        "notes__list_notes",
        "notes.list_notes",
        "notes/list_notes",
        "notes:list_notes",
        "ops__list_notes",
        "ops.list_notes",
        "../ops/list_notes",
        "list_notes,list_notes",
    ] {
        assert_eq!(world.refused(tool(&token, name), 403).await.code(), -31403, "{name}");
    }
    // The other server has a tool of the same name, and its scopes are its own.
    let elsewhere = |scopes: &str| {
        world.sign(|claims| {
            claims.aud = "https://as.test/mcp/ops".into();
            claims.scope = scopes.parse().unwrap();
        })
    };
    for scopes in ["notes:read", "ops:read", "notes:read ops:read"] {
        world.refused(tool(&elsewhere(scopes), "list_notes").to("/mcp/ops"), 403).await;
    }
}

#[tokio::test]
async fn scope_16_who_may_do_nothing_at_a_server_gets_nothing_there() {
    let world = World::new().await;
    world.served(tool(&world.token(), "list_notes")).await;
    // Signed as if we had issued it: the agent has no ceiling at this server, so all that it asks for is refused.
    let token = world.sign(|claims| {
        claims.aud = "https://as.test/mcp/ops".into();
        claims.scope = "ops:read ops:write ops:admin".parse().unwrap();
    });
    for ask in [
        tool(&token, "list_notes"),
        request(&token, "tools/list", &format!("{{{META}}}")),
        request(&token, "server/discover", &format!("{{{META}}}")),
        request(&token, "subscriptions/listen", &format!(r#"{{"notifications":{{}},{META}}}"#)),
    ] {
        let answered = world.refused(ask.to("/mcp/ops"), 403).await;
        assert_eq!(answered.code(), -31403);
    }
}

#[tokio::test]
async fn scope_18_a_scope_implies_what_is_configured_in_call_and_challenge_and_no_more() {
    let world = World::new().await;
    let (reads, writes) = (world.user_token("notes:read"), world.user_token("notes:write"));
    world.served(tool(&reads, "list_notes")).await;
    world.served(tool(&writes, "list_notes")).await;
    world.served(tool(&writes, "create_note")).await;
    let challenged = world.refused(tool(&reads, "create_note"), 403).await;
    assert!(challenged.challenge().contains(r#"error="insufficient_scope""#), "{}", challenged.challenge());
    assert!(challenged.challenge().contains("notes:write"), "{}", challenged.challenge());
    world.refused(tool(&writes, "wipe"), 403).await;
    for near in ["notes:*", "notes", "notes:writer", "*", "NOTES:WRITE"] {
        let token = world.user_token(near);
        for name in ["list_notes", "create_note"] {
            world.refused(tool(&token, name), 403).await;
        }
    }
}
