//! What is bounded: what one may take of what others need, and for how long.

use std::time::Duration;

use serde_json::{Value, json};

use super::pairs::{Peer, everything, server};
use crate::record::Era;

const LONG: Duration = Duration::from_hours(1);

/// A call that waits for a client which does not come back gives way to others, and to nobody else: a person may take long.
#[tokio::test]
async fn an_abandoned_question_gives_way_to_others() {
    let (world, fake) = server(Era::Legacy, &["form", "sample"]).await;
    let anna = Peer::new(&world, Era::Modern, everything()).await;
    let bert = Peer::of(&world, Era::Legacy, everything(), "bert").await;
    let waiting = &world.gateway.0.waiting;
    for (tool, answer) in [("form", json!({"action": "cancel"})), ("sample", Value::Null)] {
        let params = json!({"name": format!("s__{tool}")});
        let held = anna.once(1, "tools/call", params.clone()).await;
        assert_eq!(held.answer["result"]["resultType"], "input_required", "{held:?}");
        assert_eq!(
            waiting.end_over(Duration::ZERO, LONG).await,
            0,
            "nobody is kept waiting by it"
        );
        let turned_away = bert.call("s__form").await;
        assert_eq!(turned_away.asked.len(), 0, "{turned_away:?}");
        assert_eq!(
            waiting.end_over(LONG, LONG).await,
            0,
            "its client was here a moment ago"
        );
        assert_eq!(waiting.end_over(Duration::ZERO, LONG).await, 1);
        // The server ended the call by itself, so that nothing is in doubt after it.
        let asked = bert.call("s__form").await;
        assert_eq!(asked.asked.len(), 1, "{asked:?}");
        let told = fake.heard("tools/call")[0]["id"].clone();
        let answers = crate::mcp::locked(&fake.heard).clone();
        let heard = answers
            .iter()
            .find(|message| message["id"] == json!(format!("question {told}")));
        assert!(heard.is_some(), "{answers:?}");
        if tool == "form" {
            assert_eq!(heard.unwrap()["result"], answer);
        }
        let mut late = params;
        late["requestState"] = held.answer["result"]["requestState"].clone();
        late["inputResponses"] = json!({"q0": {"action": "accept", "content": {}}});
        let late = anna.once(2, "tools/call", late).await;
        assert!(late.answer.to_string().contains("not run again"), "{late:?}");
    }
}

/// However often a client comes back without an answer, its question waits no longer for that.
#[tokio::test]
async fn an_empty_retry_buys_no_time() {
    const HOLDS: Duration = Duration::from_millis(400);
    let (world, _fake) = server(Era::Legacy, &["form"]).await;
    let peer = Peer::new(&world, Era::Modern, everything()).await;
    let mut said = peer.once(1, "tools/call", json!({"name": "s__form"})).await;
    tokio::time::sleep(HOLDS).await;
    for round in 2..4 {
        let state = said.answer["result"]["requestState"].clone();
        let params = json!({"name": "s__form", "requestState": state, "inputResponses": {}});
        said = peer.once(round, "tools/call", params).await;
        assert_eq!(said.answer["result"]["resultType"], "input_required", "{said:?}");
    }
    assert_eq!(world.gateway.0.waiting.end_over(LONG, HOLDS).await, 1);
}

/// Calls that wait for their clients keep nothing of their requests, and of one caller so many bytes of questions.
#[tokio::test]
async fn held_calls_are_bounded_in_bytes() {
    let (world, fake) = server(Era::Legacy, &["slow"]).await;
    let anna = Peer::new(&world, Era::Modern, everything()).await;
    let big = "x".repeat(3 << 20);
    let ask = async |peer: &Peer, length: usize| {
        let before = fake.heard("tools/call").len();
        let params = json!({"name": "s__slow", "arguments": {"big": big}});
        let asking = peer.once(1, "tools/call", params);
        let answering = async {
            crate::mcp::fake::until("the call", || fake.heard("tools/call").len() > before).await;
            let params = json!({"message": "y".repeat(length), "requestedSchema": {}});
            let id = format!("long {before}");
            fake.say(&json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": params}));
        };
        tokio::join!(asking, answering).0.answer["result"].clone()
    };
    for _ in 0..10 {
        // Ten bodies of 3 MiB are more than one caller may hold, and they are not held.
        let held = ask(&anna, 1_000).await;
        assert_eq!(held["resultType"], "input_required", "{}", held.to_string().len());
    }
    for n in 0..6 {
        let held = ask(&anna, 3 << 20).await;
        let text = held["content"][0]["text"].as_str().unwrap_or_default();
        assert_eq!(held["resultType"] == "input_required", n < 5, "{n}: {text}");
        assert!(n < 5 || text.contains("over 16 MiB; answer one first"), "{text}");
    }
}
