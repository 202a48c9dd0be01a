//! Both ways against `sops` itself: it opens what we write, and we open what it writes.
//!
//! `tests/run` installs it; where it is missing the tests say so, and under `CI` they fail.
#![expect(
    clippy::disallowed_methods,
    reason = "tests that run a program on files, and ask whether this is CI"
)]

use std::path::PathBuf;
use std::process::{Command, Stdio};

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::laws_tests::tree;
use super::*;
use crate::kit::Redacted;
use crate::secret::tests::{AGE, AGE_SECRET, SSH, SSH_SECRET, now};
use crate::secret::{Identities, Recipient};

/// Which of the two keys `sops` is given.
#[derive(Clone, Copy)]
enum Key {
    Age,
    Ssh,
}

struct Bench {
    folder: tempfile::TempDir,
    age: Identities,
    ssh: Identities,
}

impl Bench {
    /// Nothing where `sops` is missing.
    fn new() -> Option<Self> {
        let found = Command::new("sops")
            .arg("--help")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if found.is_err() {
            assert!(
                std::env::var_os("CI").is_none_or(|it| it.is_empty()),
                "sops is missing, and under CI it must be there: tests/run installs it"
            );
            eprintln!("skipped: sops is not on PATH (tests/run --tools installs it into target/tools/python)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("age.txt"), AGE_SECRET).unwrap();
        std::fs::write(path("ssh"), SSH_SECRET).unwrap();
        let only = |name: &str| {
            let data = path(&format!("data-{name}"));
            std::fs::create_dir(&data).unwrap();
            Identities::open(&data, &[path(name)], now()).unwrap()
        };
        let (age, ssh) = (only("age.txt"), only("ssh"));
        Some(Self { folder, age, ssh })
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("secret.yaml")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.file(), text).unwrap();
    }

    fn read(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    /// Runs `sops` in the folder, with one of the keys.
    fn sops(&self, key: Key, args: &[&str]) -> String {
        let path = |name: &str| self.folder.path().join(name);
        let output = Command::new("sops")
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env(
                match key {
                    Key::Age => "SOPS_AGE_KEY_FILE",
                    Key::Ssh => "SOPS_AGE_SSH_PRIVATE_KEY_FILE",
                },
                match key {
                    Key::Age => path("age.txt"),
                    Key::Ssh => path("ssh"),
                },
            )
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "sops {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// What `sops` sees in a file.
    fn decrypted(&self, key: Key, text: &str) -> Value {
        self.write(text);
        serde_json::from_str(&self.sops(key, &["decrypt", "--output-type", "json", "secret.yaml"])).unwrap()
    }
}

fn recipients() -> Vec<Recipient> {
    vec![AGE.parse().unwrap(), SSH.parse().unwrap()]
}

fn fields() -> Vec<(String, Value)> {
    vec![
        ("apiVersion".into(), json!("mcpctl/v1")),
        ("kind".into(), json!("secret")),
        ("name".into(), json!("github")),
        ("description".into(), json!("2001-01-01: \"yes\"\nü 😀\t\u{85}")),
        (
            "odd".into(),
            json!({"number": 1.5, "whole": 2.0, "big": 1e21, "no": false, "nothing": null, "l": ["n", "012"]}),
        ),
    ]
}

fn data() -> Value {
    json!({
        "token": "ghp_x", "empty": "", "multi": "one\n  two\n\n", "unicode": "ü ✓ 😀 \u{85}\u{2028}", "n": 42, "minus": -1,
        "half": 0.5, "whole": 2.0, "yes": true, "no": false, "nothing": null, "a:b c": "d", "12": "12", "": "key",
        "nested": {"generate": {"length": 32}, "list": [1, "a", [true, ["x"]], {"k": "v", "l": []}, {}]},
        "long": "x".repeat(5000),
    })
}

/// What a reader of JSON gets of a file: `sops` writes whole floats without a fraction.
fn seen(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap();
            if float.fract() == 0.0 {
                json!(float.to_string())
            } else {
                value.clone()
            }
        }
        Value::Number(number) => json!(number.to_string()),
        Value::Array(items) => items.iter().map(seen).collect(),
        Value::Object(entries) => Value::Object(entries.iter().map(|(key, it)| (key.clone(), seen(it))).collect()),
        value => value.clone(),
    }
}

fn whole(fields: &[(String, Value)], data: &Value) -> Value {
    let mut all: serde_json::Map<String, Value> = fields.iter().cloned().collect();
    all.insert("data".into(), data.clone());
    Value::Object(all)
}

#[test]
fn sops_opens_what_we_write() {
    let Some(bench) = Bench::new() else { return };
    let sealed = seal(&fields(), &Redacted::new(data()), &recipients(), now()).unwrap();
    for key in [Key::Age, Key::Ssh] {
        assert_eq!(seen(&bench.decrypted(key, &sealed)), seen(&whole(&fields(), &data())));
    }
    // Written again with other values, and for fewer.
    let mut changed = data();
    changed["token"] = json!("new");
    changed["nested"]["list"] = json!(["b"]);
    for (recipients, key) in [(recipients(), Key::Ssh), (recipients()[..1].to_vec(), Key::Age)] {
        let again = reseal(
            &sealed,
            &bench.age,
            &fields(),
            &Redacted::new(changed.clone()),
            &recipients,
            now(),
        )
        .unwrap();
        assert_eq!(seen(&bench.decrypted(key, &again)), seen(&whole(&fields(), &changed)));
    }
}

#[test]
fn sops_opens_any_tree_that_we_write() {
    let Some(bench) = Bench::new() else { return };
    let mut runner = TestRunner::deterministic();
    for _ in 0..40 {
        let data = tree().new_tree(&mut runner).unwrap().current();
        let sealed = seal(&fields()[1..4], &Redacted::new(data.clone()), &recipients()[..1], now()).unwrap();
        assert_eq!(
            seen(&bench.decrypted(Key::Age, &sealed)),
            seen(&whole(&fields()[1..4], &data)),
            "{sealed}"
        );
    }
}

/// A file as somebody writes it who knows nothing of us. (A comment at the end of a mapping within is not in it: `sops`
/// takes it for one of another place when it reads its own file again.)
const BY_HAND: &str = r#"# the token of the bot
apiVersion: mcpctl/v1
kind: secret
name: github
description: since 2024
data:
    # ask anna
    token: ghp_x # rotated
    empty: ""
    multi: |
        one
        two
    number: 0x10
    float: 1e3
    yes: true
    nothing: ~
    nested: {a: {b: "ü ✓"}, l: [a, 1, [b], {x: y}]}
    date: 2001-01-01
    # the end
"#;

fn by_hand() -> Value {
    json!({
        "token": "ghp_x", "empty": "", "multi": "one\ntwo\n", "number": 16, "float": 1000.0, "yes": true, "nothing": null,
        "date": "2001-01-01T00:00:00Z", "nested": {"a": {"b": "ü ✓"}, "l": ["a", 1, ["b"], {"x": "y"}]},
    })
}

fn encrypt(bench: &Bench, text: &str) -> String {
    bench.write(text);
    let recipients = format!("{AGE},{SSH}");
    bench.sops(
        Key::Age,
        &[
            "encrypt",
            "-i",
            "--age",
            &recipients,
            "--encrypted-regex",
            "^data$",
            "secret.yaml",
        ],
    );
    bench.read()
}

#[test]
fn we_open_what_sops_writes() {
    let Some(bench) = Bench::new() else { return };
    let text = encrypt(&bench, BY_HAND);
    for it in [&bench.age, &bench.ssh] {
        let opened = open(&text, it).unwrap();
        assert_eq!(opened.data.reveal(), &by_hand());
        assert_eq!(opened.recipients, [AGE, SSH]);
        assert_eq!(
            opened.fields.last().unwrap(),
            &("description".to_owned(), json!("since 2024"))
        );
        assert!(!opened.bound, "a description before data leaves a boundary open");
    }
    assert!(
        open(
            &encrypt(&bench, &BY_HAND.replace("description: since 2024\n", "")),
            &bench.ssh
        )
        .unwrap()
        .bound
    );
}

#[test]
fn we_open_json_that_sops_writes() {
    let Some(bench) = Bench::new() else { return };
    let plain = json!({"kind": "secret", "name": "x", "data": {"a": "b\n", "l": ["c", true, 0.5]}});
    let path = bench.folder.path().join("secret.json");
    std::fs::write(&path, plain.to_string()).unwrap();
    bench.sops(
        Key::Age,
        &[
            "encrypt",
            "-i",
            "--age",
            AGE,
            "--encrypted-regex",
            "^data$",
            "secret.json",
        ],
    );
    let opened = open(&std::fs::read_to_string(&path).unwrap(), &bench.age).unwrap();
    assert_eq!(opened.data.reveal(), &plain["data"]);
}

#[test]
fn fields_in_the_clear_mean_the_same_to_sops_and_to_us() {
    let Some(bench) = Bench::new() else { return };
    for value in [
        "1.0",
        "0x1F",
        "0o17",
        "017",
        "089",
        "1_000",
        "-1",
        "+12",
        "1e3",
        ".5",
        "-.5",
        "1.",
        "yes",
        "No",
        "TRUE",
        "~",
        "Null",
        "2001-01-01",
        "2001-1-2 3:4:5.60",
        "2001-12-14T21:59:43.10-05:00",
        "2001-12-14t21:59:43Z",
        "2001-12-14 21:59:43",
        "2001-13-01",
        "1:30",
        "0b11",
        "-0b11",
        "0.1e-5",
        "99999999999999999999",
        "1.2.3",
        "\"012\"",
        "'x'",
        "a b",
        "1e",
        "0x",
        "_1",
        "1__0",
        "0_7",
        "+.5",
        "-0",
        "0.0",
        "1E+2",
        "[1, {a: 0x10}]",
        "{a: [2001-01-01]}",
        "12e03",
        "0xFFFFFFFFFF",
    ] {
        let text = encrypt(
            &bench,
            &format!("kind: secret\nname: x\ndescription: {value}\ndata:\n    a: b\n"),
        );
        // As sops wrote it, and as somebody who knows what sops means may write it by hand.
        let by_hand = text
            .lines()
            .map(|line| {
                if line.starts_with("description:") {
                    format!("description: {value}\n")
                } else {
                    format!("{line}\n")
                }
            })
            .collect::<String>();
        assert!(open(&text, &bench.age).is_ok(), "{value}: {text}");
        if value.starts_with(['[', '{']) {
            continue;
        }
        assert!(
            open(&by_hand, &bench.age).is_ok(),
            "{value}: {:?}",
            open(&by_hand, &bench.age)
        );
    }
}

#[test]
fn we_take_turns() {
    let Some(bench) = Bench::new() else { return };
    encrypt(&bench, BY_HAND);
    bench.sops(
        Key::Ssh,
        &["set", "secret.yaml", r#"["data"]["token"]"#, r#""from sops""#],
    );
    let first = bench.read();
    let opened = open(&first, &bench.age).unwrap();
    let mut data = opened.data.reveal().clone();
    assert_eq!(data["token"], json!("from sops"));
    data["number"] = json!(17);
    let ours = reseal(
        &first,
        &bench.age,
        &opened.fields,
        &Redacted::new(data.clone()),
        &recipients(),
        now(),
    )
    .unwrap();
    // One value, the MAC and its time: nothing else differs in what is encrypted.
    let lines = |text: &str| {
        text.lines()
            .map(|it| it.trim().to_owned())
            .collect::<std::collections::BTreeSet<_>>()
    };
    let (before, after) = (lines(&first), lines(&ours));
    let new: Vec<&str> = after
        .difference(&before)
        .map(|it| it.split(':').next().unwrap())
        .collect();
    assert_eq!(new, ["lastmodified", "mac", "number"], "{first}\n{ours}");
    assert!(before.difference(&after).count() == 3);

    assert_eq!(seen(&bench.decrypted(Key::Age, &ours)["data"]["number"]), json!("17"));
    let plain = bench.sops(Key::Age, &["decrypt", "secret.yaml"]);
    for comment in ["# the token of the bot", "# ask anna", "# rotated", "# the end"] {
        assert!(plain.contains(comment), "{comment} in {plain}");
    }
    bench.sops(
        Key::Age,
        &["set", "secret.yaml", r#"["data"]["nested"]["l"][0]"#, r#""again""#],
    );
    data["nested"]["l"][0] = json!("again");
    assert_eq!(open(&bench.read(), &bench.ssh).unwrap().data.reveal(), &data);

    // For fewer: everything anew, and the comments with it.
    let fewer = reseal(
        &bench.read(),
        &bench.age,
        &opened.fields,
        &Redacted::new(data.clone()),
        &recipients()[1..],
        now(),
    )
    .unwrap();
    assert_eq!(open(&fewer, &bench.ssh).unwrap().data.reveal(), &data);
    bench.write(&fewer);
    assert!(bench.sops(Key::Ssh, &["decrypt", "secret.yaml"]).contains("# ask anna"));
}

#[test]
fn a_mac_over_encrypted_values_alone_is_read() {
    let Some(bench) = Bench::new() else { return };
    let config =
        format!("creation_rules:\n  - encrypted_regex: ^data$\n    mac_only_encrypted: true\n    age: {AGE}\n");
    std::fs::write(bench.folder.path().join(".sops.yaml"), config).unwrap();
    bench.write(BY_HAND);
    bench.sops(Key::Age, &["encrypt", "-i", "secret.yaml"]);
    std::fs::remove_file(bench.folder.path().join(".sops.yaml")).unwrap();
    let text = bench.read();
    assert!(text.contains("mac_only_encrypted: true"));
    let opened = open(&text, &bench.age).unwrap();
    assert!(opened.data.reveal() == &by_hand() && !opened.bound);
    // Here nothing keeps the name, which is why a file that we write is of the other kind.
    assert!(open(&text.replace("name: github", "name: other"), &bench.age).is_ok());
    let ours = reseal(
        &text,
        &bench.age,
        &opened.fields,
        &opened.data,
        &recipients()[..1],
        now(),
    )
    .unwrap();
    assert!(!ours.contains("mac_only_encrypted") && open(&ours, &bench.age).unwrap().bound);
    assert_eq!(
        seen(&bench.decrypted(Key::Age, &ours)["data"]["nested"]),
        seen(&by_hand()["nested"])
    );
    assert!(open(&ours.replace("name: github", "name: other"), &bench.age).is_err());
}
