//! A plan in words: the lines that `mcpctl` prints and that a push shows, spelled once.

use std::fmt;

use serde_json::Value;

use crate::record::Conflict;
use crate::resource::{Document, FieldChange, Kind, field_changes, kind_named};

use super::plan::{ContainerStep, Op, PlanBody, Step};

/// The longest that one value is shown in a line, in characters.
const VALUE: usize = 60;

/// How much of what two long values have in common is shown before they differ, in characters.
const BEFORE: usize = 12;

/// How many fields of one resource a line names.
const FIELDS: usize = 8;

/// Text from elsewhere made safe for one line of a terminal: control characters and changes of the writing direction become spaces.
#[must_use]
pub fn plain(text: &str) -> String {
    let unsafe_character =
        |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    text.chars()
        .map(|c| if unsafe_character(c) { ' ' } else { c })
        .collect()
}

/// Text cut to `width` characters, with `…` where something is left out.
#[must_use]
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(width.saturating_sub(1)).collect();
    out.push('…');
    out
}

/// A field's value in a line: JSON; where there is none the field's default, or `none`.
///
/// Documents leave out what equals its default, and people know `replicas 1`, not `replicas none`.
#[must_use]
pub fn value(kind: Option<&Kind>, path: &str, value: &Value) -> String {
    cut(&whole(kind, path, value), VALUE)
}

/// Two different values in a line, as [`value`]; where both are long, from a little before they begin to differ.
fn values(kind: Option<&Kind>, path: &str, from: &Value, to: &Value) -> (String, String) {
    let (from, to) = (whole(kind, path, from), whole(kind, path, to));
    let same = from.chars().zip(to.chars()).take_while(|(a, b)| a == b).count();
    // Seen from the beginning, the difference and a little of what follows fit.
    let shown = |text: &str| {
        if same + BEFORE <= VALUE || text.chars().count() <= VALUE {
            return cut(text, VALUE);
        }
        let rest: String = text.chars().skip(same - BEFORE).collect();
        cut(&format!("…{rest}"), VALUE)
    };
    if from.chars().count().max(to.chars().count()) <= VALUE {
        return (from, to);
    }
    (shown(&from), shown(&to))
}

/// A field's value in one line, uncut.
fn whole(kind: Option<&Kind>, path: &str, value: &Value) -> String {
    let default = || {
        let field = kind?.shape.fields().find(|field| field.name == path)?;
        field.default.as_ref()
    };
    let value = if value.is_null() { default() } else { Some(value) };
    match value {
        None | Some(Value::Null) => "none".to_owned(),
        Some(value) => plain(&value.to_string()),
    }
}

/// `replicas 1 → 2`.
#[must_use]
pub fn field(kind: Option<&Kind>, change: &FieldChange) -> String {
    let (from, to) = values(kind, &change.path, &change.from, &change.to);
    format!("{} {from} → {to}", plain(&change.path))
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "+",
            Self::Change => "~",
            Self::Delete => "-",
        })
    }
}

/// `+ server/time`, `~ server/git  replicas 1 → 2`, `- server/old`.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.op, plain(&self.resource))?;
        if self.op == Op::Change && !self.fields.is_empty() {
            let kind = self.resource.split_once('/').and_then(|(kind, _)| kind_named(kind));
            let fields = self.fields.iter().take(FIELDS);
            let shown: Vec<String> = fields.map(|change| field(kind, change)).collect();
            write!(f, "  {}", shown.join(", "))?;
            if self.fields.len() > FIELDS {
                write!(f, " and {} more", self.fields.len() - FIELDS)?;
            }
        }
        Ok(())
    }
}

/// `! server/web  description: the store's "c" kept, yours "b" (mcpctl conflicts accept server/web --from repo)`.
#[must_use]
pub fn conflict(conflict: &Conflict) -> String {
    let lost = match (&conflict.store, &conflict.repository) {
        (Some(_), None) => "deleted in the repository; the store's kept".to_owned(),
        (None, Some(_)) => "deleted in the store, and stays so; yours is lost".to_owned(),
        (None, None) => "deleted on both sides".to_owned(),
        (Some(store), Some(repository)) => clashes(conflict, store, repository)
            .iter()
            .take(FIELDS)
            .map(|clash| {
                let (store, yours) = values(Some(conflict.id.kind()), &clash.path, &clash.from, &clash.to);
                format!("{}: the store's {store} kept, yours {yours}", plain(&clash.path))
            })
            .collect::<Vec<_>>()
            .join(", "),
    };
    let id = &conflict.id;
    format!("! {id}  {lost} (mcpctl conflicts accept {id} --from repo)")
}

/// The fields that lost, for a table; nothing where a side deleted the resource.
#[must_use]
pub fn lost(conflict: &Conflict) -> Vec<String> {
    match (&conflict.store, &conflict.repository) {
        (Some(store), Some(repository)) => {
            let clashes = clashes(conflict, store, repository);
            clashes.into_iter().map(|clash| clash.path).collect()
        }
        _ => vec![],
    }
}

/// What of the repository lost: the fields that are known to have, or all that it changed since both last agreed.
fn clashes(conflict: &Conflict, store: &Document, repository: &Document) -> Vec<FieldChange> {
    let all = field_changes(Some(store), Some(repository));
    let below = |path: &str, above: &str| {
        path.strip_prefix(above)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let named: Vec<String> = if conflict.fields.is_empty() {
        let Some(base) = conflict.base.as_deref() else {
            return all;
        };
        let moved = field_changes(Some(base), Some(repository));
        moved.into_iter().map(|change| change.path).collect()
    } else {
        conflict.fields.iter().map(|path| path.join(".")).collect()
    };
    let lost = |change: &&FieldChange| {
        named
            .iter()
            .any(|path| below(&change.path, path) || below(path, &change.path))
    };
    let lost: Vec<FieldChange> = all.iter().filter(lost).cloned().collect();
    if lost.is_empty() { all } else { lost }
}

/// `containers: start time/0 · replace git/0 (env) · stop none`; nothing where nothing happens.
#[must_use]
pub fn containers(steps: &[ContainerStep]) -> Option<String> {
    if steps.is_empty() {
        return None;
    }
    let part = |op: &str| {
        let named: Vec<String> = steps
            .iter()
            .filter(|step| step.op == op)
            .map(|step| {
                if op == "replace" && !step.reason.is_empty() {
                    format!("{} ({})", plain(&step.instance), plain(&step.reason))
                } else {
                    plain(&step.instance)
                }
            })
            .collect();
        let named = if named.is_empty() {
            "none".to_owned()
        } else {
            named.join(", ")
        };
        format!("{op} {named}")
    };
    let parts: Vec<String> = ["start", "replace", "stop"].into_iter().map(part).collect();
    Some(format!("containers: {}", parts.join(" · ")))
}

/// `1 to create, 1 to change, 1 to delete, 1 conflict, 41 unchanged`: always all five, so that scripts can read it.
#[must_use]
pub fn counts(plan: &PlanBody) -> String {
    let of = |op| plan.steps.iter().filter(|step| step.op == op).count();
    let (create, change, delete) = (of(Op::Create), of(Op::Change), of(Op::Delete));
    let conflicts = crate::kit::count(plan.conflicts.len(), "conflict");
    format!(
        "{create} to create, {change} to change, {delete} to delete, {conflicts}, {} unchanged",
        plan.unchanged
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn document(spec: Value) -> Option<Arc<Document>> {
        "server/web"
            .parse()
            .ok()
            .map(|id| Arc::new(Document { id, spec, text: None }))
    }

    fn step(op: Op, fields: Vec<FieldChange>) -> Step {
        Step {
            op,
            resource: "server/git".into(),
            fields,
            source: "servers/git.yaml:1@3fa2c1e".into(),
        }
    }

    fn change(path: &str, from: Value, to: Value) -> FieldChange {
        FieldChange {
            path: path.into(),
            from,
            to,
        }
    }

    #[test]
    fn steps_read_as_in_a_push() {
        let fields = vec![
            change("replicas", json!(1), json!(2)),
            change("env.A", Value::Null, json!("x\u{1b}[31m\u{9b}")),
        ];
        for (step, want) in [
            (step(Op::Create, fields.clone()), "+ server/git"),
            (
                step(Op::Change, fields),
                r#"~ server/git  replicas 1 → 2, env.A none → "x\u001b[31m ""#,
            ),
            (step(Op::Delete, vec![]), "- server/git"),
            (
                step(
                    Op::Change,
                    vec![
                        change("replicas", Value::Null, json!(2)),
                        change("update", json!("recreate"), Value::Null),
                    ],
                ),
                r#"~ server/git  replicas 1 → 2, update "recreate" → "rolling""#,
            ),
        ] {
            assert_eq!(step.to_string(), want);
        }
        let many = (0..10)
            .map(|n| change(&format!("f{n}"), json!(n), json!(n + 1)))
            .collect();
        assert!(step(Op::Change, many).to_string().ends_with("f7 7 → 8 and 2 more"));
        assert_eq!(value(None, "", &json!("x".repeat(100))).chars().count(), VALUE);
    }

    #[test]
    fn long_values_are_cut_around_their_difference() {
        let long = |middle: &str, end: &str| json!([format!("{}{middle}{end}", "p".repeat(80))]);
        let tail = "t".repeat(80);
        for (from, to, want) in [
            (json!("a"), json!("b"), r#"x "a" → "b""#.to_owned()),
            (
                long("A", ""),
                long("B", ""),
                r#"x …ppppppppppppA"] → …ppppppppppppB"]"#.to_owned(),
            ),
            (
                long("A", &tail),
                long("B", &tail),
                format!("x …ppppppppppppA{0}… → …ppppppppppppB{0}…", "t".repeat(45)),
            ),
            (json!("n"), long("", ""), format!("x \"n\" → [\"{}…", "p".repeat(57))),
            // The shorter one ends where they differ, and is still shown whole.
            (
                json!("p".repeat(57)),
                json!("p".repeat(90)),
                format!("x \"{}\" → …{}\"", "p".repeat(57), "p".repeat(45)),
            ),
        ] {
            assert_eq!(field(None, &change("x", from, to)), want);
        }
    }

    #[test]
    fn conflicts_say_what_lost() {
        let base = Conflict {
            number: 1,
            fields: vec![vec!["description".to_owned()]],
            reason: None,
            id: "server/web".parse().unwrap(),
            base: document(json!({"description": "a", "replicas": 1})),
            repository: document(json!({"description": "b", "replicas": 2})),
            store: document(json!({"description": "c", "replicas": 1})),
            commit: "3fa2c1e".into(),
            place: None,
            at: crate::kit::time::Timestamp::UNIX_EPOCH,
            revision: 1,
        };
        assert_eq!(
            conflict(&base),
            "! server/web  description: the store's \"c\" kept, yours \"b\" (mcpctl conflicts accept server/web --from repo)"
        );
        let whole = Conflict {
            fields: vec![],
            ..base.clone()
        };
        assert_eq!(
            conflict(&whole),
            "! server/web  description: the store's \"c\" kept, yours \"b\", replicas: the store's 1 kept, yours 2 (mcpctl conflicts accept server/web --from repo)"
        );
        let gone = Conflict {
            repository: None,
            ..base.clone()
        };
        assert!(conflict(&gone).contains("deleted in the repository; the store's kept"));
        let kept = Conflict { store: None, ..base };
        assert!(conflict(&kept).contains("deleted in the store"));
    }

    #[test]
    fn counts_and_containers() {
        let mut plan = PlanBody {
            unchanged: 41,
            ..PlanBody::default()
        };
        assert_eq!(
            counts(&plan),
            "0 to create, 0 to change, 0 to delete, 0 conflicts, 41 unchanged"
        );
        plan.steps = vec![step(Op::Create, vec![]), step(Op::Delete, vec![])];
        assert_eq!(
            counts(&plan),
            "1 to create, 0 to change, 1 to delete, 0 conflicts, 41 unchanged"
        );
        assert_eq!(containers(&[]), None);
        let container = |op: &str, instance: &str, reason: &str| ContainerStep {
            op: op.into(),
            instance: instance.into(),
            reason: reason.into(),
        };
        let steps = [
            container("start", "time/0", "new"),
            container("replace", "git/0", "env"),
        ];
        assert_eq!(
            containers(&steps).as_deref(),
            Some("containers: start time/0 · replace git/0 (env) · stop none")
        );
    }

    #[test]
    fn the_defaults_that_are_shown_are_the_defaults() {
        let id: crate::resource::Id = "server/web".parse().unwrap();
        let base = json!({"command": ["web"]});
        let plain = Document::new(id.clone(), &base).unwrap();
        let mut seen = 0;
        for field in id.kind().shape.fields() {
            let Some(default) = &field.default else { continue };
            let mut spec = base.clone();
            spec[&field.name] = default.clone();
            assert_eq!(Document::new(id.clone(), &spec).unwrap(), plain, "{}", field.name);
            seen += 1;
        }
        assert!(seen > 3);
    }
}
