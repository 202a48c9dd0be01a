//! What must cross, in all four pairings of legacy and modern client and server (gateway.md, "Both eras on both edges").
//! Each test runs for each pairing: the servers differ in their era alone, and so do the clients.

use serde_json::{Value, json};

use super::pairs::{PAIRINGS, Peer, Said, everything, question, script, server};
use super::world::World;
use crate::mcp::fake::{Fake, until};
use crate::mcp::lists::Kind;
use crate::mcp::{MODERN, meta};
use crate::record::Era;

/// Lists, and every field of every entry; each result says what its era wants said.
#[tokio::test]
async fn lists_cross() {
    for (client, server_era) in PAIRINGS {
        let (world, _fake) = server(server_era, &["echo"]).await;
        let peer = Peer::new(&world, client, json!({})).await;
        for (kind, field, want) in [
            (Kind::Tools, "name", "s__echo"),
            (Kind::Prompts, "name", "s__p"),
            (Kind::Resources, "uri", "x:a"),
        ] {
            let said = peer.ask(kind.method(), json!({})).await;
            let result = &said.answer["result"];
            assert_eq!(
                result[kind.field()][0][field],
                want,
                "{client:?} {server_era:?} {said:?}"
            );
            let modern = client == Era::Modern;
            assert_eq!(result["resultType"] == "complete", modern, "{result}");
            assert_eq!(
                result["ttlMs"].is_u64() && result["cacheScope"].is_string(),
                modern,
                "{result}"
            );
        }
        let prompts = peer.ask("prompts/list", json!({})).await;
        assert_eq!(
            prompts.answer["result"]["prompts"][0]["icons"],
            json!([{"src": "data:,"}])
        );
    }
}

/// Calls, reads, prompts, completion: what the server says crosses whole, and what the client's era wants is there.
#[tokio::test]
async fn answers_cross() {
    for (client, server_era) in PAIRINGS {
        let (world, fake) = server(server_era, &["echo", "refuse"]).await;
        let peer = Peer::new(&world, client, json!({})).await;
        let pair = format!("{client:?} {server_era:?}");
        for (method, params) in [
            ("tools/call", json!({"name": "s__echo", "arguments": {"f": 1.5e2}})),
            ("resources/read", json!({"uri": "x:a"})),
            ("prompts/get", json!({"name": "s__p"})),
            (
                "completion/complete",
                json!({"ref": {"type": "ref/prompt", "name": "s__p"}, "argument": {"name": "a", "value": "v"}}),
            ),
        ] {
            let mut params = params;
            params["_meta"] = json!({"traceparent": "00-x", "a/b": [1]});
            let said = peer.ask(method, params).await;
            let result = &said.answer["result"];
            assert!(result.is_object(), "{pair} {method} {said:?}");
            if client == Era::Modern {
                assert_eq!(result["resultType"], "complete", "{pair} {method} {result}");
            }
            if client == Era::Modern && method == "resources/read" {
                assert!(
                    result["ttlMs"].is_u64() && result["cacheScope"] == "private",
                    "{result}"
                );
            }
            // The server hears its own era's words, and all that both eras know.
            let heard = fake.heard(method).pop().unwrap();
            let said = &heard["params"]["_meta"];
            assert_eq!(said["traceparent"], "00-x", "{pair} {heard}");
            assert_eq!(said["a/b"], json!([1]));
            let modern = server_era == Era::Modern;
            assert_eq!(said[meta::PROTOCOL] == MODERN, modern, "{pair} {heard}");
            assert_eq!(said[meta::CAPABILITIES].is_object(), modern, "{pair} {heard}");
            if modern {
                assert_eq!(said[meta::CLIENT]["name"], "peer");
            }
        }
        let refused = peer.call("s__refuse").await;
        let want = json!({"code": -7, "message": "no", "data": {"kept": true}});
        assert_eq!(refused.answer["error"], want, "{pair}");
        let missing = peer.ask("resources/read", json!({"uri": "nobody:has"})).await;
        // The fake server says -32602 in either era: what a legacy server says is its own.
        let code = if (client, server_era) == (Era::Legacy, Era::Modern) {
            -32002
        } else {
            -32602
        };
        assert_eq!(missing.answer["error"]["code"], code, "{pair} {missing:?}");
    }
}

/// Progress with the client's own token, and log messages as important as it wants.
#[tokio::test]
async fn progress_and_logs_cross() {
    for (client, server_era) in PAIRINGS {
        let (world, _fake) = server(server_era, &["progress", "log"]).await;
        let mut peer = Peer::new(&world, client, json!({})).await;
        let pair = format!("{client:?} {server_era:?}");
        let said = peer.call("s__progress").await;
        let steps: Vec<&Value> = said.notifications.iter().map(|n| &n["params"]["progress"]).collect();
        assert_eq!(steps, [&json!(1), &json!(2), &json!(3)], "{pair} {said:?}");
        assert!(
            said.notifications
                .iter()
                .all(|n| n["params"]["progressToken"] == "t" && n["params"]["extra"] == "kept")
        );
        let levels = |said: &Said| -> Vec<String> {
            let levels = said
                .notifications
                .iter()
                .map(|n| n["params"]["level"].as_str().unwrap().to_owned());
            levels.collect()
        };
        // In the modern era who names no level gets nothing; in the legacy one that is up to the server.
        let unnamed = peer.call("s__log").await;
        let all = if client == Era::Modern {
            vec![]
        } else {
            vec!["debug", "info", "error"]
        };
        assert_eq!(levels(&unnamed), all, "{pair}");
        match client {
            Era::Legacy => {
                let set = peer.ask("logging/setLevel", json!({"level": "info"})).await;
                assert_eq!(set.answer["result"], json!({}));
            }
            Era::Modern => peer.level = Some("info"),
        }
        let named = peer.call("s__log").await;
        assert_eq!(levels(&named), ["info", "error"], "{pair} {named:?}");
        assert_eq!(named.notifications[0]["params"]["more"], 150.0);
    }
}

/// Sampling, roots, elicitation by form and by URL: asked of the client in its own words, and answered to the server in its.
#[tokio::test]
async fn questions_cross() {
    for (client, server_era) in PAIRINGS {
        let (world, fake) = server(server_era, &["form", "url", "sample", "roots"]).await;
        let peer = Peer::new(&world, client, everything()).await;
        for tool in ["form", "url", "sample", "roots"] {
            let pair = format!("{client:?} {server_era:?} {tool}");
            let (method, params) = question(tool).unwrap();
            let said = peer.call(&format!("s__{tool}")).await;
            assert_eq!(said.asked.len(), 1, "{pair} {said:?}");
            assert_eq!(said.asked[0]["method"], method, "{pair}");
            assert_eq!(said.asked[0]["params"], params, "{pair}");
            let told = peer.answers[method].as_ref().unwrap();
            assert_eq!(&said.answer["result"]["structuredContent"], told, "{pair} {said:?}");
        }
        // No call was made twice: a legacy server heard each once, a modern one in two rounds.
        let rounds = if server_era == Era::Modern { 2 } else { 1 };
        assert_eq!(fake.heard("tools/call").len(), 4 * rounds, "{client:?} {server_era:?}");
    }
}

/// A client is never asked what it did not declare.
#[tokio::test]
async fn what_a_client_did_not_declare_is_not_asked() {
    for (client, server_era) in PAIRINGS {
        let (world, _fake) = server(server_era, &["form", "url", "sample", "roots"]).await;
        let peer = Peer::new(&world, client, json!({"elicitation": {}})).await;
        for tool in ["url", "sample", "roots"] {
            let pair = format!("{client:?} {server_era:?} {tool}");
            let said = peer.once(1, "tools/call", json!({"name": format!("s__{tool}")})).await;
            assert_eq!(said.asked.len(), 0, "{pair}");
            match (client, server_era) {
                (Era::Modern, Era::Legacy) => {
                    assert_eq!(said.answer["error"]["code"], -32021, "{pair} {said:?}");
                    assert_eq!(said.status, 400);
                }
                // It is the server's fault: it was told what the client can.
                (Era::Modern, Era::Modern) => {}
                (Era::Legacy, _) => assert_eq!(said.answer["result"]["isError"], true, "{pair} {said:?}"),
            }
        }
    }
}

/// What a client refuses, its server is told.
#[tokio::test]
async fn a_refusal_reaches_the_server() {
    for server_era in [Era::Legacy, Era::Modern] {
        let (world, _fake) = server(server_era, &["form", "sample"]).await;
        let mut peer = Peer::new(&world, Era::Legacy, everything()).await;
        let error = json!({"code": -1, "message": "User rejected"});
        peer.answers.insert("sampling/createMessage", Err(error.clone()));
        peer.answers.insert("elicitation/create", Err(error.clone()));
        let said = peer.call("s__sample").await;
        assert_eq!(said.answer["result"]["isError"], true, "{server_era:?} {said:?}");
        let text = said.answer["result"]["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("User rejected"), "{server_era:?} {text}");
        let said = peer.call("s__form").await;
        match server_era {
            Era::Legacy => assert_eq!(said.answer["result"]["structuredContent"], error),
            // There is no place for an error among the answers: it is as if the person had gone away.
            Era::Modern => assert_eq!(
                said.answer["result"]["structuredContent"]["action"], "cancel",
                "{said:?}"
            ),
        }
    }
}

/// A call that waits for its client is its caller's, for the request that it belongs to, once; what is missing is asked for
/// again; nothing is run twice.
#[tokio::test]
async fn a_held_call_is_answered_once_by_its_caller() {
    let (world, fake) = server(Era::Legacy, &["form"]).await;
    let peer = Peer::new(&world, Era::Modern, everything()).await;
    let params = json!({"name": "s__form", "arguments": {"n": 1}});
    let said = peer.once(1, "tools/call", params.clone()).await;
    let state = said.answer["result"]["requestState"].clone();
    assert!(state.is_string(), "{said:?}");
    let with = |arguments: Value, responses: Value| json!({"name": "s__form", "arguments": arguments, "requestState": state, "inputResponses": responses});
    let told = json!({"q0": {"action": "accept", "content": {}}});
    // Somebody else, another request, a touched state.
    let other = Peer::of(&world, Era::Modern, everything(), "bert").await;
    let stolen = other.once(2, "tools/call", with(json!({"n": 1}), told.clone())).await;
    assert_eq!(stolen.answer["error"]["code"], -32602, "{stolen:?}");
    let changed = peer.once(3, "tools/call", with(json!({"n": 2}), told.clone())).await;
    assert_eq!(changed.answer["error"]["code"], -32602, "{changed:?}");
    let mut touched = with(json!({"n": 1}), told.clone());
    touched["requestState"] = "AAAA".into();
    let touched = peer.once(4, "tools/call", touched).await;
    assert_eq!(touched.answer["error"]["code"], -32602, "{touched:?}");
    // What is missing is asked for again, and then there is an answer.
    let missing = peer
        .once(5, "tools/call", with(json!({"n": 1}), json!({"other": {}})))
        .await;
    let again = missing.answer["result"]["requestState"].clone();
    assert_eq!(
        missing.answer["result"]["inputRequests"]["q0"]["method"], "elicitation/create",
        "{missing:?}"
    );
    let mut last = with(json!({"n": 1}), told.clone());
    last["requestState"] = again;
    let answered = peer.once(6, "tools/call", last.clone()).await;
    assert_eq!(
        answered.answer["result"]["structuredContent"], told["q0"],
        "{answered:?}"
    );
    assert_eq!(answered.answer["id"], 6);
    // Once.
    let twice = peer.once(7, "tools/call", last).await;
    assert_eq!(twice.answer["result"]["isError"], true, "{twice:?}");
    assert!(twice.answer.to_string().contains("not run again"), "{twice:?}");
    assert_eq!(fake.heard("tools/call").len(), 1);
}

/// pitfalls.md, Stdio: "a server's question shown to the wrong caller on a shared connection". With calls of two principals
/// in flight nobody is asked and neither sees the other's; the server is told, and it is counted.
#[tokio::test]
async fn a_question_whose_caller_is_not_certain_is_put_to_nobody() {
    for server_era in [Era::Legacy, Era::Modern] {
        let (world, fake) = server(server_era, &["slow", "form", "log"]).await;
        let anna = Peer::new(&world, Era::Legacy, everything()).await;
        let bert = Peer::of(&world, Era::Legacy, everything(), "bert").await;
        let slow = anna.once(9, "tools/call", json!({"name": "s__slow"}));
        let asking = async {
            until("anna's call", || fake.heard("tools/call").len() == 1).await;
            let said = bert.call("s__form").await;
            let logged = bert.call("s__log").await;
            (said, logged)
        };
        tokio::select! {
            said = slow => panic!("a slow tool answered: {said:?}"),
            (said, logged) = asking => match server_era {
                Era::Legacy => {
                    assert_eq!(said.asked.len(), 0, "{said:?}");
                    assert_eq!(said.answer["result"]["isError"], true, "{said:?}");
                    assert!(said.answer.to_string().contains("not certain"), "{said:?}");
                    assert_eq!(logged.notifications, Vec::<Value>::new());
                    let upstreams = world.gateway.upstreams();
                    until("the count", || upstreams.borrow().values().any(|upstream| upstream.uncertain == 1)).await;
                }
                // In the modern era a question is part of an answer: it can't be anybody else's.
                Era::Modern => assert_eq!(said.asked.len(), 1, "{said:?}"),
            },
        }
    }
}

/// What a server asks may still be about a call that was given up: for a while nobody else is asked.
#[tokio::test]
async fn what_was_given_up_is_nobody_elses() {
    let (world, fake) = server(Era::Legacy, &["slow", "form"]).await;
    let anna = Peer::new(&world, Era::Legacy, everything()).await;
    let bert = Peer::of(&world, Era::Legacy, everything(), "bert").await;
    {
        let slow = anna.once(9, "tools/call", json!({"name": "s__slow"}));
        let called = until("anna's call", || fake.heard("tools/call").len() == 1);
        tokio::select! {
            said = slow => panic!("a slow tool answered: {said:?}"),
            () = called => {}
        }
    }
    until("the cancellation", || !fake.heard("notifications/cancelled").is_empty()).await;
    let said = bert.call("s__form").await;
    assert_eq!(said.asked.len(), 0, "{said:?}");
    // Its answer, late as it is, ends the doubt.
    let id = fake.heard("tools/call")[0]["id"].clone();
    fake.answer(&id, &json!({"content": []}));
    let said = bert.call("s__form").await;
    assert_eq!(said.asked.len(), 1, "{said:?}");
}

/// `isolation: session`: each session's calls go to an instance of its own, which is asked of the engine with the first call
/// and given back with the session; its questions are certain to be that session's.
#[tokio::test]
async fn each_session_has_an_instance_of_its_own() {
    let world = World::new(&["s"]).await;
    world.declare(&["s"], &json!({"isolation": "session"}));
    let start = |name: &'static str, instance: String| {
        let (fake, pipes) = Fake::scripted(script);
        fake.set(Kind::Tools, ["slow", "form"].map(crate::mcp::fake::tool).into());
        world.join(name, &instance, true, Some(pipes));
        fake
    };
    let shared = start("l0", "s/0".to_owned());
    world.ready("l0").await;
    until("the isolation", || {
        let view = world.gateway.0.view.borrow();
        view.server(&"s".parse().unwrap()).is_some_and(|server| server.isolated)
    })
    .await;
    let anna = Peer::new(&world, Era::Legacy, everything()).await;
    let bert = Peer::of(&world, Era::Modern, everything(), "bert").await;
    assert_eq!(world.demand(), Vec::<String>::new(), "lists need none");
    let slow = anna.once(9, "tools/call", json!({"name": "s__slow"}));
    let both = async {
        until("anna's instance", || world.demand().len() == 1).await;
        let annas_own = world.demand().remove(0);
        let annas = start("l1", annas_own.clone());
        until("anna's call", || annas.heard("tools/call").len() == 1).await;
        let asking = bert.call("s__form");
        let starting = async {
            until("bert's instance", || world.demand().len() == 2).await;
            let berts_own = world.demand().into_iter().find(|own| *own != annas_own);
            start("l2", berts_own.unwrap())
        };
        let (said, berts) = tokio::join!(asking, starting);
        assert_eq!(said.asked.len(), 1, "{said:?}");
        assert_eq!(berts.heard("tools/call").len(), 1);
        assert_eq!(
            (annas.heard("tools/call").len(), shared.heard("tools/call").len()),
            (1, 0)
        );
    };
    tokio::select! {
        said = slow => panic!("a slow tool answered: {said:?}"),
        () = both => {}
    }
    let ending = world
        .client
        .delete(&anna.url)
        .header("mcp-session-id", anna.session.as_ref().unwrap());
    assert_eq!(ending.header("x-caller", "anna").send().await.unwrap().status(), 204);
    until("what ended is given back", || world.demand().len() == 1).await;
}

/// A task is asked about at the server that began it, by the caller that it was begun for. What the eras call a task differs;
/// both pass through.
#[tokio::test]
async fn tasks_pass_through() {
    for (client, server_era) in PAIRINGS {
        let (world, _fake) = server(server_era, &["later"]).await;
        let peer = Peer::new(&world, client, json!({})).await;
        let other = Peer::of(&world, client, json!({}), "bert").await;
        let early = peer.once(1, "tasks/get", json!({"taskId": "t1"})).await;
        assert_eq!(early.answer["error"]["code"], -32602, "{early:?}");
        let begun = peer.once(2, "tools/call", json!({"name": "s__later"})).await;
        let begun = begun.answer["result"].to_string();
        assert!(begun.contains(r#""taskId":"t1""#), "{client:?} {server_era:?} {begun}");
        let asked = peer.once(3, "tasks/get", json!({"taskId": "t1"})).await;
        assert_eq!(
            asked.answer["result"]["later"], 150.0,
            "{client:?} {server_era:?} {asked:?}"
        );
        let foreign = other.once(4, "tasks/get", json!({"taskId": "t1"})).await;
        assert_eq!(foreign.answer["error"]["code"], -32602, "somebody else's: {foreign:?}");
    }
}

/// A client that goes away, or says so, cancels its call; the other way round a server may withdraw its question.
#[tokio::test]
async fn cancelling_crosses() {
    for (client, server_era) in PAIRINGS {
        let (world, fake) = server(server_era, &["slow"]).await;
        let peer = Peer::new(&world, client, json!({})).await;
        let slow = peer.once(9, "tools/call", json!({"name": "s__slow"}));
        let cancelling = async {
            until("the call", || fake.heard("tools/call").len() == 1).await;
            if client == Era::Legacy {
                let params = json!({"requestId": 9});
                let message = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params});
                assert_eq!(peer.post(&message).send().await.unwrap().status(), 202);
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            // Told, and no more than that.
            said = slow => assert_eq!((client, &said.answer["error"]["code"]), (Era::Legacy, &json!(-32800))),
            () = cancelling => assert_eq!(client, Era::Modern, "dropped"),
        }
        until("the cancellation", || !fake.heard("notifications/cancelled").is_empty()).await;
        let id = fake.heard("tools/call")[0]["id"].clone();
        assert_eq!(
            fake.heard("notifications/cancelled")[0]["params"]["requestId"],
            id,
            "{client:?} {server_era:?}"
        );
    }
}

/// The modern era's words about itself, and what it refuses.
#[tokio::test]
async fn a_modern_request_is_checked() {
    let (world, _fake) = server(Era::Legacy, &["echo"]).await;
    let peer = Peer::new(&world, Era::Modern, json!({})).await;
    let said = peer.ask("server/discover", json!({})).await;
    let result = &said.answer["result"];
    assert_eq!(result["supportedVersions"][0], MODERN, "{said:?}");
    assert_eq!(result["_meta"][meta::SERVER]["name"], "mcpctl");
    assert_eq!(result["capabilities"]["tools"]["listChanged"], true);
    let good = |method: &str, params: Value| json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": peer.with_meta(params)});
    let without = |key: &str| {
        let mut message = good("tools/list", json!({}));
        message["params"]["_meta"].as_object_mut().unwrap().remove(key);
        message
    };
    let mut future = good("tools/list", json!({}));
    future["params"]["_meta"][meta::PROTOCOL] = "2031-01-01".into();
    let name = good("tools/call", json!({"name": "s__echo"}));
    for (request, status, code) in [
        (peer.post(&without(meta::PROTOCOL)), 400, -32602),
        (peer.post(&without(meta::CAPABILITIES)), 400, -32602),
        (peer.post(&without(meta::CLIENT)), 200, 0),
        (peer.post(&future), 400, -32020),
        (
            peer.http
                .post(&peer.url)
                .header("mcp-protocol-version", "2031-01-01")
                .json(&future),
            400,
            -32022,
        ),
        (
            peer.http.post(&peer.url).json(&good("tools/list", json!({}))),
            400,
            -32020,
        ),
        (
            peer.http
                .post(&peer.url)
                .header("mcp-protocol-version", MODERN)
                .json(&good("tools/list", json!({}))),
            400,
            -32020,
        ),
        (
            peer.http
                .post(&peer.url)
                .header("mcp-protocol-version", MODERN)
                .header("mcp-method", "tools/call")
                .header("mcp-name", "s__other")
                .json(&name),
            400,
            -32020,
        ),
        (
            peer.http
                .post(&peer.url)
                .header("mcp-protocol-version", MODERN)
                .header("mcp-method", "tools/call")
                .header("mcp-name", "=?base64?c19fZWNobw==?=")
                .json(&name),
            200,
            0,
        ),
        (peer.post(&good("initialize", json!({}))), 404, -32601),
        (peer.post(&good("ping", json!({}))), 404, -32601),
        (
            peer.post(&good("resources/subscribe", json!({"uri": "x:a"}))),
            404,
            -32601,
        ),
        (peer.post(&good("what/ever", json!({}))), 404, -32601),
        (peer.post(&good("tools/list", json!({"cursor": "x"}))), 200, -32602),
    ] {
        let response = request.send().await.unwrap();
        let got = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        assert_eq!(
            (got, body["error"]["code"].as_i64().unwrap_or(0)),
            (status, code),
            "{body}"
        );
        assert_eq!(body["id"], 7, "{body}");
        assert_eq!(body["error"]["data"]["requested"].is_string(), code == -32022, "{body}");
    }
    for method in [reqwest::Method::GET, reqwest::Method::DELETE] {
        let request = peer
            .http
            .request(method, &peer.url)
            .header("mcp-protocol-version", MODERN);
        assert_eq!(request.send().await.unwrap().status(), 405);
    }
}

/// `subscriptions/listen` is acknowledged first, tells what was asked for and nothing else, and says goodbye; what a legacy
/// client subscribes to is told on its stream. Whatever the server's era is.
#[tokio::test]
async fn changes_are_told() {
    for (client, server_era) in PAIRINGS {
        let pair = format!("{client:?} {server_era:?}");
        let (world, fake) = server(server_era, &["echo"]).await;
        let peer = Peer::new(&world, client, json!({})).await;
        let mut stream = match client {
            Era::Modern => {
                let filter = json!({"toolsListChanged": true, "resourceSubscriptions": ["x:a"]});
                let params = peer.with_meta(json!({"notifications": filter}));
                let message = json!({"jsonrpc": "2.0", "id": "l", "method": "subscriptions/listen", "params": params});
                let mut stream = peer.post(&message).send().await.unwrap();
                let first = super::world::hear(&mut stream, "\n\n").await;
                assert!(
                    first.contains("notifications/subscriptions/acknowledged"),
                    "{pair} {first}"
                );
                assert!(first.contains(r#""resourceSubscriptions":["x:a"]"#), "{pair} {first}");
                stream
            }
            Era::Legacy => {
                peer.ask("tools/list", json!({})).await;
                let taken = peer.ask("resources/subscribe", json!({"uri": "x:a"})).await;
                assert_eq!(taken.answer["result"], json!({}), "{pair} {taken:?}");
                let request = peer
                    .http
                    .get(&peer.url)
                    .header("mcp-session-id", peer.session.as_ref().unwrap());
                request
                    .header("x-caller", "anna")
                    .header("accept", "text/event-stream")
                    .send()
                    .await
                    .unwrap()
            }
        };
        // A modern server tells of a resource once it was asked to; asking it takes a moment.
        let wanted = |message: &Value| message.to_string().contains("x:a");
        let listens = || match &fake.listens {
            Some(listens) => crate::mcp::locked(listens).iter().any(wanted),
            None => fake.heard("resources/subscribe").iter().any(wanted),
        };
        until("the subscription", listens).await;
        fake.set(Kind::Prompts, vec![]);
        fake.say_changed(Kind::Prompts);
        fake.say_updated("x:a");
        let updated = super::world::hear(&mut stream, "resources/updated").await;
        if client == Era::Modern {
            assert!(
                !updated.contains("prompts/list_changed"),
                "{pair}: not asked for: {updated}"
            );
        }
        fake.set(Kind::Tools, vec![]);
        fake.say_changed(Kind::Tools);
        let told = super::world::hear(&mut stream, "tools/list_changed").await;
        let all = format!("{updated}{told}");
        assert!(all.contains(r#""extra":"kept""#), "{pair} {all}");
        if client == Era::Modern {
            let events = all.lines().filter_map(|line| line.strip_prefix("data: "));
            for event in events {
                let event: Value = serde_json::from_str(event).unwrap();
                assert_eq!(event["params"]["_meta"][meta::SUBSCRIPTION], "l", "{pair} {event}");
            }
            world.stop.cancel();
            let bye = super::world::hear(&mut stream, r#""id":"l""#).await;
            assert!(bye.contains(r#""resultType":"complete""#), "{bye}");
        }
    }
}
