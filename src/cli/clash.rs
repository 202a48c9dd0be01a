//! Conflicts shown with both diffs: what the repository and what the store had changed since both last agreed.

use similar::TextDiff;

use crate::record::Conflict;
use crate::resource::{Declared as _, Document, Secret, field_changes, masked};
use crate::wire::words::{self, conflict as told, plain};

use super::shown;

/// The lines of one conflict.
pub(super) fn lines(conflict: &Conflict) -> Vec<String> {
    let mut out = vec![plain(&told(conflict))];
    let mut fact = |word: &str, text: String| {
        if !text.is_empty() {
            out.push(format!("  {word:<11} {}", plain(&text)));
        }
    };
    fact("number", conflict.number.to_string());
    fact("found", format!("{} ago", shown::since(conflict.at)));
    fact("commit", conflict.commit.clone());
    fact("place", conflict.place.clone().unwrap_or_default());
    fact("not merged", conflict.reason.clone().unwrap_or_default());
    let base = conflict.base.as_deref();
    let (repository, store) = (conflict.repository.as_deref(), conflict.store.as_deref());
    for (heading, side) in [
        ("the repository, which lost", repository),
        ("the store, which was kept", store),
    ] {
        out.push(String::new());
        out.extend(diff(base, side, heading));
    }
    out
}

/// The unified diff of one side since both last agreed.
fn diff(base: Option<&Document>, side: Option<&Document>, heading: &str) -> Vec<String> {
    let secret = side
        .or(base)
        .is_some_and(|document| document.id.kind().name == Secret::NAME);
    if let (true, Some(before), Some(after)) = (secret, base, side) {
        // Values are not shown, and whether they changed is.
        let changes = field_changes(Some(before), Some(after));
        let lines = changes.iter().map(|change| format!("~ {}", words::field(None, change)));
        return std::iter::once(format!("{heading}, since both last agreed:"))
            .chain(lines)
            .collect();
    }
    let (before, after) = (text(base), text(side));
    let from = if base.is_some() { "last agreed on" } else { "nothing" };
    let to = if side.is_some() {
        heading.to_owned()
    } else {
        format!("{heading}: deleted")
    };
    let diff = TextDiff::from_lines(&before, &after);
    let text = diff.unified_diff().context_radius(3).header(from, &to).to_string();
    if text.is_empty() {
        return vec![format!("{heading}: as last agreed on")];
    }
    text.lines().map(plain).collect()
}

fn text(document: Option<&Document>) -> String {
    let Some(document) = document else { return String::new() };
    let mut document = document.clone();
    if document.id.kind().name == Secret::NAME {
        document.spec = masked(&document.spec);
        document.text = None;
    }
    shown::yaml_of([&document])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use crate::kit::time::Timestamp;

    use super::*;

    fn document(spec: &serde_json::Value) -> Option<Arc<Document>> {
        let id = "server/web".parse().ok()?;
        Document::new(id, spec).ok().map(Arc::new)
    }

    #[test]
    fn a_conflict_has_both_diffs() {
        let conflict = Conflict {
            number: 3,
            id: "server/web".parse().unwrap(),
            base: document(&json!({"command": ["x"], "description": "a"})),
            repository: document(&json!({"command": ["x"], "description": "b", "replicas": 2})),
            store: document(&json!({"command": ["x"], "description": "c"})),
            fields: vec![vec!["description".to_owned()]],
            reason: None,
            commit: "3fa2c1e".to_owned(),
            place: Some("web.yaml:1".to_owned()),
            at: Timestamp::UNIX_EPOCH,
            revision: 7,
        };
        let lines = lines(&conflict);
        let lines: Vec<&str> = lines
            .iter()
            .map(String::as_str)
            .filter(|line| !line.starts_with("  found"))
            .collect();
        let want = r#"! server/web  description: the store's "c" kept, yours "b" (mcpctl conflicts accept server/web --from repo)
  number      3
  commit      3fa2c1e
  place       web.yaml:1

--- last agreed on
+++ the repository, which lost
@@ -1,5 +1,6 @@
 kind: server
 name: web
-description: a
+description: b
 command:
 - x
+replicas: 2

--- last agreed on
+++ the store, which was kept
@@ -1,5 +1,5 @@
 kind: server
 name: web
-description: a
+description: c
 command:
 - x"#;
        assert_eq!(lines.join("\n"), want);
        let deleted = Conflict {
            repository: None,
            fields: vec![],
            ..conflict
        };
        assert!(
            super::lines(&deleted)
                .iter()
                .any(|line| line == "+++ the repository, which lost: deleted")
        );
    }
}
