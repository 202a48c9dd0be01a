//! What a server says over HTTP when it is asked for its era, and how a modern one is spoken to.

use super::*;
use crate::mcp::handshake::HandshakeError;
use crate::mcp::{ACKNOWLEDGED, MODERN, Wish, meta};

fn of(request: &Request, method: &str) -> bool {
    request.message["method"] == method
}

fn failure(id: &Value, code: i32, data: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": "no", "data": data}}).to_string()
}

/// A server of the modern era, as strict as the specification lets it be.
fn modern(request: &Request) -> Reply {
    let id = &request.message["id"];
    let refuse = |status, code, data: Value| reply(status, "application/json", failure(id, code, &data));
    if request.method != "POST" {
        return reply(405, "text/plain", "");
    }
    let header = |name: &str| request.headers.get(name).map(|value| value.to_str().unwrap());
    let own = &request.message["params"]["_meta"];
    let method = request.message["method"].as_str().unwrap_or_default();
    if header("mcp-protocol-version") != own[meta::PROTOCOL].as_str() || header("mcp-method") != Some(method) {
        return refuse(400, -32020, json!(null));
    }
    if request.headers.contains_key("mcp-session-id") || !own[meta::CAPABILITIES].is_object() {
        return refuse(400, -32602, json!(null));
    }
    match method {
        "server/discover" => {
            let can = json!({"tools": {"listChanged": true}});
            json_reply(
                request,
                &json!({"resultType": "complete", "supportedVersions": [MODERN], "capabilities": can}),
            )
        }
        "tools/list" => json_reply(request, &json!({"tools": [{"name": "echo"}], "resultType": "complete"})),
        "tools/call" if header("mcp-name") == Some("=?base64?w6k=?=") => json_reply(request, &json!({"named": true})),
        "tools/call" => match request.message["params"]["name"].as_str() {
            Some("slow") => {
                events(vec![]).map(|_| Body::from_stream(futures_util::stream::pending::<Result<String, Infallible>>()))
            }
            Some("cut") => events(vec!["id: e-1\nretry: 100\ndata:\n\n".into()]),
            Some("echo") => {
                let headers: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
                json_reply(request, &json!({"headers": headers}))
            }
            _ => refuse(400, -32602, json!("unknown tool")),
        },
        "subscriptions/listen" => {
            let own = json!({meta::SUBSCRIPTION: id});
            let said = [ACKNOWLEDGED, "notifications/tools/list_changed"];
            let said = said.map(|method| event(&json!({"jsonrpc": "2.0", "method": method, "params": {"_meta": own}})));
            let said = futures_util::stream::iter(said.map(Ok::<_, Infallible>));
            let never = futures_util::stream::pending();
            events(vec![]).map(|_| Body::from_stream(futures_util::StreamExt::chain(said, never)))
        }
        _ => refuse(404, -32601, json!(null)),
    }
}

async fn greeted_by(
    script: impl Fn(&Request) -> Reply + Clone + Send + Sync + 'static,
) -> (Vec<String>, Result<String, HandshakeError>) {
    let (url, heard) = serve(script).await;
    let connection = open(&url, HttpTransport::Streamable);
    let result = greet(&connection, Opening::Http, Duration::from_millis(700)).await;
    let heard = locked(&heard).clone();
    let methods = heard.iter().filter_map(|request| request.message["method"].as_str());
    (
        methods.map(str::to_owned).collect(),
        result.map(|(greeting, _)| greeting.protocol),
    )
}

/// Each way in which the question can be answered. Nothing but an answer makes a server a legacy one.
#[tokio::test]
async fn every_answer_to_the_question_has_its_outcome() {
    const LEGACY: &[&str] = &[
        "server/discover",
        "initialize",
        "notifications/initialized",
        "tools/list",
    ];
    const ASKED: &[&str] = &["server/discover"];
    let (methods, protocol) = greeted_by(modern).await;
    assert_eq!(
        (&methods[..], protocol.unwrap().as_str()),
        (&["server/discover", "tools/list"].map(str::to_owned)[..], MODERN)
    );
    let unsupported = |versions: Value| json!({"supported": versions});
    let null = Value::Null;
    let table: Vec<(u16, &str, String, &[&str], &str)> = vec![
        (
            400,
            "text/plain",
            "Mcp-Session-Id is missing".into(),
            LEGACY,
            "2025-06-18",
        ),
        (
            400,
            "application/json",
            failure(&null, -32000, &null),
            LEGACY,
            "2025-06-18",
        ),
        (
            400,
            "application/json",
            failure(&json!("server-error"), -32600, &null),
            LEGACY,
            "2025-06-18",
        ),
        (400, "application/json", String::new(), LEGACY, "2025-06-18"),
        (404, "text/plain", "Not Found".into(), LEGACY, "2025-06-18"),
        (405, "text/plain", String::new(), LEGACY, "2025-06-18"),
        (406, "text/plain", String::new(), LEGACY, "2025-06-18"),
        (
            200,
            "application/json",
            failure(&null, -32601, &null),
            LEGACY,
            "2025-06-18",
        ),
        (200, "application/json", "{}".into(), LEGACY, "2025-06-18"),
        (200, "text/html", "<html>".into(), LEGACY, "2025-06-18"),
        (202, "text/plain", String::new(), LEGACY, "2025-06-18"),
        (
            400,
            "application/json",
            failure(&null, -32022, &unsupported(json!(["2025-06-18"]))),
            LEGACY,
            "2025-06-18",
        ),
        (
            400,
            "application/json",
            failure(&null, -32022, &unsupported(json!(["2027-01-01"]))),
            ASKED,
            "the server speaks MCP \"2027-01-01\"",
        ),
        (
            400,
            "application/json",
            failure(&null, -32020, &null),
            ASKED,
            "the server refused server/discover: no",
        ),
        (
            400,
            "application/json",
            failure(&null, -32021, &null),
            ASKED,
            "the server refused server/discover: no",
        ),
        (
            401,
            "text/plain",
            "who are you?".into(),
            ASKED,
            "HTTP 401 Unauthorized: who are you?",
        ),
        (403, "text/plain", String::new(), ASKED, "HTTP 403 Forbidden"),
        (429, "text/plain", String::new(), ASKED, "HTTP 429 Too Many Requests"),
        (
            500,
            "text/plain",
            "broken".into(),
            ASKED,
            "HTTP 500 Internal Server Error: broken",
        ),
        (
            307,
            "text/plain",
            String::new(),
            ASKED,
            "HTTP 307 Temporary Redirect: redirects are not followed",
        ),
        (
            200,
            "text/event-stream",
            String::new(),
            ASKED,
            "the server's stream ended before its answer",
        ),
    ];
    for (status, kind, body, want, verdict) in table {
        let name = format!("{status} {kind} {body}");
        let script = move |request: &Request| {
            if of(request, "server/discover") {
                reply(status, kind, body.clone())
            } else {
                standard(request)
            }
        };
        let (methods, protocol) = greeted_by(script).await;
        assert_eq!(methods, want, "{name}");
        let shown = protocol.unwrap_or_else(|error| error.to_string());
        assert!(shown.starts_with(verdict), "{name}: {shown}");
    }
    // Who is not ready, or says nothing, is asked again or given up: never taken for a legacy server.
    let (methods, protocol) = greeted_by(|_| reply(503, "text/plain", "starting")).await;
    assert!(methods.len() > 1 && methods.iter().all(|method| method == "server/discover"));
    let want = "the server did not answer server/discover within 1 s (HTTP 503 Service Unavailable)";
    assert_eq!(protocol.unwrap_err().to_string(), want);
    let mute = |_: &Request| {
        events(vec![]).map(|_| Body::from_stream(futures_util::stream::pending::<Result<String, Infallible>>()))
    };
    let (methods, protocol) = greeted_by(mute).await;
    assert_eq!(methods, ASKED);
    assert!(matches!(protocol, Err(HandshakeError::Silent { .. })));
}

async fn ask_modern(connection: &Connection, name: &str, wish: Wish) -> Call {
    let line = |id| envelope::request(id, "tools/call", &json!({"name": name, "_meta": meta::own()}));
    connection.call(line, wish).await.unwrap()
}

async fn told(connection: &Connection, name: &str) -> Result<Value, CallError> {
    let answer = ask_modern(connection, name, Wish::default()).await.answer().await?;
    Ok(serde_json::from_slice(&answer.with_id("7")).unwrap())
}

/// No session, no stream of its own, no farewell; what a message says stands in its headers too; an error with a status is
/// the caller's.
#[tokio::test]
async fn a_modern_server_is_spoken_to_without_a_session() {
    let (url, heard) = serve(modern).await;
    let connection = greeted(&url).await;
    let wish = Wish {
        headers: vec![(
            http::HeaderName::from_static("mcp-param-region"),
            http::HeaderValue::from_static("eu"),
        )],
        ..Wish::default()
    };
    let answer = ask_modern(&connection, "echo", wish).await.answer().await.unwrap();
    let headers = String::from_utf8(answer.with_id("7")).unwrap();
    for name in ["mcp-param-region", "mcp-method", "mcp-name", "mcp-protocol-version"] {
        assert_eq!(headers.matches(name).count(), 1, "{name}: {headers}");
    }
    assert_eq!(told(&connection, "é").await.unwrap()["result"]["named"], true);
    assert_eq!(
        told(&connection, "nope").await.unwrap()["error"]["data"],
        "unknown tool"
    );
    let cut = told(&connection, "cut").await.unwrap_err();
    assert_eq!(
        cut,
        CallError::Failed("the server's stream ended before its answer".into())
    );
    connection.let_go();
    connection.closed().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let heard = locked(&heard).clone();
    assert!(
        heard.iter().all(|request| request.method == "POST"),
        "no GET and no DELETE"
    );
    assert!(
        heard
            .iter()
            .all(|request| !request.headers.contains_key("mcp-session-id"))
    );
    assert!(!heard.iter().any(|request| of(request, "notifications/initialized")));
}

/// Giving up closes the stream, and is said by nothing else.
#[tokio::test]
async fn closing_the_stream_cancels() {
    let (url, heard) = serve(modern).await;
    let connection = greeted(&url).await;
    let slow = |request: &&Request| request.message["params"]["name"] == "slow";
    let mut calls = vec![];
    for _ in 0..300 {
        calls.push(ask_modern(&connection, "slow", Wish::default()).await);
    }
    until("the calls", || locked(&heard).iter().filter(slow).count() == 256).await;
    drop(calls);
    assert!(told(&connection, "echo").await.is_ok(), "their places are free again");
    assert_eq!(
        locked(&heard).iter().filter(slow).count(),
        256,
        "what waited was never sent"
    );
    assert!(
        !locked(&heard)
            .iter()
            .any(|request| of(request, "notifications/cancelled"))
    );
    // An answer to a question that no modern server may ask is not sent either.
    connection.notify(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_vec());
    assert!(told(&connection, "echo").await.is_ok());
    assert!(
        !locked(&heard)
            .iter()
            .any(|request| !request.message["result"].is_null())
    );
}

#[tokio::test]
async fn a_stream_of_notifications_is_heard() {
    let (url, _) = serve(modern).await;
    let connection = greeted(&url).await;
    let mut changed = connection.changed();
    let params = json!({"notifications": {"toolsListChanged": true}, "_meta": meta::own()});
    let wish = Wish {
        asides: true,
        standing: true,
        ..Wish::default()
    };
    let line = |id| envelope::request(id, "subscriptions/listen", &params);
    let mut call = connection.call(line, wish).await.unwrap();
    assert!(matches!(call.heard().await, Heard::Notice(notice) if &*notice.method == ACKNOWLEDGED));
    changed.wait_for(|times| *times.of(Kind::Tools) == 1).await.unwrap();
}
