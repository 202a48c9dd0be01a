//! Hostile clients and servers: whatever they send, they get a proper answer, it costs a bounded amount, and nobody else
//! notices.

use std::time::Duration;

use axum::body::Body;
use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::world::{Client, World, hear, life};
use crate::gateway::Endpoint;
use crate::kit::fuzz::{Random, mutated};
use crate::kit::{HttpTransport, Link};
use crate::mcp::fake::{Fake, tool, until};
use crate::mcp::lists::Kind;
use crate::record::FleetMember;

impl World {
    /// One request without a socket, as some caller: thousands at once are cheap then.
    async fn direct(&self, caller: &str, request: http::Request<Body>) -> (http::response::Parts, Vec<u8>) {
        let endpoint = Endpoint::Project("demo".parse().unwrap());
        let (head, body) = self.gateway.handle(endpoint, caller, request).await.into_parts();
        (head, body.collect().await.unwrap().to_bytes().to_vec())
    }

    /// A session of some caller.
    async fn mint(&self, caller: &str) -> Option<String> {
        let params =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let message = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let (head, _) = self.direct(caller, post(None, message.to_string())).await;
        Some(head.headers.get("mcp-session-id")?.to_str().unwrap().to_owned())
    }
}

fn post(session: Option<&str>, body: impl Into<Body>) -> http::Request<Body> {
    let mut request = http::Request::post("/projects/demo/mcp")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    if let Some(session) = session {
        request = request.header("mcp-session-id", session);
    }
    request.body(body.into()).unwrap()
}

fn ping() -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string()
}

fn calling(id: u64, tool: &str) -> String {
    let params = json!({"name": tool, "arguments": {"n": id}});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
}

/// A client whose bytes are written by hand.
async fn raw(world: &World, head: &str) -> tokio::net::TcpStream {
    let address = world.url.strip_prefix("http://").unwrap();
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

/// Every member of a request with a value of every type, once right, missing and twice.
#[tokio::test]
async fn members_of_any_type_are_answered_properly() {
    let world = World::new(&["time"]).await;
    world.start("a", "time/0", &["echo"]).await;
    let session = world.mint("anna").await.unwrap();
    let values = [
        "null",
        "true",
        "7",
        "-1",
        "1.5",
        "1e999",
        "\"\"",
        "\"x\"",
        "\"\\ud800\"",
        "[]",
        "{}",
        "[{}]",
        "{\"a\":{}}",
    ];
    let mut bodies = vec![];
    for method in [
        "initialize",
        "tools/list",
        "tools/call",
        "prompts/get",
        "resources/read",
        "resources/subscribe",
        "resources/unsubscribe",
        "completion/complete",
        "logging/setLevel",
        "server/discover",
        "subscriptions/listen",
        "notifications/cancelled",
        "notifications/initialized",
        "no/such",
    ] {
        for value in values {
            bodies.push(format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{value}}}"#
            ));
            for member in [
                "name",
                "uri",
                "arguments",
                "_meta",
                "ref",
                "cursor",
                "requestId",
                "level",
                "protocolVersion",
            ] {
                bodies.push(format!(
                    r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"{member}":{value}}}}}"#
                ));
            }
            let token = format!(r#"{{"name":"time__echo","uri":"x:y","_meta":{{"progressToken":{value}}}}}"#);
            bodies.push(format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{token}}}"#
            ));
        }
    }
    for value in values {
        bodies.push(format!(r#"{{"jsonrpc":{value},"id":1,"method":"ping"}}"#));
        bodies.push(format!(r#"{{"jsonrpc":"2.0","id":{value},"method":"ping"}}"#));
        bodies.push(format!(r#"{{"jsonrpc":"2.0","id":1,"method":{value}}}"#));
        bodies.push(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{value}}}"#));
        bodies.push(format!(r#"{{"jsonrpc":"2.0","id":1,"error":{value}}}"#));
        bodies.push(value.to_owned());
    }
    for twice in [
        "\"jsonrpc\":\"2.0\"",
        "\"id\":1",
        "\"method\":\"ping\"",
        "\"params\":{}",
        "\"i\\u0064\":1",
    ] {
        bodies.push(format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{}},{twice}}}"#
        ));
    }
    for body in bodies {
        let asked = world.direct("anna", post(Some(&session), body.clone()));
        let (head, answer) = tokio::time::timeout(Duration::from_secs(30), asked)
            .await
            .unwrap_or_else(|_| panic!("{body}"));
        proper(&body, &head, &answer);
    }
    let (head, _) = world.direct("anna", post(Some(&session), ping())).await;
    assert_eq!(head.status, 200);
}

/// An answer is one of those that a client must expect, and says which request it is to.
fn proper(body: &str, head: &http::response::Parts, answer: &[u8]) {
    let status = head.status.as_u16();
    assert!(
        [200, 202, 204, 400, 404, 405, 406, 413, 415].contains(&status),
        "{status} to {body}"
    );
    let text = std::str::from_utf8(answer).unwrap();
    let kind = head.headers.get("content-type").map(|kind| kind.to_str().unwrap());
    match kind {
        None => assert!(text.is_empty(), "{text} to {body}"),
        // Half a character crosses as it is, and the reader of this test takes none.
        Some("application/json") if body.contains("\\ud800") => {}
        Some("application/json") => {
            let said: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{text} to {body}"));
            let refused = status != 200;
            let failed = said.get("error").is_some();
            assert!(!refused || failed, "{status} {text} to {body}");
            if !refused {
                // Nor does it take a number beyond all bounds.
                let asked: Result<Value, _> = serde_json::from_str(body);
                assert!(asked.is_err() || said["id"] == asked.unwrap()["id"], "{text} to {body}");
            }
        }
        Some("text/event-stream") => {}
        other => panic!("{other:?} to {body}"),
    }
}

/// Whole requests, mutated: headers, envelope, parameters.
#[tokio::test]
async fn mutated_requests_are_answered_properly() {
    const WORDS: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u0065",
        "\n",
        " ",
        "null",
        "1",
        "-",
        "\"id\":2,",
        "\"id\":null,",
        "\"params\":{},",
        "\"_meta\":{},",
        "\"progressToken\":\"p\",",
        "\"name\":\"time__echo\",",
        "\"uri\":\"x:y\",",
        "tools/call",
        "tools/list",
        "prompts/get",
        "resources/read",
        "completion/complete",
        "ping",
        "initialize",
        "server/discover",
        "notifications/cancelled",
        "io.modelcontextprotocol/protocolVersion",
        "2026-07-28",
        "2025-11-25",
        "time__echo",
        "time__",
        "__",
        "é",
    ];
    const HEADERS: &[&str] = &[
        "",
        "*/*",
        "application/json",
        "text/event-stream",
        "application/json, text/event-stream",
        "text/*",
        "TEXT/HTML;q=0",
        ";;,,",
        "2025-11-25",
        "2026-07-28",
        "\u{e9}",
        "tools/call",
        "time__echo",
        "=?base64?dGltZV9fZWNobw==?=",
        "=?base64?!?=",
    ];
    let long = std::env::var_os("MCPCTL_LONG").is_some();
    let world = World::new(&["time"]).await;
    world.start("a", "time/0", &["echo"]).await;
    let session = world.mint("anna").await.unwrap();
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let seeds: Vec<Vec<u8>> = [
        calling(1, "time__echo"),
        ping(),
        json!({"jsonrpc": "2.0", "id": "x", "method": "tools/list", "params": {"_meta": meta.clone()}}).to_string(),
        json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "time__echo", "_meta": meta}}).to_string(),
        json!({"jsonrpc": "2.0", "id": 4, "method": "completion/complete", "params": {"ref": {"type": "ref/prompt", "name": "p"}}})
            .to_string(),
    ]
    .map(String::into_bytes)
    .into();
    let mut answered = 0_u32;
    for seed in 0..if long { 100_000 } else { 1_000 } {
        let mut random = Random::new(seed);
        let bytes = mutated(&mut random, &seeds, WORDS);
        let mut request = post(Some(&session), bytes.clone());
        for name in [
            "accept",
            "content-type",
            "mcp-protocol-version",
            "mcp-method",
            "mcp-name",
            "x-correlation-id",
        ] {
            if random.below(6) == 0 {
                let value = http::HeaderValue::from_bytes(random.of(HEADERS).as_bytes()).unwrap();
                request.headers_mut().insert(name, value);
            }
        }
        let shown = format!(
            "seed {seed}: {:?} {}",
            request.headers(),
            String::from_utf8_lossy(&bytes)
        );
        let asked = world.direct("anna", request);
        let (head, answer) = tokio::time::timeout(Duration::from_secs(30), asked)
            .await
            .unwrap_or_else(|_| panic!("{shown}"));
        let status = head.status.as_u16();
        assert!(
            [200, 202, 400, 404, 406, 413, 415].contains(&status),
            "{status} to {shown}"
        );
        if status == 200 && head.headers["content-type"] == "application/json" {
            let text = String::from_utf8_lossy(&bytes);
            // Members that stand twice are refused before this, but for those that nobody reads.
            if serde_json::from_str::<Value>(&text).is_ok() {
                proper(&text, &head, &answer);
            }
            answered += 1;
        }
    }
    assert!(answered > 30, "{answered}");
}

/// 10,000 sessions are kept; more of them cost others nothing that is in use.
#[tokio::test]
async fn a_flood_of_sessions_leaves_busy_ones_alone() {
    let world = World::new(&["time"]).await;
    let fake = world.start("a", "time/0", &["slow"]).await;
    let busy = world.demo().await;
    let call = tokio::spawn({
        let busy = busy.clone();
        async move { busy.call(1, "time__slow").await }
    });
    until("the call", || fake.heard("tools/call").len() == 1).await;
    for _ in 0..10_050 {
        world.mint("flood").await.expect("a session");
    }
    assert_eq!(world.gateway.0.sessions.count(), 10_000);
    assert_eq!(busy.ask(2, "ping", json!({})).await["result"], json!({}));
    call.abort();
}

/// 1,000 calls of a session run at once, the next is refused, and all end with the session.
#[tokio::test]
async fn a_flood_of_calls_of_one_session_is_bounded() {
    let world = World::new(&["time"]).await;
    let fake = world.start("a", "time/0", &["slow", "echo"]).await;
    let session = world.mint("anna").await.unwrap();
    let calls = join_all((0..1_000).map(|id| world.direct("anna", post(Some(&session), calling(id, "time__slow")))));
    let rest = async {
        until("the calls", || fake.heard("tools/call").len() == 1_000).await;
        let (_, refused) = world
            .direct("anna", post(Some(&session), calling(1_000, "time__echo")))
            .await;
        let refused: Value = serde_json::from_slice(&refused).unwrap();
        assert_eq!(refused["error"]["code"], -32600, "{refused}");
        // Somebody else is none the worse for it.
        let other = world.mint("bert").await.unwrap();
        let (_, answer) = world.direct("bert", post(Some(&other), calling(1, "time__echo"))).await;
        assert!(String::from_utf8_lossy(&answer).contains("\"content\""));
        let mut end = post(Some(&session), "");
        *end.method_mut() = http::Method::DELETE;
        assert_eq!(world.direct("anna", end).await.0.status, 204);
    };
    let (answers, ()) = tokio::join!(calls, rest);
    for (_, answer) in answers {
        assert!(String::from_utf8_lossy(&answer).contains("-32800"));
    }
    until("nothing in flight", || world.gateway.in_flight(&life("a")) == 0).await;
}

/// A body that is promised and never comes holds nothing but its own connection, and ids are short.
#[tokio::test]
async fn slow_and_false_bodies_hold_nobody_up() {
    let world = World::new(&["time"]).await;
    world.start("a", "time/0", &["echo"]).await;
    let client = world.demo().await;
    let head = format!(
        "POST /projects/demo/mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nmcp-session-id: {}\r\ncontent-length: 100\r\n\r\n{{",
        client.session
    );
    let slow = join_all((0..100).map(|_| raw(&world, &head))).await;
    client.call(1, "time__echo").await;
    drop(slow);
    // Half a request, and then no more.
    let mut half = raw(&world, &head).await;
    half.shutdown().await.unwrap();
    let mut said = vec![];
    half.read_to_end(&mut said).await.unwrap();
    let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#, "x".repeat(1 << 20));
    let (head, answer) = world.direct("anna", post(Some(&client.session), long)).await;
    assert_eq!(head.status, 400);
    assert!(answer.len() < 1_000, "the id is not sent back");
    let long = "x".repeat(1 << 20);
    let answer = client.call(2, &long).await;
    assert!(answer.to_string().len() < 1_000, "nor is the name");
    client.call(3, "time__echo").await;
}

/// A client that opens its stream and never reads: what waits for it is bounded, and it hears the newest of each.
#[tokio::test]
async fn a_slow_reader_of_updates_costs_a_bounded_amount() {
    let world = World::new(&["time"]).await;
    let (fake, pipes) = Fake::with_lists(&[(Kind::Resources, &["x:a", "x:b"])]);
    world.join("a", "time/0", true, Some(pipes));
    world.ready("a").await;
    let client = world.demo().await;
    let mut stream = client.listen().await;
    client.ask(1, "resources/subscribe", json!({"uri": "x:a"})).await;
    client.ask(2, "resources/subscribe", json!({"uri": "x:b"})).await;
    for _ in 0..5_000 {
        fake.say_updated("x:a");
    }
    fake.say_updated("x:b");
    // All of it was heard before this answer.
    client.ask(3, "resources/read", json!({"uri": "x:a"})).await;
    let heard = hear(&mut stream, "x:b").await;
    let many = heard.matches("x:a").count();
    assert!(many < 2_500, "{many} of 5,000 were kept for one who does not read");
    assert!(many > 0);
}

/// A call that tells of its progress without end, to a client that does not read: the answer comes all the same.
#[tokio::test]
async fn a_slow_reader_of_progress_gets_its_answer() {
    let world = World::new(&["time"]).await;
    let (fake, pipes) = Fake::scripted(|fake, message| {
        if message["method"] != "tools/call" {
            return fake.standard(message);
        }
        for step in 0..2_000 {
            let params = json!({"progressToken": message["params"]["_meta"]["progressToken"], "progress": step});
            fake.say(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}));
        }
        fake.answer(&message["id"], &json!({"content": []}));
    });
    fake.set(Kind::Tools, vec![tool("much")]);
    world.join("a", "time/0", true, Some(pipes));
    world.ready("a").await;
    let client = world.demo().await;
    let params = json!({"name": "time__much", "_meta": {"progressToken": 1}});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let mut response = client.post(&message).send().await.unwrap();
    until("the server is done", || world.gateway.in_flight(&life("a")) <= 1).await;
    hear(&mut response, "\"result\"").await;
}

/// A server that tells 10,000 times that its tools changed is asked a few times, and another server's calls go on.
#[tokio::test]
async fn a_flood_of_notifications_is_gathered() {
    let world = World::new(&["time", "git"]).await;
    let noisy = world.start("a", "time/0", &["echo"]).await;
    world.start("b", "git/0", &["echo"]).await;
    let client = world.demo().await;
    for _ in 0..10_000 {
        noisy.say_changed(Kind::Tools);
        noisy.say(&json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "x:y"}}));
    }
    client.call(1, "git__echo").await;
    client.call(2, "time__echo").await;
    noisy.set(Kind::Tools, vec![tool("later")]);
    noisy.say_changed(Kind::Tools);
    for _ in 0..1_000 {
        if client.tools().await == ["time__later", "git__echo"] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(client.tools().await, ["time__later", "git__echo"]);
    let asked = noisy.heard("tools/list").len();
    assert!(asked < 200, "it was asked {asked} times");
}

/// Servers that answer twice, before they were asked, to others' ids, with garbage around: each call gets its own answer.
#[tokio::test]
async fn answers_find_their_call_whatever_is_said_around_them() {
    let world = World::new(&["time"]).await;
    let (fake, pipes) = Fake::scripted(|fake, message| {
        if message["method"] != "tools/call" {
            return fake.standard(message);
        }
        let id = message["id"].as_u64().unwrap();
        let text = message["params"]["arguments"].to_string();
        let result = json!({"content": [{"type": "text", "text": text}]});
        fake.answer(
            &json!(id + 1),
            &json!({"content": [{"type": "text", "text": "somebody else's"}]}),
        );
        fake.answer(&json!(id.to_string()), &json!({"content": []}));
        fake.say_raw("{\"jsonrpc\":\"2.0\",\"id\":\n\u{0}\n[[[[\n");
        fake.say(&json!({"jsonrpc": "2.0", "id": id, "result": {}, "error": {}}));
        fake.answer(&message["id"], &result);
        fake.answer(&message["id"], &json!({"content": [{"type": "text", "text": "twice"}]}));
    });
    fake.set(Kind::Tools, vec![tool("echo")]);
    world.join("a", "time/0", true, Some(pipes));
    world.ready("a").await;
    let client = world.demo().await;
    for n in 0..50 {
        let answer = client.call(n, "time__echo").await;
        assert_eq!(answer["result"]["content"][0]["text"], json!({"n": n}).to_string());
    }
    assert_eq!(world.gateway.in_flight(&life("a")), 0);
}

/// A line of 100 MB ends the one connection that it came on, whether it has an end or not.
#[tokio::test]
async fn a_huge_line_ends_its_connection_alone() {
    let world = World::new(&["time", "git"]).await;
    let huge = world.start("a", "time/0", &["slow"]).await;
    world.start("b", "git/0", &["echo"]).await;
    let client = world.demo().await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.fails("time__slow").await }
    });
    until("the call", || huge.heard("tools/call").len() == 1).await;
    for _ in 0..100 {
        huge.say_raw(vec![b'x'; 1 << 20]);
    }
    huge.say_raw("\n");
    let why = call.await.unwrap();
    assert!(why.contains("a line of more than 67108864 bytes"), "{why}");
    client.call(2, "git__echo").await;
}

/// A server over HTTP whose answers are written by hand.
async fn by_hand(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let answer = std::sync::Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = std::sync::Arc::clone(&answer);
            tokio::spawn(async move {
                let mut heard = vec![];
                loop {
                    let mut piece = [0; 4_096];
                    let many = socket.read(&mut piece).await.unwrap_or(0);
                    if many == 0 {
                        return;
                    }
                    heard.extend(&piece[..many]);
                    let text = String::from_utf8_lossy(&heard).into_owned();
                    let Some((top, body)) = text.split_once("\r\n\r\n") else {
                        continue;
                    };
                    let length = top
                        .lines()
                        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
                    if body.len() < length.unwrap_or(0) {
                        continue;
                    }
                    heard.clear();
                    if socket.write_all(&answer(body)).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

fn http_answer(length: usize, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// Servers over HTTP that lie about the length of their answers, or never end them, cost their own calls alone.
#[tokio::test]
async fn a_lying_http_server_costs_its_own_calls_alone() {
    let world = World::new(&["time", "git"]).await;
    world.start("b", "git/0", &["echo"]).await;
    world.deadline(&["time", "git"], 1).await;
    let url = by_hand(|body| {
        let message: Value = serde_json::from_str(body).unwrap_or_default();
        let result = |result: Value| json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
        match (message["method"].as_str(), message["params"]["name"].as_str()) {
            (Some("initialize"), _) => {
                let text = result(json!({
                    "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                    "serverInfo": {"name": "liar", "version": "1"},
                }));
                http_answer(text.len(), &text)
            }
            (Some("tools/list"), _) => {
                let tools = ["longer", "shorter", "endless", "garbage", "right"].map(tool);
                let text = result(json!({"tools": tools}));
                http_answer(text.len(), &text)
            }
            // More is promised than comes, less, a stream that goes on for ever, and what is no HTTP at all.
            (_, Some("longer")) => http_answer(1_000_000, &result(json!({"content": []}))),
            (_, Some("shorter")) => http_answer(10, &result(json!({"content": []}))),
            (_, Some("endless")) => {
                let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n".to_vec();
                [head, b": nothing yet\n\ndata: {}\n\n".repeat(2_000)].concat()
            }
            (_, Some("garbage")) => b"\x00\xff\x16\x03\x01 and so on\r\n\r\n".to_vec(),
            (_, Some("right")) => {
                let text = result(json!({"content": [{"type": "text", "text": "right"}]}));
                http_answer(text.len(), &text)
            }
            (Some(_), _) => b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_vec(),
            (None, _) => b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n".to_vec(),
        }
    })
    .await;
    world.hand(
        "a",
        Link::Http {
            url,
            transport: HttpTransport::Streamable,
        },
    );
    world.join_as(
        "a",
        FleetMember {
            instance: "time/0".parse().unwrap(),
            serving: true,
            start_timeout_seconds: 300,
            fresh: true,
            remembered: None,
            era: None,
        },
    );
    world.ready("a").await;
    let client: Client = world.demo().await;
    for name in ["time__longer", "time__shorter", "time__endless", "time__garbage"] {
        let why = client.fails(name).await;
        assert!(why.starts_with("server time "), "{name}: {why}");
        client.call(2, "git__echo").await;
        let right = client.call(3, "time__right").await;
        assert_eq!(right["result"]["content"][0]["text"], "right", "after {name}: {right}");
    }
    until("nothing in flight", || world.gateway.in_flight(&life("a")) == 0).await;
}
