//! Tools that change: each is remembered as it was first seen, a change is told, and what was approved stands in the
//! repository (`.mcpctl/tools.lock`), written by the commit that approves it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::kit::time::Timestamp;
use crate::kit::{Digest, Name, count};
use crate::record::{
    Actor, AuditEvent, Decision, Event, Fleet, Level, Remembered, Sight, StoreView, ToolMemory, ToolSeen, Upstreams,
};
use crate::repo::{Amendment, Landing, Snapshot};
use crate::resource::{Declared as _, Project, Server, TOOLS_LOCK, ToolLock, ToolsLock};
use crate::wire::SourceState;

use super::agree::Agreed;
use super::observe::of_kind;
use super::report::now;
use super::{Engine, EngineError, Inner, lock};

/// Before a server's name: the fact with its tools as JSON.
const TOOLS: &str = "tools:";
/// The fact with the text of the lock in force: where the repository can't be read, what was approved stays so.
const LOCK: &str = "tools-lock";
/// The longest definition that is kept, in bytes, and all of a server's together.
const LONGEST: usize = 16 << 10;
const MOST_BYTES: usize = 1 << 20;
/// Tools of one server that are remembered when they are not listed any more.
const MOST_GONE: usize = 1_000;
/// Of a server's tools that change at once this many are told each.
const MOST_TOLD: usize = 10;
/// How often an approval is tried anew where the repository moved meanwhile.
const TRIES: usize = 5;
/// The longest that an approval waits for a remote.
const REMOTE: Duration = Duration::from_mins(1);

/// What is known of tools.
pub(super) struct Tools {
    memory: Arc<ToolMemory>,
    in_force: Arc<ToolsLock>,
}

/// A tool that is to be approved as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Its server.
    pub server: Name,
    /// The server's own name for it.
    pub tool: String,
    /// The digest of what it promises now.
    pub digest: Digest,
    /// What it promises now.
    pub definition: Arc<str>,
}

impl Tools {
    /// Reads what an mcpd before this one remembered. What can't be read is as if it were not there.
    pub(super) fn open(store: &crate::store::Store) -> Self {
        let memory = store.metas(TOOLS).into_iter().filter_map(|(fact, text)| {
            let server = fact.strip_prefix(TOOLS)?.parse().ok()?;
            Some((server, serde_json::from_str(&text).ok()?))
        });
        let text = store.meta(LOCK).unwrap_or_default();
        Self {
            memory: Arc::new(memory.collect()),
            in_force: Arc::new(ToolsLock::parse(&text, TOOLS_LOCK).unwrap_or_default()),
        }
    }
}

impl Inner {
    /// The lock in force.
    pub(super) fn tools_lock(&self) -> Arc<ToolsLock> {
        Arc::clone(&lock(&self.tools).in_force)
    }

    fn tool_memory(&self) -> Arc<ToolMemory> {
        Arc::clone(&lock(&self.tools).memory)
    }

    /// Takes the lock that stands in the repository, and what servers list by now. A lock that can't be read changes nothing,
    /// as a declaration that can't be read changes nothing.
    pub(super) async fn tend_tools(
        &self,
        view: &StoreView,
        fleet: &Fleet,
        agreed: Option<&Agreed>,
    ) -> Result<(), EngineError> {
        let store = &self.parts.store;
        let taken = agreed.filter(|agreed| agreed.plan.guard.is_none() && agreed.replaced.is_none());
        if let Some(agreed) = taken {
            let text = agreed.snapshot.tools_lock.as_deref().unwrap_or_default();
            if store.meta(LOCK).unwrap_or_default() != text
                && let Ok(read) = ToolsLock::parse(text, TOOLS_LOCK)
            {
                store.set_meta(LOCK, text).await?;
                lock(&self.tools).in_force = Arc::new(read);
            }
        }
        let upstreams = Arc::clone(&self.parts.upstreams.borrow());
        let listed = listed(fleet, &upstreams);
        let declared: BTreeSet<&Name> = of_kind(&view.rows, Server::NAME).map(|it| &it.id.name).collect();
        let _alone = self.remembering.lock().await;
        let before = self.tool_memory();
        let in_force = self.tools_lock();
        let mut memory = ToolMemory::clone(&before);
        memory.retain(|server, _| declared.contains(server));
        let mut events = vec![];
        for (server, tools) in listed {
            let known = memory.entry(server.clone()).or_default();
            events.extend(take(server, known, tools, &in_force, now()));
        }
        self.remember(&before, memory).await?;
        if !events.is_empty() {
            store.record(events, vec![]).await?;
        }
        Ok(())
    }

    /// Writes down what differs. The caller holds `remembering`.
    async fn remember(&self, before: &ToolMemory, mut memory: ToolMemory) -> Result<(), EngineError> {
        let mut facts = BTreeMap::new();
        for (server, tools) in &mut memory {
            if before.get(server) == Some(tools) {
                continue;
            }
            let mut bytes = 0;
            let sights = tools
                .values_mut()
                .flat_map(|it| std::iter::once(&mut it.approved).chain(&mut it.now));
            for sight in sights {
                bytes += sight.definition.as_ref().map_or(0, String::len);
                if bytes > MOST_BYTES {
                    sight.definition = None;
                }
            }
            match serde_json::to_string(tools) {
                Ok(text) => drop(facts.insert(format!("{TOOLS}{server}"), Some(text))),
                Err(error) => tracing::warn!(%error, "what a server lists can't be written down"),
            }
        }
        let gone = before.keys().filter(|server| !memory.contains_key(*server));
        facts.extend(gone.map(|server| (format!("{TOOLS}{server}"), None)));
        if !facts.is_empty() {
            self.parts.store.set_metas(facts).await?;
            lock(&self.tools).memory = Arc::new(memory);
        }
        Ok(())
    }

    /// Writes approvals into the repository: one commit. Its id, where one was needed.
    async fn commit_approvals(&self, actor: &Actor, tools: &[&Approval]) -> Result<Option<String>, EngineError> {
        if let Some(why) = self.other_writer() {
            return Err(EngineError::NotApproved(why));
        }
        let source = &self.parts.source;
        if !self.takes_exports() {
            let why = "the remote can't be written to now (mcpctl backup status): nothing was approved";
            return Err(EngineError::NotApproved(why.to_owned()));
        }
        let waits = {
            let report = self.report.borrow();
            let source = &report.status.source;
            let stopped = matches!(source.state, SourceState::WaitingForApproval | SourceState::Failing);
            source.last_error.clone().filter(|_| stopped)
        };
        if let Some(why) = waits {
            return Err(EngineError::NotApproved(format!("nothing was approved, because {why}")));
        }
        for _ in 0..TRIES {
            let seen = self.snapshot().await?;
            let Some((before, after)) = approved(&seen, tools)? else {
                return Ok(None);
            };
            let amendment = Amendment {
                path: TOOLS_LOCK,
                before,
                after,
                actor: actor.clone(),
                at: now(),
                message: subject(tools),
            };
            let prepared = source.amend(&seen, amendment).await?;
            match source.land(&prepared).await? {
                Landing::Landed => return Ok(Some(prepared.commit)),
                Landing::Moved => {}
                Landing::Underway => {
                    if self.arrived(&prepared.attempt).await? {
                        return Ok(Some(prepared.commit));
                    }
                }
            }
        }
        Err(EngineError::Busy)
    }

    /// Whether a commit that is on its way has landed at the remote.
    async fn arrived(&self, attempt: &str) -> Result<bool, EngineError> {
        let mut changed = self.parts.source.changed();
        let wait = async {
            loop {
                changed.mark_unchanged();
                if let Some(landed) = self.parts.source.landed(attempt).await? {
                    return Ok(landed);
                }
                let _ = tokio::time::timeout(Duration::from_secs(1), changed.changed()).await;
            }
        };
        let unsure = || {
            let why = "the remote did not say in time whether it took the approval: look at mcpctl get tools, and approve again";
            EngineError::NotApproved(why.to_owned())
        };
        tokio::time::timeout(REMOTE, wait).await.map_err(|_| unsure())?
    }
}

impl Engine {
    /// The tools as they were first seen or approved.
    #[must_use]
    pub fn tool_memory(&self) -> Arc<ToolMemory> {
        self.0.tool_memory()
    }

    /// The approvals in force.
    #[must_use]
    pub fn tools_lock(&self) -> Arc<ToolsLock> {
        self.0.tools_lock()
    }

    /// Approves tools as they are: in the repository, by one commit, where a project with a strict lock has their server;
    /// in the store always. In force when this returns. The commit, where one was made.
    pub async fn approve_tools(&self, actor: &Actor, tools: &[Approval]) -> Result<Option<String>, EngineError> {
        let inner = &self.0;
        let _one_at_a_time = inner.editing.lock().await;
        let strict = strict(&self.store().view());
        let locked: Vec<&Approval> = tools.iter().filter(|tool| strict.contains(&tool.server)).collect();
        let commit = if locked.is_empty() {
            None
        } else {
            inner.lease.take("approve").await;
            let done = inner.commit_approvals(actor, &locked).await;
            inner.lease.release("approve");
            done?
        };
        let at = now();
        {
            let _alone = inner.remembering.lock().await;
            let before = inner.tool_memory();
            let mut memory = ToolMemory::clone(&before);
            for tool in tools {
                let sight = sight(tool.digest, &tool.definition, at);
                let known = memory.entry(tool.server.clone()).or_default();
                known.insert(
                    tool.tool.clone(),
                    Remembered {
                        approved: sight,
                        now: None,
                    },
                );
            }
            inner.remember(&before, memory).await?;
        }
        let all: Vec<&Approval> = tools.iter().collect();
        let audit = AuditEvent {
            sequence: 0,
            at,
            actor: actor.name.clone(),
            door: actor.door.clone(),
            action: subject(&all),
            decision: Decision::Allowed,
            revision: None,
        };
        self.store().record(told(&all, actor, at), vec![audit]).await?;
        self.served(inner.call_for_a_round()).await?;
        Ok(commit)
    }
}

/// The servers of which a project wants every tool approved.
fn strict(view: &StoreView) -> BTreeSet<Name> {
    of_kind(&view.rows, Project::NAME)
        .filter_map(|document| document.typed::<Project>().ok())
        .filter(|project| project.tools.lock == ToolLock::Strict)
        .flat_map(|project| project.servers)
        .filter_map(|server| server.parse().ok())
        .collect()
}

fn told(tools: &[&Approval], actor: &Actor, at: Timestamp) -> Vec<Event> {
    let servers: BTreeSet<&Name> = tools.iter().map(|tool| &tool.server).collect();
    let event = |server: &Name| {
        let names: Vec<&str> = tools
            .iter()
            .filter(|it| it.server == *server)
            .map(|it| it.tool.as_str())
            .collect();
        Event {
            sequence: 0,
            at,
            level: Level::Info,
            about: format!("server/{server}"),
            reason: "ToolsApproved".to_owned(),
            message: format!("{} approved {}", actor.name, few(&names)),
        }
    };
    servers.into_iter().map(event).collect()
}

/// The file before and after; nothing where all of it stands there already.
fn approved(seen: &Snapshot, tools: &[&Approval]) -> Result<Option<(Option<String>, String)>, EngineError> {
    let text = seen.tools_lock.as_deref();
    let mut lock = match text {
        None => ToolsLock::default(),
        Some(text) => ToolsLock::parse(text, TOOLS_LOCK).map_err(|fault| EngineError::Invalid(vec![*fault]))?,
    };
    let before = lock.clone();
    for tool in tools {
        lock.approve(&tool.server, &tool.tool, tool.digest);
    }
    Ok((lock != before).then(|| (text.map(str::to_owned), lock.print())))
}

fn subject(tools: &[&Approval]) -> String {
    let names: Vec<String> = tools.iter().map(|it| format!("{}/{}", it.server, it.tool)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if let [one] = &names[..] {
        return format!("approve tool {one}");
    }
    format!("approve {}: {}", count(names.len(), "tool"), few(&names))
}

fn few(names: &[&str]) -> String {
    let rest = names.len().saturating_sub(MOST_TOLD);
    let first = names.iter().take(MOST_TOLD).copied().collect::<Vec<_>>().join(", ");
    if rest == 0 {
        first
    } else {
        format!("{first} and {rest} more")
    }
}

/// What each server lists: what its first serving instance says, as the gateway shows it.
fn listed<'a>(fleet: &'a Fleet, upstreams: &'a Upstreams) -> BTreeMap<&'a Name, &'a [ToolSeen]> {
    let mut first: BTreeMap<&Name, (u32, &[ToolSeen])> = BTreeMap::new();
    for (life, member) in fleet.members.iter().filter(|(_, member)| member.serving) {
        let ready = upstreams
            .get(life)
            .filter(|it| matches!(it.handshake, crate::record::Handshake::Ready { .. }));
        let Some(upstream) = ready else { continue };
        let (index, tools) = (member.instance.index, upstream.tools.as_slice());
        let entry = first.entry(&member.instance.server).or_insert((index, tools));
        if index < entry.0 {
            *entry = (index, tools);
        }
    }
    first.into_iter().map(|(server, (_, tools))| (server, tools)).collect()
}

/// Takes what a server lists now; what changed is told.
fn take(
    server: &Name,
    known: &mut BTreeMap<String, Remembered>,
    tools: &[ToolSeen],
    lock: &ToolsLock,
    at: Timestamp,
) -> Vec<Event> {
    let mut changed: Vec<String> = vec![];
    let mut back: Vec<&str> = vec![];
    for tool in tools {
        let Some(it) = known.get_mut(&tool.name) else {
            let approved = sight(tool.digest, &tool.definition, at);
            known.insert(tool.name.clone(), Remembered { approved, now: None });
            continue;
        };
        if it.approved.digest == tool.digest {
            if it.now.take().is_some() {
                back.push(&tool.name);
            }
        } else if lock.approved(server, &tool.name) == Some(tool.digest) {
            // It was approved in the repository, by a push or another mcpd.
            it.approved = sight(tool.digest, &tool.definition, at);
            it.now = None;
        } else if it.now.as_ref().is_none_or(|now| now.digest != tool.digest) {
            let fields = differing(it.approved.definition.as_deref(), &tool.definition);
            changed.push(if fields.is_empty() {
                tool.name.clone()
            } else {
                format!("{} ({fields})", tool.name)
            });
            it.now = Some(sight(tool.digest, &tool.definition, at));
        }
    }
    forget(known, tools);
    let event = |level, reason: &str, message| Event {
        sequence: 0,
        at,
        level,
        about: format!("server/{server}"),
        reason: reason.to_owned(),
        message,
    };
    let names: Vec<&str> = changed.iter().map(String::as_str).collect();
    let mut events = vec![];
    if !names.is_empty() {
        let hint = "mcpctl describe tool shows what, mcpctl approve tool accepts it";
        let message = format!("what its tools promise has changed: {}; {hint}", few(&names));
        events.push(event(Level::Warning, "ToolsChanged", message));
    }
    if !back.is_empty() {
        let message = format!("its tools promise again what they did: {}", few(&back));
        events.push(event(Level::Info, "ToolsChangedBack", message));
    }
    events
}

/// A tool that is not listed for a while keeps its mark; of very many that are gone the rest is forgotten.
fn forget(known: &mut BTreeMap<String, Remembered>, tools: &[ToolSeen]) {
    if known.len() <= tools.len() + MOST_GONE {
        return;
    }
    let here: BTreeSet<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    let mut gone: Vec<(Timestamp, String)> = known
        .iter()
        .filter(|(name, _)| !here.contains(name.as_str()))
        .map(|(name, it)| (it.approved.at, name.clone()))
        .collect();
    gone.sort();
    let excess = gone.len().saturating_sub(MOST_GONE);
    for (_, name) in gone.into_iter().take(excess) {
        known.remove(&name);
    }
}

fn sight(digest: Digest, definition: &str, at: Timestamp) -> Sight {
    Sight {
        digest,
        at,
        definition: (definition.len() <= LONGEST).then(|| definition.to_owned()),
    }
}

/// The members in which two definitions differ; nothing where one of them is not kept.
fn differing(before: Option<&str>, after: &str) -> String {
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    let (Some(before), Some(after)) = (before.and_then(read), read(after)) else {
        return String::new();
    };
    let keys = |value: &Value| {
        value
            .as_object()
            .map(|it| it.keys().cloned().collect())
            .unwrap_or_default()
    };
    let all: BTreeSet<String> = [keys(&before), keys(&after)]
        .into_iter()
        .flat_map(|it: Vec<String>| it)
        .collect();
    let differ: Vec<String> = all
        .into_iter()
        .filter(|key| before.get(key) != after.get(key))
        .collect();
    differ.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str, description: &str) -> ToolSeen {
        let definition = format!(r#"{{"description":"{description}","name":"{name}"}}"#);
        ToolSeen {
            name: name.to_owned(),
            digest: Digest::of(&definition),
            definition: definition.into(),
            tokens: 1,
        }
    }

    /// pitfalls.md: a tool that changes its description after it was approved. The first sight counts, whatever comes and goes.
    #[test]
    fn a_change_is_told_once_until_it_is_approved_or_taken_back() {
        let server: Name = "time".parse().unwrap();
        let mut known = BTreeMap::new();
        let mut lock = ToolsLock::default();
        let at = Timestamp::UNIX_EPOCH;
        let mut step = |lock: &ToolsLock, tools: &[ToolSeen]| -> Vec<String> {
            let events = take(&server, &mut known, tools, lock, at);
            events
                .into_iter()
                .map(|it| format!("{} {}", it.reason, it.message))
                .collect()
        };
        let (now, zone, other) = (seen("now", "a"), seen("zone", "a"), seen("now", "b"));
        assert_eq!(
            step(&lock, &[now.clone(), zone.clone()]),
            Vec::<String>::new(),
            "first sight"
        );
        let told = step(&lock, &[other.clone(), zone.clone()]);
        assert_eq!(told.len(), 1);
        assert!(
            told[0].starts_with("ToolsChanged what its tools promise has changed: now (description); "),
            "{told:?}"
        );
        assert_eq!(
            step(&lock, &[other.clone(), zone.clone()]),
            Vec::<String>::new(),
            "told once"
        );
        // Gone and back again it is still changed.
        assert_eq!(step(&lock, std::slice::from_ref(&zone)), Vec::<String>::new());
        assert_eq!(step(&lock, &[other.clone(), zone.clone()]), Vec::<String>::new());
        let told = step(&lock, &[now.clone(), zone.clone()]);
        assert_eq!(told, ["ToolsChangedBack its tools promise again what they did: now"]);
        // Approved in the repository it is no change.
        lock.approve(&"time".parse().unwrap(), "now", other.digest);
        assert_eq!(step(&lock, &[other.clone(), zone]), Vec::<String>::new());
        assert_eq!(known["now"].approved.digest, other.digest);
        assert_eq!(known["now"].now, None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let server: Name = "time".parse().unwrap();
        let mut known = BTreeMap::new();
        let lock = ToolsLock::default();
        for round in 0..3 {
            let tools: Vec<ToolSeen> = (0..800).map(|n| seen(&format!("t{round}-{n}"), "a")).collect();
            take(&server, &mut known, &tools, &lock, Timestamp::UNIX_EPOCH);
            assert!(known.len() <= 800 + MOST_GONE);
            assert!(tools.iter().all(|tool| known.contains_key(&tool.name)));
        }
        assert_eq!(
            sight(Digest::of("x"), &"x".repeat(LONGEST + 1), Timestamp::UNIX_EPOCH).definition,
            None
        );
    }
}
