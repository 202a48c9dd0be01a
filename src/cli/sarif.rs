//! What `validate` finds in the form of SARIF 2.1.0, as code scanning takes it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::kit::{Diagnostic, Digest};

use super::validate::Found;

/// A rule: its name, what it asks for, and the words by which a diagnostic is told to be of it.
struct Rule {
    id: &'static str,
    asks: &'static str,
    begins: &'static [&'static str],
    ends: &'static [&'static str],
}

const fn rule(
    id: &'static str,
    asks: &'static str,
    begins: &'static [&'static str],
    ends: &'static [&'static str],
) -> Rule {
    Rule { id, asks, begins, ends }
}

/// All rules; the first one that fits is meant, and the last one always does.
const RULES: &[Rule] = &[
    rule(
        "credential",
        "Credentials are no part of a repository.",
        &["this looks like "],
        &[],
    ),
    rule(
        "secret-in-the-clear",
        "Values of secrets are encrypted.",
        &[],
        &["stands in the clear", "stands in the clear in an encrypted secret"],
    ),
    rule(
        "duplicate",
        "A resource is declared once.",
        &[],
        &[" is declared twice"],
    ),
    rule("reference", "What is named is declared.", &["no "], &[]),
    rule(
        "unknown-field",
        "Only known fields, kinds and versions are used.",
        &[
            "unknown field ",
            "unknown kind ",
            "unknown group ",
            "unknown apiVersion ",
        ],
        &[],
    ),
    rule(
        "file",
        "A file is plain, small and where it can be read.",
        &[
            "symbolic links ",
            "submodules ",
            "the file ",
            "the name ",
            "folders are nested ",
            "it can't be read",
        ],
        &[],
    ),
    rule(
        "declaration",
        "A declaration is clean YAML and fits its kind.",
        &[],
        &[],
    ),
];

/// Where the rules are described.
const HELP: &str = "docs/GITOPS.md";

fn rule_of(fault: &Diagnostic) -> usize {
    let message = fault.message.as_str();
    let reference = message.starts_with("no ") && message.contains(" is called ");
    let fits = |rule: &Rule| {
        if rule.id == "reference" {
            return reference;
        }
        rule.begins.iter().any(|words| message.starts_with(words))
            || rule.ends.iter().any(|words| message.ends_with(words))
    };
    RULES.iter().position(fits).unwrap_or(RULES.len() - 1)
}

/// The log of one run.
pub(super) fn log(found: &Found) -> Value {
    let rules: Vec<Value> = RULES
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": {"text": rule.asks},
                "help": {"text": format!("{} See {HELP}.", rule.asks)},
                "defaultConfiguration": {"level": "error"},
            })
        })
        .collect();
    // Two results of one text in one file are told apart by their number.
    let mut met: BTreeMap<String, usize> = BTreeMap::new();
    let results: Vec<Value> = found
        .faults
        .iter()
        .zip(&found.uris)
        .map(|(fault, uri)| result(fault, uri, &mut met))
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "mcpctl",
                "version": env!("CARGO_PKG_VERSION"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(fault: &Diagnostic, uri: &str, met: &mut BTreeMap<String, usize>) -> Value {
    let rule = rule_of(fault);
    let mut text = fault.message.clone();
    for more in fault.note.iter().chain(&fault.hint) {
        text.push('\n');
        text.push_str(more);
    }
    let mut place = json!({"artifactLocation": {"uri": encoded(uri), "uriBaseId": "%SRCROOT%"}});
    if fault.line > 0 {
        let column = fault.column.max(1);
        place["region"] = json!({
            "startLine": fault.line,
            "startColumn": column,
            "endLine": fault.line,
            "endColumn": column.saturating_add(fault.width.max(1)),
        });
    }
    let same = format!("{}\0{uri}\0{}", RULES[rule].id, fault.message);
    let number = met.entry(same.clone()).or_default();
    *number += 1;
    let print = Digest::of_parts([same.as_bytes(), number.to_string().as_bytes()]);
    json!({
        "ruleId": RULES[rule].id,
        "ruleIndex": rule,
        "level": "error",
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"mcpctl/v1": print.to_string()},
    })
}

/// A path as a relative reference of a URI.
fn encoded(path: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => out.push(char::from(byte)),
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diagnostics_have_rules() {
        for (message, want) in [
            ("this looks like a token of GitHub", "credential"),
            ("secret/keys stands in the clear", "secret-in-the-clear"),
            (
                "data.A: stands in the clear in an encrypted secret",
                "secret-in-the-clear",
            ),
            ("server/a is declared twice", "duplicate"),
            ("no server is called \"a\"", "reference"),
            ("no such thing", "declaration"),
            ("unknown field \"replica\" of a server", "unknown-field"),
            ("symbolic links are not followed", "file"),
            ("replicas: expected an integer", "declaration"),
        ] {
            assert_eq!(RULES[rule_of(&Diagnostic::of_file("a", message))].id, want, "{message}");
        }
    }

    #[test]
    fn a_result_has_its_place() {
        let fault = Diagnostic {
            line: 3,
            column: 5,
            width: 4,
            ..Diagnostic::of_file("größe/a b.yaml", "bad")
        }
        .hint("mend it");
        let whole = Diagnostic::of_file("größe/a b.yaml", "bad");
        let found = Found {
            uris: vec![fault.file.clone(), whole.file.clone()],
            faults: vec![fault, whole],
            ..Found::default()
        };
        let log = log(&found);
        let results = &log["runs"][0]["results"];
        let place = &results[0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "gr%C3%B6%C3%9Fe/a%20b.yaml");
        assert_eq!(
            place["region"],
            json!({"startLine": 3, "startColumn": 5, "endLine": 3, "endColumn": 9})
        );
        assert_eq!(results[0]["message"]["text"], "bad\nmend it");
        assert!(results[1]["locations"][0]["physicalLocation"].get("region").is_none());
        assert_ne!(results[0]["partialFingerprints"], results[1]["partialFingerprints"]);
    }
}
