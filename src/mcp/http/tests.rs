//! Conversations over HTTP with servers that misbehave.
#![expect(clippy::disallowed_methods, reason = "servers and drivers are tasks")]

mod eras;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response as Reply;
use futures_util::stream::StreamExt as _;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::kit::HttpTransport;
use crate::mcp::Wish;
use crate::mcp::fake::until;
use crate::mcp::handshake::{Opening, greet};
use crate::mcp::lists::Kind;
use crate::mcp::{Call, CallError, Connection, Heard, LOST, Options, envelope, locked};

use super::HttpClient;

const LONG: Duration = Duration::from_mins(1);

/// What a server heard: the method of HTTP, the headers, the message.
#[derive(Clone)]
struct Request {
    method: String,
    headers: HeaderMap,
    message: Value,
}

type Record = Arc<Mutex<Vec<Request>>>;

/// A server whose answers are up to `script`, and what it heard.
async fn serve(script: impl Fn(&Request) -> Reply + Clone + Send + Sync + 'static) -> (String, Record) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    serve_on(listener, script)
}

fn serve_on(
    listener: tokio::net::TcpListener,
    script: impl Fn(&Request) -> Reply + Clone + Send + Sync + 'static,
) -> (String, Record) {
    let heard = Record::default();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let memory = Arc::clone(&heard);
    let app = axum::Router::new().fallback(move |request: axum::extract::Request| {
        let (memory, script) = (Arc::clone(&memory), script.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let request = Request {
                method: parts.method.to_string(),
                headers: parts.headers,
                message: serde_json::from_slice(&body).unwrap_or_default(),
            };
            locked(&memory).push(request.clone());
            script(&request)
        }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, heard)
}

fn reply(status: u16, kind: &str, body: impl Into<Body>) -> Reply {
    let builder = Reply::builder().status(status).header("content-type", kind);
    builder.header("mcp-session-id", "s-1").body(body.into()).unwrap()
}

fn json_reply(request: &Request, result: &Value) -> Reply {
    let answer = json!({"jsonrpc": "2.0", "id": request.message["id"], "result": result});
    reply(200, "application/json; charset=utf-8", answer.to_string())
}

fn standard(request: &Request) -> Reply {
    match request.message["method"].as_str() {
        Some("initialize") => {
            let can = json!({"tools": {}});
            json_reply(request, &json!({"protocolVersion": "2025-06-18", "capabilities": can}))
        }
        Some("tools/list") => json_reply(request, &json!({"tools": [{"name": "echo"}]})),
        Some("tools/call") => json_reply(request, &json!({"echo": request.message["params"]})),
        Some(_) => reply(202, "text/plain", ""),
        None => reply(405, "text/plain", "no stream here"),
    }
}

fn open(url: &str, transport: HttpTransport) -> Connection {
    let (connection, driver) = Connection::open_http(&HttpClient::default(), url, transport, Options::default());
    tokio::spawn(driver);
    connection
}

async fn greeted(url: &str) -> Connection {
    let connection = open(url, HttpTransport::Streamable);
    greet(&connection, Opening::Http, LONG).await.unwrap();
    connection
}

async fn ask(connection: &Connection, name: &str, progress: bool) -> Result<Call, CallError> {
    let line = |id| envelope::request(id, "tools/call", &json!({"name": name, "_meta": {"progressToken": id}}));
    let wish = Wish {
        asides: progress,
        ..Wish::default()
    };
    connection.call(line, wish).await
}

async fn answered(connection: &Connection, name: &str) -> Result<Value, CallError> {
    let answer = ask(connection, name, false).await?.answer().await?;
    Ok(serde_json::from_slice(&answer.with_id("7")).unwrap())
}

/// Nothing overtakes `initialized`; the session and the version go with everything that follows; the session is ended.
#[tokio::test]
async fn a_server_is_greeted_spoken_to_and_left() {
    let (url, heard) = serve(standard).await;
    let connection = greeted(&url).await;
    assert_eq!(
        answered(&connection, "echo").await.unwrap()["result"]["echo"]["name"],
        "echo"
    );
    until("the stream is asked for", || {
        locked(&heard).iter().any(|request| request.method == "GET")
    })
    .await;
    connection.let_go();
    until("the session is ended", || {
        locked(&heard).iter().any(|request| request.method == "DELETE")
    })
    .await;
    let heard = locked(&heard).clone();
    let methods: Vec<_> = heard
        .iter()
        .filter_map(|request| request.message["method"].as_str())
        .collect();
    assert_eq!(
        methods,
        [
            "server/discover",
            "initialize",
            "notifications/initialized",
            "tools/list",
            "tools/call"
        ]
    );
    assert_eq!(heard[0].headers["mcp-protocol-version"], "2026-07-28");
    assert_eq!(heard[0].headers["mcp-method"], "server/discover");
    for request in &heard[1..] {
        let first = request.message["method"] == "initialize";
        let header = |name: &str| {
            request
                .headers
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(header("mcp-session-id").as_deref(), (!first).then_some("s-1"));
        let version = (!first && request.method != "DELETE").then_some("2025-06-18");
        assert_eq!(header("mcp-protocol-version").as_deref(), version);
        let accept = match request.method.as_str() {
            "POST" => Some("application/json, text/event-stream"),
            "GET" => Some("text/event-stream"),
            _ => None,
        };
        assert_eq!(header("accept").as_deref(), accept);
    }
}

#[tokio::test]
async fn initialized_is_awaited_before_anything_else() {
    let done = Arc::new(Mutex::new(false));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(move |request: axum::extract::Request| {
        let done = Arc::clone(&done);
        async move {
            let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
            let message: Value = serde_json::from_slice(&body).unwrap_or_default();
            if message["method"] == "notifications/initialized" {
                tokio::time::sleep(Duration::from_millis(100)).await;
                *locked(&done) = true;
            }
            if message["method"] == "tools/list" && !*locked(&done) {
                return reply(400, "text/plain", "not initialized");
            }
            let request = Request {
                method: String::new(),
                headers: HeaderMap::new(),
                message,
            };
            standard(&request)
        }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    greeted(&url).await;
}

fn events(pieces: Vec<String>) -> Reply {
    let pieces = futures_util::stream::iter(pieces.into_iter().map(Ok::<_, Infallible>));
    reply(200, "text/event-stream", Body::from_stream(pieces))
}

fn event(message: &Value) -> String {
    format!("data: {message}\n\n")
}

#[tokio::test]
async fn an_answer_may_be_a_stream() {
    let (url, heard) = serve(|request| match request.message["params"]["name"].as_str() {
        Some("steps") => {
            let id = &request.message["id"];
            let progress = |n: u32| {
                let params = json!({"progressToken": id, "progress": n});
                event(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
            };
            let answer = event(&json!({"jsonrpc": "2.0", "id": id, "result": {"done": true}}));
            let changed = event(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
            let ping = event(&json!({"jsonrpc": "2.0", "id": "p", "method": "ping"}));
            events(vec![
                ": hello\n\n".into(),
                progress(1),
                changed,
                ping,
                progress(2),
                answer,
            ])
        }
        _ => standard(request),
    })
    .await;
    let connection = greeted(&url).await;
    let changed = connection.changed();
    let mut call = ask(&connection, "steps", true).await.unwrap();
    assert!(matches!(call.heard().await, Heard::Progress(_)));
    assert!(matches!(call.heard().await, Heard::Progress(_)));
    assert!(matches!(call.heard().await, Heard::Answer(Ok(_))));
    assert_eq!(*changed.borrow().of(Kind::Tools), 1);
    until("the server's ping is answered", || {
        locked(&heard)
            .iter()
            .any(|request| request.message["id"] == "p" && request.message["result"] == json!({}))
    })
    .await;
}

/// A stream that ends before its answer is opened again where its events have ids; elsewhere the call fails. It is not
/// sent again.
#[tokio::test]
async fn a_stream_that_is_cut_is_gone_on_with() {
    let id = Arc::new(Mutex::new(Value::Null));
    let (url, heard) = serve(move |request| {
        let answer = || event(&json!({"jsonrpc": "2.0", "id": *locked(&id), "result": {"late": true}}));
        match (
            request.message["params"]["name"].as_str(),
            request.headers.get("last-event-id"),
        ) {
            (Some("ids"), _) => {
                *locked(&id) = request.message["id"].clone();
                events(vec!["id: e-1\nretry: 100\ndata:\n\n".into()])
            }
            (Some("none"), _) => events(vec![": nothing\n\n".into()]),
            (None, Some(last)) if last == "e-1" => events(vec![answer()]),
            _ => standard(request),
        }
    })
    .await;
    let connection = greeted(&url).await;
    assert_eq!(answered(&connection, "ids").await.unwrap()["result"]["late"], true);
    let error = answered(&connection, "none").await.unwrap_err();
    assert_eq!(
        error,
        CallError::Failed("the server's stream ended before its answer".into())
    );
    let calls = locked(&heard)
        .iter()
        .filter(|request| request.message["method"] == "tools/call")
        .count();
    assert_eq!(calls, 2);
}

/// Each is an error of its own call, in words, with the status; the conversation goes on.
#[tokio::test]
async fn errors_are_said_in_words() {
    let (elsewhere, reached) = serve(standard).await;
    let (url, _) = serve(move |request| {
        let id = &request.message["id"];
        let own = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -5, "message": "no"}}).to_string();
        let nobodys =
            json!({"jsonrpc": "2.0", "id": null, "error": {"code": -5, "message": "bad\u{1b} version"}}).to_string();
        match request.message["params"]["name"].as_str() {
            Some("500") => reply(500, "text/plain", "it broke\nsomewhere"),
            Some("page") => reply(502, "text/html", "<html>"),
            Some("own") => reply(400, "application/json", own),
            Some("nobodys") => reply(400, "application/json", nobodys),
            Some("moved") => {
                let mut moved = reply(307, "text/plain", "");
                moved.headers_mut().insert("location", elsewhere.parse().unwrap());
                moved
            }
            Some("202") => reply(202, "text/plain", ""),
            Some("text") => reply(200, "text/plain", "hello"),
            Some("other") => reply(200, "application/json", "{}"),
            _ => standard(request),
        }
    })
    .await;
    let connection = greeted(&url).await;
    for (name, want) in [
        ("500", "HTTP 500 Internal Server Error: it broke"),
        ("page", "HTTP 502 Bad Gateway"),
        ("nobodys", "HTTP 400 Bad Request: bad  version"),
        ("moved", "HTTP 307 Temporary Redirect: redirects are not followed"),
        ("202", "HTTP 202 Accepted instead of an answer"),
        ("text", "HTTP 200 OK instead of an answer"),
        (
            "other",
            "the server answered with something that is no answer to the request",
        ),
    ] {
        assert_eq!(answered(&connection, name).await, Err(CallError::Failed(want.into())));
    }
    assert_eq!(answered(&connection, "own").await.unwrap()["error"]["code"], -5);
    assert!(answered(&connection, "echo").await.is_ok());
    assert!(locked(&reached).is_empty(), "nobody else is spoken to");
}

#[tokio::test]
async fn an_answer_has_an_end() {
    let (url, _) = serve(|request| match request.message["params"]["name"].as_str() {
        Some("json") => reply(200, "application/json", "x".repeat(200_000)),
        Some("events") => reply(200, "text/event-stream", format!("data: {}", "x".repeat(200_000))),
        _ => standard(request),
    })
    .await;
    let options = Options {
        longest_line: 100_000,
        ..Options::default()
    };
    let (connection, driver) = Connection::open_http(&HttpClient::default(), &url, HttpTransport::Streamable, options);
    tokio::spawn(driver);
    greet(&connection, Opening::Http, LONG).await.unwrap();
    for (name, want) in [
        ("json", "length limit exceeded"),
        ("events", "the server sent an event of more than 100000 bytes"),
    ] {
        assert_eq!(answered(&connection, name).await, Err(CallError::Failed(want.into())));
    }
}

/// A session that the server does not know any more ends the conversation, and everything in flight with it.
#[tokio::test]
async fn a_lost_session_ends_the_conversation() {
    let (url, heard) = serve(|request| match request.message["params"]["name"].as_str() {
        Some("slow") => {
            events(vec![]).map(|_| Body::from_stream(futures_util::stream::pending::<Result<String, Infallible>>()))
        }
        Some("lost") => reply(404, "text/plain", "Session not found"),
        _ => standard(request),
    })
    .await;
    let connection = greeted(&url).await;
    let slow = ask(&connection, "slow", false).await.unwrap();
    assert_eq!(answered(&connection, "lost").await, Err(CallError::Ended(LOST.into())));
    assert_eq!(slow.answer().await.err(), Some(CallError::Ended(LOST.into())));
    assert_eq!(&*connection.closed().await, LOST);
    assert_eq!(
        answered(&connection, "echo").await,
        Err(CallError::NotSent(LOST.into()))
    );
    assert!(!locked(&heard).iter().any(|request| request.method == "DELETE"));
}

/// A server that does not listen yet is tried again; one that never does is told with the reason.
#[tokio::test]
async fn a_server_may_take_its_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://{address}/mcp");
    for transport in [HttpTransport::Streamable, HttpTransport::Sse] {
        let early = open(&url, transport);
        let (opening, method) = match transport {
            HttpTransport::Streamable => (Opening::Http, "server/discover"),
            HttpTransport::Sse => (Opening::Legacy, "initialize"),
        };
        let error = greet(&early, opening, Duration::from_secs(1))
            .await
            .unwrap_err()
            .to_string();
        let want = format!("the server did not answer {method} within 1 s (Connection refused");
        assert!(error.starts_with(&want), "{error}");
    }
    let waiting = open(&url, HttpTransport::Streamable);
    let greeting = tokio::spawn(async move { greet(&waiting, Opening::Http, LONG).await.map(|_| waiting) });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let starting = Arc::new(Mutex::new(2));
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let (_, heard) = serve_on(listener, move |request| {
        let mut left = locked(&starting);
        if *left > 0 {
            *left -= 1;
            return reply(503, "text/plain", "starting");
        }
        standard(request)
    });
    let connection = greeting.await.unwrap().unwrap();
    assert!(locked(&heard).len() >= 4);
    assert!(answered(&connection, "echo").await.is_ok());
    let error = greet(
        &open("https://localhost/", HttpTransport::Streamable),
        Opening::Http,
        LONG,
    )
    .await
    .unwrap_err();
    assert_eq!(error.to_string(), "the server's address is no http:// URL");
}

#[tokio::test]
async fn who_gives_up_cancels_over_http_too() {
    let (url, heard) = serve(|request| match request.message["params"]["name"].as_str() {
        Some("slow") => {
            events(vec![]).map(|_| Body::from_stream(futures_util::stream::pending::<Result<String, Infallible>>()))
        }
        _ => standard(request),
    })
    .await;
    let connection = greeted(&url).await;
    // More than may be open at once: giving up makes room.
    let calls = futures_util::stream::iter(0..300).then(|_| ask(&connection, "slow", false));
    let calls: Vec<_> = calls.collect().await;
    let slow = |request: &&Request| request.message["params"]["name"] == "slow";
    until("the calls", || locked(&heard).iter().filter(slow).count() == 256).await;
    drop(calls);
    let cancelled = |request: &&Request| request.message["method"] == "notifications/cancelled";
    until("the cancellations", || {
        locked(&heard).iter().filter(cancelled).count() == 256
    })
    .await;
    assert!(answered(&connection, "echo").await.is_ok());
    assert_eq!(
        locked(&heard).iter().filter(slow).count(),
        256,
        "what waited was never sent"
    );
}

/// A caller whose calls take every place keeps nobody else's waiting.
#[tokio::test]
async fn one_callers_calls_leave_others_room() {
    let (url, heard) = serve(|request| match request.message["params"]["name"].as_str() {
        Some("slow") => {
            events(vec![]).map(|_| Body::from_stream(futures_util::stream::pending::<Result<String, Infallible>>()))
        }
        _ => standard(request),
    })
    .await;
    let connection = greeted(&url).await;
    let of = |caller: &str| Wish {
        share: Some(caller.into()),
        ..Wish::default()
    };
    let line = |name: &'static str| move |id| envelope::request(id, "tools/call", &json!({"name": name}));
    let mut calls = vec![];
    for _ in 0..300 {
        calls.push(connection.call(line("slow"), of("anna")).await.unwrap());
    }
    let slow = |request: &&Request| request.message["params"]["name"] == "slow";
    until("the calls", || locked(&heard).iter().filter(slow).count() == 256).await;
    for _ in 0..100 {
        let call = connection.call(line("echo"), of("bert")).await.unwrap();
        assert!(call.answer().await.is_ok());
    }
    assert!(answered(&connection, "echo").await.is_ok(), "nor mcpd's own");
    assert_eq!(locked(&heard).iter().filter(slow).count(), 256);
}

/// What the server says by itself is heard, also on a stream that is opened again.
#[tokio::test]
async fn the_servers_own_stream_is_heard() {
    let times = Arc::new(Mutex::new(0));
    let (url, heard) = serve(move |request| {
        if request.method != "GET" {
            return standard(request);
        }
        *locked(&times) += 1;
        let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
        match *locked(&times) {
            1 => events(vec![format!("id: e-1\nretry: 100\n{}", event(&changed))]),
            2 => reply(500, "text/plain", ""),
            3 => events(vec![event(&changed)]),
            _ => reply(405, "text/plain", ""),
        }
    })
    .await;
    let connection = greeted(&url).await;
    let mut changed = connection.changed();
    changed.wait_for(|times| *times.of(Kind::Tools) == 2).await.unwrap();
    let last = |request: &Request| request.headers.get("last-event-id").is_some_and(|id| id == "e-1");
    assert!(locked(&heard).iter().any(last), "it goes on where it was cut");
    assert!(answered(&connection, "echo").await.is_ok());
}

/// The transport before: everything is heard on one stream, and its end is the session's.
#[tokio::test]
async fn the_old_transport_is_spoken() {
    let (say, said) = tokio::sync::mpsc::unbounded_channel::<String>();
    let said = Arc::new(Mutex::new(Some(said)));
    let saying = say.clone();
    let (url, heard) = serve(move |request| {
        if request.method == "GET" {
            let Some(mut said) = locked(&said).take() else {
                return reply(503, "text/plain", "one at a time");
            };
            let events = futures_util::stream::poll_fn(move |context| {
                said.poll_recv(context)
                    .map(|event| event.filter(|event| event != "end").map(Ok::<_, Infallible>))
            });
            let _ = saying.send("event: endpoint\ndata: http://elsewhere.example/message?sessionId=9\n\n".into());
            return reply(200, "text/event-stream", Body::from_stream(events));
        }
        let answer = standard(request);
        if answer.status() == StatusCode::OK {
            let body = futures_util::FutureExt::now_or_never(axum::body::to_bytes(answer.into_body(), usize::MAX));
            let body = body.unwrap().unwrap();
            let _ = saying.send(format!(
                "event: message\ndata: {}\n\n",
                std::str::from_utf8(&body).unwrap()
            ));
        }
        reply(202, "text/plain", "Accepted")
    })
    .await;
    let connection = open(&url, HttpTransport::Sse);
    let (greeting, lists) = greet(&connection, Opening::Legacy, LONG).await.unwrap();
    assert_eq!((greeting.protocol.as_str(), lists.counts().tools), ("2025-06-18", 1));
    assert!(answered(&connection, "echo").await.is_ok());
    let has_session = |request: &Request| request.headers.contains_key("mcp-session-id");
    assert!(!locked(&heard).iter().any(has_session));
    say.send("end".into()).unwrap();
    assert_eq!(&*connection.closed().await, LOST);
}
