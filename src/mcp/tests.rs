//! Connections and handshakes against servers that misbehave.
#![expect(clippy::disallowed_methods, reason = "the drivers of connections are tasks")]

mod eras;

use std::time::Duration;

use serde_json::{Value, json};

use super::fake::{Fake, tool, until};
use super::handshake::{HandshakeError, Opening, greet};
use super::lists::{Kind, Lists};
use super::*;
use crate::kit::Pipes;
use crate::record::Greeting;

const LONG: Duration = Duration::from_mins(1);
const PROBED: Opening = Opening::Process(LONG);

fn open(pipes: Pipes) -> Connection {
    open_with(pipes, Options::default())
}

fn open_with(pipes: Pipes, options: Options) -> Connection {
    let (connection, driver) = Connection::open(pipes, options);
    tokio::spawn(driver);
    connection
}

/// Everything is wanted.
fn asides() -> Wish {
    Wish {
        asides: true,
        ..Wish::default()
    }
}

async fn ask(connection: &Connection, params: Value) -> Result<Call, CallError> {
    let line = |id| envelope::request(id, "tools/call", &params);
    connection.call(line, Wish::default()).await
}

async fn answered(connection: &Connection, params: Value) -> Result<Value, CallError> {
    let answer = ask(connection, params).await?.answer().await?;
    Ok(serde_json::from_slice(&answer.with_id("7")).unwrap())
}

async fn echo(connection: &Connection, n: usize) {
    let answer = answered(connection, json!({"name": "echo", "arguments": {"n": n}}))
        .await
        .unwrap();
    assert_eq!(answer["id"], 7);
    assert_eq!(answer["result"]["content"][0]["text"], json!({"n": n}).to_string());
    assert_eq!(answer["result"]["unknownField"], 1);
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let (_fake, pipes) = Fake::with_tools(&[]);
    let connection = open(pipes);
    futures_util::future::join_all((0..500).map(|n| echo(&connection, n))).await;
    assert_eq!((connection.in_flight(), connection.ignored()), (0, 0));
}

/// pitfalls.md, Stdio: "answers to the last life's ids", "a server's question shown to the wrong caller on a shared
/// connection" (it is shown to nobody). Also lines that are no messages.
#[tokio::test]
async fn noise_is_counted_and_skipped() {
    let (fake, pipes) = Fake::with_tools(&[]);
    let connection = open(pipes);
    fake.say_raw("Server listening on stdio\n\n\u{1b}[31m{oops\n[]\n");
    fake.say_raw(b"\xff\xfe\n".to_vec());
    fake.say(&json!({"jsonrpc": "2.0", "id": 3, "result": {}}));
    fake.say(&json!({"jsonrpc": "2.0", "id": "text", "result": {}}));
    fake.say(
        &json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 3, "progress": 1}}),
    );
    fake.say(&json!({"jsonrpc": "2.0", "id": "p", "method": "ping"}));
    fake.say(&json!({"jsonrpc": "2.0", "id": 9, "method": "sampling/createMessage", "params": {}}));
    echo(&connection, 1).await;
    assert_eq!(connection.ignored(), 7);
    until("answers to the server", || locked(&fake.heard).len() == 3).await;
    let heard = locked(&fake.heard).clone();
    assert!(heard.contains(&json!({"jsonrpc": "2.0", "id": "p", "result": {}})));
    let refusal = heard.iter().find(|message| message["id"] == 9).unwrap();
    assert_eq!(refusal["error"]["code"], -32000, "nobody can be asked");
}

#[tokio::test]
async fn an_end_reaches_everything_in_flight_and_all_that_comes_later() {
    let (fake, pipes) = Fake::with_tools(&[]);
    let connection = open(pipes);
    let slow = ask(&connection, json!({"name": "slow"})).await.unwrap();
    fake.say_raw("{\"jsonrpc\":\"2.0\",\"id\":1,\"res");
    fake.close();
    let closed = "the server closed its output";
    assert_eq!(slow.answer().await.err(), Some(CallError::Ended(closed.into())));
    let late = answered(&connection, json!({"name": "echo"})).await;
    assert_eq!(late, Err(CallError::NotSent(closed.into())));
    assert_eq!(&*connection.closed().await, closed);
    assert_eq!(connection.in_flight(), 0);
}

#[tokio::test]
async fn a_line_without_end_ends_the_connection() {
    let (fake, pipes) = Fake::with_tools(&[]);
    let longest_line = 100_000;
    let connection = open_with(
        pipes,
        Options {
            longest_line,
            ..Options::default()
        },
    );
    fake.say_raw(format!("{}\n", " ".repeat(90_000)));
    echo(&connection, 1).await;
    let call = ask(&connection, json!({"name": "slow"})).await.unwrap();
    fake.say_raw("x".repeat(200_000));
    let error = call.answer().await.unwrap_err();
    assert_eq!(error.to_string(), "the server wrote a line of more than 100000 bytes");
}

/// pitfalls.md, Stdio: "a line cut by a crash swallows the next message (send a bare newline first)".
#[tokio::test]
async fn a_bare_newline_comes_first_where_asked_for() {
    let (fake, pipes) = Fake::with_tools(&[]);
    let connection = open_with(
        pipes,
        Options {
            newline_first: true,
            ..Options::default()
        },
    );
    echo(&connection, 1).await;
    assert_eq!(locked(&fake.heard)[0], json!({"line": ""}));
}

#[tokio::test]
async fn who_gives_up_cancels() {
    let (fake, pipes) = Fake::with_tools(&[]);
    let connection = open(pipes);
    let call = ask(&connection, json!({"name": "slow"})).await.unwrap();
    until("the call", || fake.heard("tools/call").len() == 1).await;
    let given = tokio::time::timeout(Duration::from_millis(1), call.answer()).await;
    assert!(given.is_err());
    until("the cancellation", || fake.heard("notifications/cancelled").len() == 1).await;
    let cancelled = &fake.heard("notifications/cancelled")[0];
    assert_eq!(cancelled["params"]["requestId"], fake.heard("tools/call")[0]["id"]);
    assert_eq!(connection.in_flight(), 0);
    echo(&connection, 1).await;
    assert_eq!(
        fake.heard("notifications/cancelled").len(),
        1,
        "an answered call is not cancelled"
    );
}

#[tokio::test]
async fn progress_comes_in_order_before_the_answer() {
    let (_fake, pipes) = Fake::with_tools(&[]);
    let connection = open(pipes);
    for _ in 0..50 {
        let line = |id| {
            envelope::request(
                id,
                "tools/call",
                &json!({"name": "progress", "_meta": {"progressToken": id}}),
            )
        };
        let mut call = connection.call(line, asides()).await.unwrap();
        for step in 1..=3 {
            let Heard::Progress(progress) = call.heard().await else {
                panic!("the answer came first")
            };
            let told: Value = serde_json::from_slice(&progress.with_token("\"mine\"")).unwrap();
            assert_eq!(
                told["params"],
                json!({"progressToken": "mine", "progress": step, "extra": "kept"})
            );
        }
        assert!(matches!(call.heard().await, Heard::Answer(Ok(_))));
    }
}

/// What waits for a reader who does not read is bounded in bytes, whatever its lines are long; a question counts until it is
/// answered, and one that finds no room is refused.
#[tokio::test]
async fn what_is_said_aside_is_bounded_in_bytes() {
    const LINE: usize = 1 << 20;
    let (fake, pipes) = Fake::with_tools(&[]);
    let connection = open(pipes);
    let wish = Wish {
        owner: Some("anna".into()),
        ..asides()
    };
    let line = |id| envelope::request(id, "tools/call", &json!({"name": "slow"}));
    let mut call = connection.call(line, wish).await.unwrap();
    until("the call", || fake.heard("tools/call").len() == 1).await;
    let text = "x".repeat(LINE);
    let ask = |id: &str| {
        let params = json!({"message": text});
        fake.say(&json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": params}));
    };
    let answered = async |id: &str| {
        let mut error = false;
        until("an answer", || {
            let heard = locked(&fake.heard);
            let answer = heard
                .iter()
                .find(|message| message["id"] == id && message["method"].is_null());
            error = answer.is_some_and(|answer| answer["error"].is_object());
            answer.is_some()
        })
        .await;
        error
    };
    ask("first");
    for _ in 0..50 {
        fake.say(
            &json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": text}}),
        );
    }
    ask("late");
    assert!(answered("late").await, "there is no room");
    let mut heard = 0;
    let Heard::Question(question) = call.heard().await else {
        panic!("what was said first is heard first")
    };
    while let Ok(Heard::Notice(notice)) = tokio::time::timeout(Duration::from_millis(100), call.heard()).await {
        heard += notice.line.len();
    }
    assert!((LINE..=3 * LINE).contains(&heard), "{heard} bytes were kept");
    for id in ["second", "third"] {
        ask(id);
    }
    let mut open = vec![question];
    while open.len() < 3 {
        if let Heard::Question(question) = call.heard().await {
            open.push(question);
        }
    }
    ask("fourth");
    assert!(answered("fourth").await, "three are open");
    drop(open);
    ask("fifth");
    assert!(matches!(call.heard().await, Heard::Question(_)), "there is room again");
}

/// A server that does not read makes its callers wait, and costs no more memory than what may be queued.
#[tokio::test]
async fn a_server_that_does_not_read_holds_its_callers_back() {
    let (ours, theirs) = tokio::io::duplex(1_024);
    let (reader, writer) = tokio::io::split(ours);
    let connection = open(Pipes {
        reader: Box::new(reader),
        writer: Box::new(writer),
    });
    let big = json!({"name": "x".repeat(4 << 20)});
    let mut calls = vec![];
    let stuck = loop {
        match tokio::time::timeout(Duration::from_millis(300), ask(&connection, big.clone())).await {
            Ok(call) => calls.push(call.unwrap()),
            Err(_) => break calls.len(),
        }
    };
    assert!((3..=5).contains(&stuck), "{stuck} calls of 4 MiB were taken");
    drop(theirs);
    let ends = futures_util::future::join_all(calls.into_iter().map(Call::answer)).await;
    assert!(ends.iter().all(|end| matches!(end, Err(CallError::Ended(_)))));
}

fn keys(lists: &Lists, kind: Kind) -> Vec<&str> {
    lists.of(kind).iter().map(|entry| &*entry.key).collect()
}

async fn greeted(script: impl Fn(&Fake, &Value) + Send + Sync + 'static) -> Result<(Greeting, Lists), HandshakeError> {
    greeted_within(script, LONG).await
}

async fn greeted_within(
    script: impl Fn(&Fake, &Value) + Send + Sync + 'static,
    within: Duration,
) -> Result<(Greeting, Lists), HandshakeError> {
    let (_fake, pipes) = Fake::scripted(script);
    greet(&open(pipes), PROBED, within).await
}

#[tokio::test]
async fn a_server_is_greeted() {
    let (fake, pipes) = Fake::with_tools(&["a", "b"]);
    let (greeting, lists) = greet(&open(pipes), PROBED, LONG).await.unwrap();
    assert_eq!((&*greeting.protocol, &*greeting.server), ("2025-11-25", "fake 1"));
    assert_eq!(keys(&lists, Kind::Tools), ["a", "b"]);
    let heard = locked(&fake.heard).clone();
    let methods: Vec<_> = heard
        .iter()
        .map(|message| message["method"].as_str().unwrap())
        .collect();
    assert_eq!(
        methods,
        [
            "server/discover",
            "initialize",
            "notifications/initialized",
            "tools/list"
        ]
    );
}

#[tokio::test]
async fn every_legacy_version_is_accepted_and_no_other() {
    for version in [
        "2024-11-05",
        "2025-03-26",
        "2025-06-18",
        "2025-11-25",
        "2026-07-28",
        "1.0",
    ] {
        let result = greeted(move |fake, message| {
            fake.answer(&message["id"], &json!({"protocolVersion": version, "capabilities": {}}));
        });
        match result.await {
            Ok((greeting, lists)) => {
                assert!(VERSIONS.contains(&version));
                assert_eq!((greeting.protocol.as_str(), lists), (version, Lists::default()));
            }
            Err(error) => {
                assert_eq!(error, HandshakeError::Version(version.into()));
                assert!(!VERSIONS.contains(&version));
            }
        }
    }
}

#[tokio::test]
async fn pages_are_read_and_one_bad_entry_costs_no_other() {
    let result = greeted(
        |fake, message| match (message["method"].as_str(), message["params"]["cursor"].as_str()) {
            (Some("tools/list"), None) => {
                fake.answer(&message["id"], &json!({"tools": [tool("a"), {}, 7], "nextCursor": "2"}));
            }
            (Some("tools/list"), _) => {
                fake.answer(&message["id"], &json!({"tools": [tool("a"), {"name": ""}, tool("b")]}));
            }
            _ => fake.standard(message),
        },
    );
    assert_eq!(keys(&result.await.unwrap().1, Kind::Tools), ["a", "b"]);
}

#[tokio::test]
async fn bad_servers_are_told_by_one_line() {
    let refusing = |fake: &Fake, message: &Value| {
        let error = json!({"code": -1, "message": "no\nlicence \u{1b}[1m"});
        fake.say(&json!({"jsonrpc": "2.0", "id": message["id"], "error": error}));
    };
    let endless = |fake: &Fake, message: &Value| match message["method"].as_str() {
        Some("tools/list") => fake.answer(&message["id"], &json!({"tools": [], "nextCursor": "again"})),
        _ => fake.standard(message),
    };
    let listless = |fake: &Fake, message: &Value| match message["method"].as_str() {
        Some("tools/list") => fake.answer(&message["id"], &json!({"tools": {}})),
        _ => fake.standard(message),
    };
    let nonsense = |fake: &Fake, message: &Value| fake.answer(&message["id"], &json!(["hello"]));
    let leaving = |fake: &Fake, _: &Value| fake.close();
    let silent = greeted_within(|_, _| {}, Duration::from_millis(20)).await;
    let table = [
        (
            greeted(refusing).await,
            "the server refused initialize: no licence  [1m",
        ),
        (
            greeted(nonsense).await,
            "the server's answer to initialize makes no sense: ",
        ),
        (greeted(leaving).await, "the server closed its output"),
        (
            greeted(endless).await,
            "the server lists more than 10000 tools or 1000 pages",
        ),
        (
            greeted(listless).await,
            "the server's answer to tools/list makes no sense: ",
        ),
        (silent, "the server did not answer server/discover within 1 s"),
    ];
    for (result, want) in table {
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with(want) && !error.contains(char::is_control), "{error}");
    }
}

/// MCP forbids that `initialize` is cancelled.
#[tokio::test]
async fn a_late_initialize_is_not_cancelled() {
    let (fake, pipes) = Fake::scripted(|_, _| {});
    let connection = open(pipes);
    assert!(greet(&connection, PROBED, Duration::from_millis(20)).await.is_err());
    connection.notify(b"{}\n".to_vec());
    until("the last message", || locked(&fake.heard).contains(&json!({}))).await;
    assert_eq!(locked(&fake.heard).len(), 2);
}
