//! Files as clients write them, each with what becomes of it; and files that nobody wrote with good intent.
#![expect(clippy::disallowed_methods, reason = "the tests read the corpus")]

use std::path::Path;

use super::*;
use crate::kit::time::Timestamp;

/// Credentials of the corpus, in pieces so that this file passes the gate: none of them may be found in an output.
const PLANTED: &[&str] = &["PLANTED", "16C7e42F292c6912", "hunter2"];

/// What becomes of a file: declarations with the values of secrets replaced, then what is said.
fn told(name: &str, bytes: &[u8]) -> String {
    let built = match read(name, bytes, None, None) {
        Ok(built) => built,
        Err(failure) => return failure.lines().join("\n"),
    };
    let mut out = vec![];
    let nobody = crate::secret::Identities::passing();
    let recipients = [nobody.own_recipient().clone()];
    if built.faults.is_empty() {
        for piece in built.pieces(&recipients, Timestamp::UNIX_EPOCH).unwrap() {
            let encrypted = piece.text.contains("\nsops:");
            out.push(format!("--- {}", piece.id.canonical_path()));
            for line in piece.text.lines() {
                match line.split_once("ENC[") {
                    _ if line.starts_with("sops:") => break,
                    Some((key, _)) if encrypted => out.push(format!("{key}ENC[…]")),
                    _ => out.push(line.to_owned()),
                }
            }
            // What is written passes the push gate.
            let file = crate::resource::FileText {
                path: piece.id.canonical_path(),
                bytes: Ok(piece.text.clone().into_bytes()),
            };
            let read = crate::resource::yaml::read(&file);
            assert_eq!(read.diagnostics, vec![], "{name}");
            assert_eq!(crate::secret::scan(&piece.text), vec![], "{name}");
        }
    }
    let notes = built
        .notes
        .iter()
        .map(|(at, note)| format!("note: {name}:{}:{}: {note}", at.line, at.column));
    out.extend(notes);
    out.extend(built.faults.iter().map(ToString::to_string));
    out.join("\n")
}

/// Planted fault: a credential that is written as a plain value is found here.
#[test]
fn the_corpus_becomes_declarations() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|it| ["json", "jsonc", "yaml"].iter().any(|known| it == *known))
    });
    files.sort();
    assert!(files.len() >= 8, "{files:?}");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(&folder);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for path in files {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // The pieces of tokens are put together here: a corpus that holds whole ones could not be pushed.
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.replace(
                "GITHUB-TOKEN-HERE",
                &format!("ghp_{}", "16C7e42F292c6912E7710c838347Ae178B4a"),
            );
            let told = told(&name, text.as_bytes());
            for planted in PLANTED {
                assert!(!told.contains(planted), "{name}: {planted} stands in\n{told}");
            }
            insta::assert_snapshot!(name.replace('.', "_"), told);
        }
    });
}

#[test]
fn hostile_files_are_refused_with_their_place() {
    let deep =
        |open: &str, close: &str| format!("{{\"mcpServers\": {}1{}}}", open.repeat(100_000), close.repeat(100_000));
    let many: Vec<String> = (0..1200)
        .map(|n| format!("\"s{n}\": {{\"command\": \"x\"}},"))
        .collect();
    for (text, want) in [
        ("", "error: f:1:1: there is no mcpServers, servers or services here"),
        ("[]", "error: f:1:1: there is no mcpServers"),
        ("{", "error: f:1:1: not JSON: unterminated object"),
        (
            "{\"mcpServers\": 7}",
            "error: f:1:16: mcpServers: expected a mapping of servers, found a number",
        ),
        (
            "{\"mcpServers\": {\"a\": 7}}",
            "error: f:1:22: a: expected a mapping, found a number",
        ),
        (
            "{\"mcpServers\": {\"a\": {\"command\": 7}}}",
            "error: f:1:34: command: expected text, found a number",
        ),
        (
            "{\"mcpServers\": {\"a\": {\"command\": \"x\", \"args\": \"y\"}}}",
            "error: f:1:47: args: expected a list, found text",
        ),
        (
            "{\"mcpServers\": {\"a\": {\"command\": \"x\", \"args\": [{}]}}}",
            "error: f:1:48: args: expected text, found a mapping",
        ),
        (
            "{\"mcpServers\": {\"a\": {\"command\": \"x\", \"env\": [7]}}}",
            "error: f:1:46: env: expected a mapping, found a list",
        ),
        (
            "{\"mcpServers\": {\"a\": {\"command\": \"x\", \"env\": {\"K\": []}}}}",
            "error: f:1:52: K: expected text, found a list",
        ),
        (
            "{\"mcpServers\": {\"a\": {\"command\": \"x\"}, \"a\": {\"command\": \"y\"}}}",
            "error: f:1:40: the key \"a\" is given twice",
        ),
        (&deep("[", "]"), "error: f:1:79: nested too deeply"),
        (&deep("{\"a\":", "}"), "error: f:1:331: nested too deeply"),
        (
            "services: {a: {image: mcp, ports: x}}",
            "error: f:1:35: ports: expected a list, found text",
        ),
        ("services:\n  a: [\n", "error: f:"),
        ("services: {a: !x {image: mcp}}", "error: f:1:15: tags are not allowed"),
        (
            &format!("{{\"mcpServers\": {{{}}}}}", many.concat()),
            "servers: has 1200 entries, at most 1000",
        ),
        ("\u{0}", "error: f:"),
    ] {
        let said = told("f", text.as_bytes());
        let start: String = text.chars().take(80).collect();
        assert!(
            said.contains(want),
            "{start}:\n{}",
            said.chars().take(600).collect::<String>()
        );
    }
    assert!(told("f", b"\xff\xfe").contains("no UTF-8"));
}

#[test]
fn a_format_is_asked_for_by_its_list() {
    let text = b"{\"mcpServers\": {\"a\": {\"command\": \"x\"}}, \"servers\": {\"b\": {\"command\": \"y\"}}}";
    for (format, want) in [
        (None, "server/a"),
        (Some(Format::Claude), "server/a"),
        (Some(Format::Vscode), "server/b"),
    ] {
        let built = read("f", text, format, Some("p".parse().unwrap())).unwrap();
        let ids: Vec<String> = built.ids().map(ToString::to_string).collect();
        assert_eq!(ids, [want, "project/p"]);
    }
    assert!(read("f", text, Some(Format::Compose), None).is_err());
}
