//! Bodies that two readers could read differently, and headers that say something else.

use crate::world::{Ask, META, MODERN, World, legacy, request, tool};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

#[tokio::test]
async fn pc_01_the_upstream_gets_the_original_bytes() {
    let world = World::new().await;
    let odd = format!(
        "  {{ \"id\" : \"x\\u00e9\" ,\n\"jsonrpc\":\"2.0\",\"method\":\"tools\\u002fcall\",\"x\":[1.10,1e5],\"params\":{{\"arguments\":{{\"Name\":\"A\",\"n\":12345678901234567890}},\"name\":\"list_notes\",{META}}}}}\r\n"
    );
    let ask = tool(&world.token(), "list_notes").body(&odd);
    world.served(ask).await;
    assert_eq!(world.upstream.last().body, odd.as_bytes());
}

#[tokio::test]
async fn rpc_01_05_headers_must_repeat_the_body() {
    let world = World::new().await;
    let token = world.user_token("notes:write");
    let ask = tool(&token, "list_notes");
    world.served(ask.clone()).await;
    for missing in ["mcp-protocol-version", "mcp-method", "mcp-name"] {
        assert_eq!(world.refused(ask.clone().without(missing), 400).await.code(), -32020, "{missing}");
    }
    for (name, value) in [
        ("mcp-name", "create_note"),
        ("mcp-name", "list_notes, create_note"),
        ("mcp-name", "LIST_NOTES"),
        ("mcp-method", "tools/list"),
        ("mcp-method", "Tools/Call"),
        ("mcp-method", "tools\\u002fcall"),
        ("mcp-protocol-version", "2025-11-25"),
    ] {
        let answered = world.refused(ask.clone().header(name, value), 400).await;
        assert_eq!((answered.code(), &answered.json()["id"]), (-32020, &1.into()), "{name}: {value}");
    }
    for (name, value) in
        [("mcp-name", "list_notes"), ("mcp-method", "tools/call"), ("mcp-protocol-version", MODERN)]
    {
        assert_eq!(world.refused(ask.clone().also(name, value), 400).await.code(), -32020, "two {name}");
    }
    let encoded = |name: &str| format!("=?base64?{}?=", STANDARD.encode(name));
    world.served(ask.clone().header("mcp-name", &encoded("list_notes"))).await;
    for bad in [encoded("create_note"), encoded(&encoded("list_notes")), "=?base64?!!!?=".into()] {
        world.refused(ask.clone().header("mcp-name", &bad), 400).await;
    }
}

#[tokio::test]
async fn rpc_18_23_versions_that_are_not_served_and_older_ones_that_dodge_nothing() {
    let world = World::new().await;
    let token = world.token();
    let unknown = META.replace(MODERN, "2099-01-01");
    let ask =
        request(&token, "tools/list", &format!("{{{unknown}}}")).header("mcp-protocol-version", "2099-01-01");
    let answered = world.refused(ask, 400).await;
    assert_eq!(answered.code(), -32022);
    let data = &answered.json()["error"]["data"];
    assert_eq!(data["requested"], "2099-01-01");
    assert_eq!(data["supported"], serde_json::json!([MODERN]), "what it can name in the same way");
    assert_eq!(world.refused(request(&token, "tools/call", "{}"), 400).await.code(), -32602);
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_notes"}}"#;
    world.served(legacy(&token, call)).await;
    world.served(legacy(&token, call).header("mcp-protocol-version", "2025-06-18")).await;
    world.served(legacy(&token, call).header("mcp-name", "list_notes")).await;
    for ask in [
        legacy(&token, call).header("mcp-name", "other"),
        legacy(&token, call).header("mcp-method", "tools/list"),
        legacy(&token, call).without("mcp-protocol-version").header("mcp-name", "other"),
        request(&token, "tools/call", &format!(r#"{{"name":"list_notes",{META}}}"#))
            .header("mcp-name", "list_notes")
            .without("mcp-protocol-version"),
    ] {
        assert_eq!(world.refused(ask, 400).await.code(), -32020);
    }
    world.served(legacy(&token, call).header("mcp-protocol-version", "2025-03-26")).await;
    world.served(legacy(&token, call).without("mcp-protocol-version")).await;
    for version in ["2024-11-05", "x"] {
        let ask = legacy(&token, call).header("mcp-protocol-version", version);
        assert_eq!(world.refused(ask, 400).await.code(), -32022);
    }
}

#[tokio::test]
async fn rpc_07_duplicates_are_refused_in_both_orders_and_after_unescaping() {
    let world = World::new().await;
    let token = world.token();
    world.served(tool(&token, "list_notes")).await;
    let (good, bad) = (r#""name":"list_notes""#, r#""name":"wipe""#);
    for params in [
        format!("{good},{bad}"),
        format!("{bad},{good}"),
        format!("{good},{good}"),
        format!(r#"{good},"n\u0061me":"wipe""#),
        format!(r#"{good},"arguments":{{"a":1,"b":{{"c":1,"\u0063":2}}}}"#),
        format!("{good},{META}"),
    ] {
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{params},{META}}}}}"#);
        let answered = world.refused(tool(&token, "list_notes").body(body), 400).await;
        assert_eq!(answered.code(), -32600);
    }
    for body in [
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{good},{META}}},"params":{{{bad},{META}}}}}"#
        ),
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{{{good},{META}}}}}"#
        ),
        format!(r#"{{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":{{{good},{META}}}}}"#),
    ] {
        world.refused(tool(&token, "list_notes").body(body), 400).await;
    }
}

#[tokio::test]
async fn rpc_08_lookalikes_are_refused_outside_arguments_only() {
    let world = World::new().await;
    let token = world.token();
    let params = |extra: &str| format!(r#"{{"name":"list_notes",{extra},{META}}}"#);
    let send = |params: String| request(&token, "tools/call", &params).header("mcp-name", "list_notes");
    world.served(send(params(r#""arguments":{"Name":"x","METHOD":1,"ｎame":2,"__proto__":{}}"#))).await;
    world.served(send(params(r#""vendor.example":{"Name":1}"#))).await;
    for extra in [
        r#""Name":"wipe""#,
        r#""NAME":"wipe""#,
        r#""ｎame":"wipe""#,
        r#""n\u0430me":"wipe""#,
        r#""name ":"wipe""#,
        r#""_name":"wipe""#,
        r#""Arguments":{}"#,
        r#""__proto__":{"name":"wipe"}"#,
        r#""meta":{}"#,
        "\"na\u{200b}me\":1",
    ] {
        assert_eq!(world.refused(send(params(extra)), 400).await.code(), -32600, "{extra}");
    }
    for extra in
        [r#""METHOD":"tools/call""#, r#""Params":{}"#, r#""ID":5"#, "\"\u{131}d\":5", r#""jsonRPC":"2.0""#]
    {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call",{extra},"params":{{"name":"list_notes",{META}}}}}"#
        );
        world.refused(tool(&token, "list_notes").body(body), 400).await;
    }
    let meta = META.replace('}', r#","ProgressToken":1}"#).replacen(r#"{,"ProgressToken":1}"#, "{}", 1);
    world.refused(send(format!(r#"{{"name":"list_notes",{meta}}}"#)), 400).await;
}

#[tokio::test]
async fn rpc_09_12_what_is_no_single_message() {
    let world = World::new().await;
    let token = world.token();
    let good = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_notes"}}"#;
    world.served(legacy(&token, good)).await;
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (body, code) in [
        (b"".to_vec(), -32700),
        (b"{".to_vec(), -32700),
        (format!("[{good}]").into(), -32600),
        (b" [ ]".to_vec(), -32600),
        (format!("{good}{good}").into(), -32700),
        (format!("{good}x").into(), -32700),
        (format!("\u{feff}{good}").into(), -32700),
        (utf16, -32700),
        (b"null".to_vec(), -32600),
        (b"1".to_vec(), -32600),
        (b"\"x\"".to_vec(), -32600),
        (vec![0; 64], -32700),
        (good.replace("tools", "to\u{0}ols").into(), -32700),
        (good.replace("2.0", "1.0").into(), -32600),
        (good.replace(r#""jsonrpc":"2.0","#, "").into(), -32600),
        (good.replace(r#""id":1"#, r#""id":null"#).into(), -32600),
        (good.replace(r#""id":1"#, r#""id":1.5"#).into(), -32600),
        (good.replace(r#""id":1"#, r#""id":1.0"#).into(), -32600),
        (good.replace(r#""id":1"#, r#""id":-0"#).into(), -32600),
        (good.replace(r#""id":1"#, r#""id":{}"#).into(), -32600),
        (good.replace(r#""id":1"#, r#""id":9007199254740993"#).into(), -32600),
        (good.replace(r#""id":1"#, r#""id":1e400"#).into(), -32600),
        (good.replace(r#""id":1"#, r#""id":"\ud800""#).into(), -32600),
        (good.replace(r#""method":"tools/call""#, r#""method":5"#).into(), -32600),
        (good.replace(r#""method":"tools/call","#, "").into(), -32600),
        (good.replace(r#"{"name":"list_notes"}"#, "[]").into(), -32600),
        (good.replace(r#"{"name":"list_notes"}"#, "\"x\"").into(), -32600),
        (good.replace(r#"{"name":"list_notes"}"#, "null").into(), -32600),
        (good.replace(r#"{"name":"list_notes"}"#, "{}").into(), -32602),
        (good.replace(r#""list_notes""#, r#"["list_notes"]"#).into(), -32602),
        (good.replace(r#""list_notes""#, r#"{"toString":1}"#).into(), -32602),
        (good.replace(r#""list_notes""#, "null").into(), -32602),
        (good.replace("list_notes", "list_notes\\u0000").into(), -32602),
        (good.replace(r#""id":1"#, r#""id":1,"result":{}"#).into(), -32600),
    ] {
        let answered = world.refused(legacy(&token, "").body(&body), 400).await;
        assert_eq!(answered.code(), code, "{}", String::from_utf8_lossy(&body));
    }
    let mut invalid = good.as_bytes().to_vec();
    invalid[40] = 0xff;
    assert_eq!(world.refused(legacy(&token, "").body(invalid), 400).await.code(), -32700);
}

#[tokio::test]
async fn rpc_13_depth_and_size_are_bounded() {
    let world = World::new().await;
    let token = world.token();
    let nested = |depth: usize| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"list_notes","arguments":{{"a":{}{}}}}}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    world.served(legacy(&token, &nested(50))).await;
    for depth in [64, 2000, 200_000] {
        world.refused(legacy(&token, &nested(depth)), 400).await;
    }
    let large = nested(1).replace("[]", &format!("\"{}\"", "x".repeat(5 << 20)));
    world.refused(legacy(&token, &large), 413).await;
    let claimed = legacy(&token, &nested(1)).header("content-length", "99999999");
    world.refused(claimed, 413).await;
}

#[tokio::test]
async fn rpc_19_http_18_only_plain_json_is_read() {
    let world = World::new().await;
    let ask = tool(&world.token(), "list_notes");
    world.served(ask.clone().header("content-type", "Application/JSON; charset=utf-8")).await;
    for other in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "",
        "application/json, text/plain",
    ] {
        world.refused(ask.clone().header("content-type", other), 415).await;
    }
    world.refused(ask.clone().without("content-type"), 415).await;
    world.refused(ask.clone().also("content-type", "application/json"), 415).await;
    for encoding in ["gzip", "identity, gzip", "br"] {
        world.refused(ask.clone().header("content-encoding", encoding), 415).await;
    }
}

#[tokio::test]
async fn rpc_10_11_names_and_methods_are_compared_byte_for_byte() {
    let world = World::new().await;
    let token = world.token();
    world.served(tool(&token, "list_notes")).await;
    for name in [
        "List_notes",
        "list_notes ",
        "./list_notes",
        "list_notes/../wipe",
        "l%69st_notes",
        "notes.list_notes",
    ] {
        let params = format!(r#"{{"name":"{name}",{META}}}"#);
        let encoded = format!("=?base64?{}?=", STANDARD.encode(name));
        let ask = request(&token, "tools/call", &params).header("mcp-name", &encoded);
        assert_eq!(world.refused(ask, 403).await.code(), -31403, "{name}");
    }
    for method in ["Tools/call", "tools//call", "tools%2fcall", "tools/call ", "x", "tasks/got", "initialize"]
    {
        let ask = request(&token, method, &format!(r#"{{"name":"list_notes",{META}}}"#));
        assert_eq!(world.refused(ask, 404).await.code(), -32601, "{method}");
    }
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/Call","params":{"name":"list_notes"}}"#;
    assert_eq!(world.refused(legacy(&token, body), 400).await.code(), -32601, "404 would end a session");
}

#[tokio::test]
async fn rpc_11_methods_that_2026_07_28_removed_are_not_there() {
    let world = World::new().await;
    let token = world.token();
    for method in ["resources/subscribe", "resources/unsubscribe"] {
        let old =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"uri":"note://public/1"}}}}"#);
        world.served(legacy(&token, &old)).await;
        for params in [format!(r#"{{"uri":"note://public/1",{META}}}"#), format!("{{{META}}}")] {
            let ask = request(&token, method, &params);
            assert_eq!(world.refused(ask, 404).await.code(), -32601, "{method} {params}");
        }
    }
}

#[tokio::test]
async fn rpc_17_responses_and_notifications_without_a_session() {
    let world = World::new().await;
    let token = world.token();
    let modern = |body: &str| Ask::post(&token, body).header("mcp-protocol-version", MODERN);
    world.served(tool(&token, "list_notes")).await;
    world.refused(modern(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), 400).await;
    world.refused(legacy(&token, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), 400).await;
    let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    world.refused(modern(cancelled), 202).await;
    let unknown = r#"{"jsonrpc":"2.0","method":"notifications/other"}"#;
    world.refused(modern(unknown), 404).await;
    let before = world.upstream.count();
    assert_eq!(world.send(legacy(&token, cancelled)).await.status, 202);
    assert_eq!(world.upstream.count(), before + 1, "older revisions have them");
}
