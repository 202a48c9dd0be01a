//! Tasks that servers began for their callers: whose they are and where they run, so that what is asked of a task later
//! reaches the server that has it, and nobody else hears of it. The eras have tasks of their own; both name them by `taskId`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use crate::kit::Name;
use crate::mcp::envelope::{members, text_of};
use crate::mcp::locked;
use crate::record::Life;

/// Tasks that are remembered; beyond, the oldest are forgotten.
const MOST: usize = 10_000;
/// The longest id of a task, in bytes.
const LONGEST: usize = 1_000;

type Key = (Arc<str>, String);

/// Where tasks run.
#[derive(Default)]
pub struct Tasks(Mutex<Known>);

#[derive(Default)]
struct Known {
    all: HashMap<Key, (Name, Life)>,
    oldest: VecDeque<Key>,
}

impl Tasks {
    /// Notes the task that a result began, where it did.
    pub fn note(&self, caller: &Arc<str>, server: &Name, life: &Life, result: &[u8]) {
        let Some(id) = begun(result).filter(|id| id.len() <= LONGEST) else {
            return;
        };
        let mut known = locked(&self.0);
        let key = (Arc::clone(caller), id);
        if known.all.insert(key.clone(), (server.clone(), life.clone())).is_none() {
            known.oldest.push_back(key);
        }
        if known.oldest.len() > MOST
            && let Some(oldest) = known.oldest.pop_front()
        {
            known.all.remove(&oldest);
        }
    }

    /// The server and the life that have a caller's task.
    pub fn place(&self, caller: &Arc<str>, id: &str) -> Option<(Name, Life)> {
        locked(&self.0).all.get(&(Arc::clone(caller), id.to_owned())).cloned()
    }
}

/// The id of the task that a result is about: in `task` (2025-11-25, and the extension), or beside its `resultType`.
fn begun(result: &[u8]) -> Option<String> {
    // Most results are about none, and may be long: they are searched, not read.
    memchr::memmem::find(result, b"\"taskId\"")?;
    let text = std::str::from_utf8(result).ok()?;
    let [task, kind, id] = members(text, ["task", "resultType", "taskId"]).ok()?;
    let id = match task {
        Some(task) => members(task.get(), ["taskId"]).ok()?[0],
        None => id.filter(|_| kind.and_then(text_of).as_deref() == Some("task")),
    };
    Some(text_of(id?)?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_its_callers() {
        let tasks = Tasks::default();
        let (anna, bert): (Arc<str>, Arc<str>) = ("anna".into(), "bert".into());
        let (name, life): (Name, Life) = ("time".parse().unwrap(), Life("l".into()));
        tasks.note(&anna, &name, &life, br#"{"task":{"taskId":"t1","status":"working"}}"#);
        tasks.note(&anna, &name, &life, br#"{"resultType":"task","taskId":"t2"}"#);
        for no_task in [
            &br#"{"content":[{"taskId":"t3"}]}"#[..],
            br#"{"taskId":"t3"}"#,
            br#"{"task":{"taskId":3}}"#,
            b"\"taskId\"",
        ] {
            tasks.note(&anna, &name, &life, no_task);
        }
        let there = |who, id| tasks.place(who, id).is_some();
        assert!(there(&anna, "t1") && there(&anna, "t2") && !there(&anna, "t3"));
        assert!(!there(&bert, "t1"), "somebody else's");
        for n in 0..MOST {
            tasks.note(
                &anna,
                &name,
                &life,
                format!(r#"{{"task":{{"taskId":"n{n}"}}}}"#).as_bytes(),
            );
        }
        assert!(!there(&anna, "t1") && there(&anna, "n0"), "the oldest goes");
    }
}
