//! Mutated messages against everything here that reads what others wrote: a plain function over bytes says what must hold
//! of any. What was found once is a file in tests/fixtures/mcp_fuzz.
#![expect(
    clippy::disallowed_methods,
    reason = "it reads the seeds, its environment, the clock, and writes its proof"
)]

use std::collections::HashSet;
use std::path::Path;

use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::kit::fuzz::{Random, cut, mutated};

use super::envelope::{Fault, Message, members, place_of, splice, text_of, too_deep};
use super::http::events_of;
use super::lists::{Gathered, Kind};
use super::meta::{self, Meta};
use super::stdio::lines_of;

/// Messages, pages and streams as servers and clients write them.
const SEEDS: &[&str] = &[
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"s__t","arguments":{"a":[1,2.5e3,null,true]},"_meta":{"progressToken":"p"}}}"#,
    r#" {"id":"a\"b","method":"p\u0069ng","params": {"x" : 1e2},"jsonrpc":"2.0","new":[1]} "#,
    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":0.5,"message":"\u00e4\ud83d\ude00"}}"#,
    r#"{"jsonrpc":"2.0","id":9007199254740993,"result":{"content":[{"type":"text","text":"line\nline"}],"isError":false}}"#,
    r#"{"jsonrpc":"2.0","id":-7,"error":{"code":-32601,"message":"no","data":{"id":1}}}"#,
    r#"{"jsonrpc":"2.0","id":null,"error":{}}"#,
    r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
    r#"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{"sampling":{}},"own":1}}}"#,
    r#"{"tools":[{"name":"a","inputSchema":{"type":"object"}},{"x":1,"n\u0061me":"b\/c"},{"name":"a"},{"name":""},7],"nextCursor":"n"}"#,
    r#"{"resources":[{"uri":"a:\/\/b","name":"n"}],"nextCursor":null}"#,
    "event: message\r\ndata: {\"a\":\r\ndata: 1}\r\nid: 7\r\nretry: 250\r\n\r\n: comment\n\ndata\n\ndata: x\r\rdata: unfinished",
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\nnoise\n\n{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\r\n{\"cut",
];

/// What means something in a message or a stream, and what looks as if it did.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\\"",
    "\\u0000",
    "\\ud800",
    "\\u0069",
    "\u{0}",
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    "\t",
    " ",
    "\u{feff}",
    "é",
    "😀",
    "null",
    "true",
    "-",
    "-0",
    "0",
    "1",
    "1.0",
    "1e999",
    "01",
    "18446744073709551616",
    "\"id\":1,",
    "\"id\":null,",
    "\"id\":\"x\",",
    "\"id\":{},",
    "\"i\\u0064\":2,",
    "\"method\":\"ping\",",
    "\"method\":7,",
    "\"params\":{},",
    "\"params\":[],",
    "\"params\":null,",
    "\"result\":{},",
    "\"error\":{},",
    "\"jsonrpc\":\"2.0\",",
    "\"jsonrpc\":\"1.0\",",
    "\"_meta\":{},",
    "\"_meta\":[],",
    "\"progressToken\":1,",
    "\"name\":\"x\",",
    "\"uri\":\"a:b\",",
    "\"tools\":[],",
    "\"nextCursor\":\"\",",
    "data:",
    "data: ",
    "event: x\n",
    "id: 1\n",
    "id:\u{0}\n",
    "retry: 1\n",
    ":\n",
    "data\n",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
];

/// What must hold of any bytes; whether they are a message.
///
/// # Panics
/// Something does not hold.
fn check(bytes: &[u8], random: &mut Random) -> bool {
    streams(bytes, random);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    for kind in Kind::ALL {
        page(kind, text);
    }
    if let Ok(whole) = serde_json::from_str::<Value>(text) {
        // Its own limit is the lower one.
        assert!(!too_deep(text), "{whole}");
    }
    match Message::parse(text) {
        Ok(message) => {
            assert!(serde_json::from_str::<IgnoredAny>(text).is_ok(), "no JSON is a message");
            envelope(text, &message);
            true
        }
        Err(fault) => {
            assert!(!fault.to_string().is_empty());
            if matches!(fault, Fault::Batch) {
                assert!(serde_json::from_str::<IgnoredAny>(text).is_ok(), "a batch is JSON");
            }
            false
        }
    }
}

/// However a stream is cut, its lines and events are the same.
fn streams(bytes: &[u8], random: &mut Random) {
    let pieces = cut(random, bytes);
    let whole = lines_of(&[bytes], 1 << 20);
    assert_eq!(lines_of(&pieces, 1 << 20), whole, "lines");
    let split: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    assert_eq!(whole, split, "lines are what stands between line feeds");
    let events = events_of(&[bytes]);
    assert_eq!(events_of(&pieces), events, "events");
    // The three ends of a line are one.
    let mut plain = vec![];
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\r' => plain.push(b'\n'),
            b'\n' if at > 0 && bytes[at - 1] == b'\r' => {}
            other => plain.push(*other),
        }
    }
    assert_eq!(events_of(&[&plain]), events, "ends of lines");
}

fn envelope(text: &str, message: &Message<'_>) {
    let place = |part: &str| {
        let place = place_of(text, part);
        assert_eq!(&text[place.clone()], part);
        place
    };
    let (Message::Request { params, .. } | Message::Notification { params, .. }) = message else {
        return;
    };
    let mut edits = vec![];
    if let Message::Request { id, .. } = message {
        edits.push((place(id.text()), "7"));
    }
    if let Some(params) = params {
        edits.push((place(params.get()), "{\"new\":[]}"));
    }
    edits.sort_by_key(|(place, _)| place.start);
    let spliced = splice(text.as_bytes(), &edits, true);
    let (end, line) = spliced.split_last().expect("a line");
    assert_eq!(*end, b'\n');
    assert!(memchr::memchr2(b'\n', b'\r', line).is_none(), "one line");
    let line = std::str::from_utf8(line).expect("still UTF-8");
    match (message, Message::parse(line).expect("still a message")) {
        (
            Message::Request { method, params, .. },
            Message::Request {
                id,
                method: same,
                params: new,
            },
        ) => {
            assert_eq!((id.text(), method), ("7", &same));
            assert_eq!(new.map(RawValue::get), params.map(|_| "{\"new\":[]}"));
        }
        (Message::Notification { method, .. }, Message::Notification { method: same, .. }) => assert_eq!(method, &same),
        other => panic!("another message: {other:?}"),
    }
    let Ok(meta) = Meta::read(*params) else { return };
    let Ok(written) = meta::rewritten(meta.raw, &[("io.example/new", "7")]) else {
        return;
    };
    // A member may be there twice in what a client wrote; ours is the last.
    let object = meta::object(serde_json::from_str(&written).expect("JSON")).expect("an object");
    let (key, value) = object.last().expect("ours");
    assert_eq!((&**key, value.get()), ("io.example/new", "7"), "{written}");
    assert!(object.iter().all(|(key, _)| *key != meta::CLIENT), "{written}");
}

fn page(kind: Kind, text: &str) {
    let mut gathered = Gathered::new(kind);
    if gathered.take(text).is_err() {
        return;
    }
    let mut keys = HashSet::new();
    for entry in &gathered.list.entries {
        let [key] = members(&entry.text, [kind.key()]).expect("an entry is an object");
        let key = key.expect("with a key");
        assert_eq!(entry.own_key(), key.get());
        assert_eq!(text_of(key).as_deref(), Some(&*entry.key));
        assert!(!entry.key.is_empty() && keys.insert(&entry.key), "a key is there once");
    }
}

/// What everything begins with: the texts above, and what was found before.
fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mcp_fuzz");
    let files = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<_> = files.map(|entry| entry.expect("a seed").path()).collect();
    files.sort();
    let found = files.iter().map(|file| std::fs::read(file).expect("a seed"));
    SEEDS.iter().map(|seed| seed.as_bytes().to_vec()).chain(found).collect()
}

#[test]
fn messages_and_their_beginnings_hold() {
    let mut messages = 0;
    for seed in seeds() {
        for end in 0..=seed.len() {
            messages += u32::from(check(&seed[..end], &mut Random::new(end as u64)));
        }
    }
    assert!(messages >= 7, "{messages}");
}

/// 20,000 mutated texts; two million with `MCPCTL_LONG`, which then writes its figures to docs/proof/.
#[test]
fn mutated_messages_are_read_alike_or_refused() {
    let long = std::env::var_os("MCPCTL_LONG").is_some();
    let texts: u64 = if long { 2_000_000 } else { 20_000 };
    let begin = std::time::Instant::now();
    let seeds = seeds();
    let mut messages = 0_u64;
    for seed in 0..texts {
        let mut random = Random::new(seed);
        let bytes = mutated(&mut random, &seeds, WORDS);
        // What does not hold panics somewhere below: the text that did it is what a person wants to see.
        let told = std::panic::catch_unwind(move || check(&bytes, &mut random));
        let is_message = told.unwrap_or_else(|_| {
            let bytes = mutated(&mut Random::new(seed), &seeds, WORDS);
            panic!("seed {seed}: {:?}", String::from_utf8_lossy(&bytes))
        });
        messages += u64::from(is_message);
    }
    // Texts that are all refused would prove little, and so would texts that are all sound.
    assert!(
        messages * 20 > texts && messages * 10 < texts * 9,
        "{messages} of {texts}"
    );
    if long {
        let figures = serde_json::json!({
            "seeds": [0, texts - 1], "texts": texts, "corpus": seeds.len(), "messages": messages, "violations": 0,
            "seconds": begin.elapsed().as_secs(),
        });
        crate::kit::proof::write("mcp_fuzz", figures);
    }
}
