//! Which entries of a list go on, and which are new: the least edit between two lists.

use std::ops::Range;

use serde_json::Value;
use similar::{Algorithm, DiffOp, capture_diff_slices};

/// Where an entry of the new list comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It is the old list's entry of this number, maybe changed, and stays where it is.
    Kept(usize),
    /// It is the old list's entry of this number, maybe changed, and moves here.
    Moved(usize),
    /// It is new.
    New,
}

/// The origin of each entry of the new list. Entries of the old list that nothing comes from go.
pub fn align(old: &[Value], new: &[Value]) -> Vec<Origin> {
    let key = key(old, new);
    let id = |value: &Value| key.and_then(|key| value.get(key)).unwrap_or(value).to_string();
    let (from, to): (Vec<_>, Vec<_>) = (old.iter().map(id).collect(), new.iter().map(id).collect());
    let mut origins = vec![Origin::New; new.len()];
    let mut gone: Vec<usize> = vec![];
    let mut pairs: Vec<(Range<usize>, Range<usize>)> = vec![];
    for op in capture_diff_slices(Algorithm::Myers, &from, &to) {
        let (before, after) = (op.old_range(), op.new_range());
        if matches!(op, DiffOp::Equal { .. }) {
            for (n, origin) in origins[after].iter_mut().enumerate() {
                *origin = Origin::Kept(before.start + n);
            }
        } else {
            gone.extend(before.clone());
            pairs.push((before, after));
        }
    }
    // What is gone in one place and new in another has moved, with its comments.
    for (n, origin) in origins.iter_mut().enumerate().filter(|(_, it)| **it == Origin::New) {
        if let Some(at) = gone.iter().position(|old| from[*old] == to[n]) {
            *origin = Origin::Moved(gone.remove(at));
        }
    }
    // What is left in the same place is the same entry with another value.
    for (before, after) in pairs {
        let mut before = before.filter(|n| gone.contains(n)).peekable();
        for n in after {
            if origins[n] != Origin::New {
                continue;
            }
            if before.peek().is_some_and(|at| alike(&old[*at], &new[n])) {
                origins[n] = before.next().map_or(Origin::New, Origin::Kept);
            }
        }
    }
    in_order(&mut origins);
    origins
}

/// Kept entries must stand in the order in which they stood; one that does not is a moved one.
fn in_order(origins: &mut [Origin]) {
    let mut last = None;
    for origin in origins {
        if let Origin::Kept(n) = *origin {
            if last.is_some_and(|last| n < last) {
                *origin = Origin::Moved(n);
            } else {
                last = Some(n);
            }
        }
    }
}

/// The field that tells the entries of both lists apart.
fn key(old: &[Value], new: &[Value]) -> Option<&'static str> {
    let tells = |list: &[Value], key: &str| {
        let mut seen = std::collections::HashSet::new();
        list.iter()
            .all(|it| it.get(key).and_then(Value::as_str).is_some_and(|it| seen.insert(it)))
    };
    ["mountPath", "name", "type"]
        .into_iter()
        .find(|key| tells(old, key) && tells(new, key))
}

/// Whether the one can be taken for the other with a changed value: of mappings, if any field is the same.
fn alike(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => old.iter().any(|(key, value)| new.get(key) == Some(value)),
        (Value::Object(_) | Value::Array(_), _) | (_, Value::Object(_) | Value::Array(_)) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(old: &Value, new: &Value) -> String {
        let list = |value: &Value| value.as_array().unwrap().clone();
        let origins = align(&list(old), &list(new)).into_iter().map(|it| match it {
            Origin::Kept(n) => n.to_string(),
            Origin::Moved(n) => format!("{n}!"),
            Origin::New => "+".to_owned(),
        });
        origins.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_least_is_changed() {
        let env = |name: &str, value: &str| json!({"name": name, "value": value});
        for (old, new, want) in [
            (json!([]), json!(["a"]), "+"),
            (json!(["a"]), json!([]), ""),
            (json!(["a", "b", "c"]), json!(["a", "c"]), "0 2"),
            (json!(["a", "b"]), json!(["a", "x", "b"]), "0 + 1"),
            (json!(["a", "b", "c"]), json!(["a", "x", "c"]), "0 1 2"),
            (json!(["a", "b", "c"]), json!(["a", "x", "y", "c"]), "0 1 + 2"),
            (json!(["a", "a"]), json!(["a", "a", "a"]), "0 1 +"),
            (json!(["a", "b", "c"]), json!(["c", "a", "b"]), "2! 0 1"),
            (
                json!([env("A", "1"), env("B", "2")]),
                json!([env("A", "1"), env("B", "3")]),
                "0 1",
            ),
            (json!([env("A", "1"), env("B", "2")]), json!([env("B", "3")]), "1"),
            (
                json!([env("A", "1"), env("B", "2")]),
                json!([env("B", "3"), env("A", "4")]),
                "1! 0",
            ),
            // A new name for the same value, and another variable altogether.
            (json!([env("A", "1")]), json!([env("B", "1")]), "0"),
            (json!([env("A", "1")]), json!([env("B", "2")]), "+"),
        ] {
            let got = shown(&old, &new);
            // Which of two that change places moves is not said.
            let other = want == "1! 0" && got == "1 0!";
            assert!(got == want || other, "{old} {new}: {got}");
        }
    }
}
