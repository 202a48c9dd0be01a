//! Pushes: judged before the ref moves, told of afterwards. What is said here is the grammar of docs/GITOPS.md.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::access::{Action, decide};
use crate::kit::{Diagnostic, Name, count};
use crate::reconcile::agree;
use crate::record::{InstanceStatus, State, StoreView};
use crate::repo::{BRANCH, Hosted, Lines, Push, PushJudge, RefUpdate, Relation, Source, is_kept};
use crate::resource::Id;
use crate::wire::{SourceState, words};

use super::agree::describe;
use super::edit::held_by_references;
use super::epoch::HEAD;
use super::gate;
use super::permit::Before;
use super::view::body;
use super::{Engine, EngineError, Words, lock};

/// How many errors a refusal shows; the rest is counted.
const SHOWN: usize = 20;
/// How many lines a plan has for what changes, and how many for conflicts.
const PLANNED: usize = 100;
/// How long a push waits for its servers if it does not say otherwise, in seconds.
const WAIT: u64 = 10;
/// The longest that a push may ask to wait, in seconds.
const LONGEST_WAIT: u64 = 3600;
/// The way to a history that does not build on the one that is here.
const BEGIN: &str = "if a new beginning is meant: git push --force -o new-epoch (what differs becomes a conflict, nothing \
                     is deleted)";
/// The longest that the takeover of an accepted head is waited for.
const TAKEOVER: Duration = Duration::from_secs(30);

/// What `git push -o` may say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    allow_mass_delete: bool,
    new_epoch: bool,
    wait: Option<u64>,
}

impl Options {
    fn read(words: &[String]) -> Result<Self, String> {
        let mut options = Self {
            wait: Some(WAIT),
            ..Self::default()
        };
        for word in words {
            match word.split_once('=') {
                None if word == "allow-mass-delete" => options.allow_mass_delete = true,
                None if word == "new-epoch" => options.new_epoch = true,
                None if word == "no-wait" => options.wait = None,
                Some(("wait", seconds)) => {
                    let parsed: Option<u64> = seconds.parse().ok().filter(|n| *n <= LONGEST_WAIT);
                    let seconds = parsed.ok_or(format!("-o {word}: give whole seconds, at most {LONGEST_WAIT}"))?;
                    options.wait = Some(seconds);
                }
                _ => {
                    return Err(format!(
                        "-o {word} is not known: there are allow-mass-delete, new-epoch, no-wait and wait=SECONDS"
                    ));
                }
            }
        }
        Ok(options)
    }
}

impl PushJudge for Engine {
    fn judge(&self, push: Push, out: Lines) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            match self.consider(&push, &out).await {
                Ok(accepted) => accepted,
                Err(error) => {
                    out.send(format!("error: {}", describe(&error)));
                    out.send("refused: nothing was changed");
                    false
                }
            }
        })
    }

    fn watch(&self, push: Push, out: Lines) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.0.lease.release(&push.id);
            self.0.wake.notify_one();
            let Some(head) = moved(&push).and_then(|update| update.new.clone()) else {
                return;
            };
            self.follow(&push, &head, &out).await;
        })
    }

    fn ended(&self, push_id: &str) {
        self.0.lease.release(push_id);
        lock(&self.0.affected).remove(push_id);
        self.0.wake.notify_one();
    }
}

/// The update of the branch that is applied, if the push has one.
fn moved(push: &Push) -> Option<&RefUpdate> {
    push.updates.iter().find(|update| update.name == BRANCH)
}

impl Engine {
    async fn consider(&self, push: &Push, out: &Lines) -> Result<bool, EngineError> {
        let Source::Hosted(hosted) = &self.0.parts.source else {
            return Ok(false);
        };
        let options = match Options::read(&push.options) {
            Ok(options) => options,
            Err(text) => {
                out.send(format!("error: {text}"));
                out.send("refused: nothing was changed");
                return Ok(false);
            }
        };
        if moved(push).is_some() {
            // From here until the ref has moved nothing else writes: what is planned is what will be.
            self.0.lease.take(&push.id).await;
            if !hosted.is_under_way(&push.id) {
                // The pusher went while this waited: nobody would give the lease back.
                self.0.lease.release(&push.id);
                return Ok(false);
            }
        }
        for update in &push.updates {
            if !self.consider_update(hosted, push, update, &options, out).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn consider_update(
        &self,
        hosted: &Hosted,
        push: &Push,
        update: &RefUpdate,
        options: &Options,
        out: &Lines,
    ) -> Result<bool, EngineError> {
        let applied = update.name == BRANCH;
        if is_kept(&update.name) && update.old != update.new {
            out.send(format!(
                "error: {} keeps what was before a restore: no push makes, moves or deletes it",
                words::plain(update.name.trim_start_matches("refs/heads/"))
            ));
            out.send("hint: push to a branch of another name; mcpctl restore to COMMIT goes back");
            out.send("refused: nothing was changed");
            return Ok(false);
        }
        let Some(new) = &update.new else {
            if applied {
                out.send("error: the branch main can't be deleted");
                out.send("refused: nothing was changed");
            }
            return Ok(!applied);
        };
        let tag = update.name.starts_with("refs/tags/");
        if !tag && !update.name.starts_with("refs/heads/") {
            out.send(format!(
                "error: {} is neither a branch nor a tag",
                words::plain(&update.name)
            ));
            out.send("refused: nothing was changed");
            return Ok(false);
        }
        let quarantine = push.quarantine.as_ref();
        if let Some(lines) = self.0.brings_back(hosted, new, quarantine).await? {
            for line in lines {
                out.send(line);
            }
            return Ok(false);
        }
        let findings = gate::look(hosted, new, quarantine).await?;
        if tag {
            if findings.faults.is_empty() {
                self.0.audit_allowed(&findings.allowed, &push.actor()).await?;
            } else {
                refuse(&findings.faults, out);
            }
            return Ok(findings.faults.is_empty());
        }
        // The head as it is now that nothing else writes: an export may have come after the pusher looked.
        let before = self.0.parts.source.snapshot().await?;
        let head = before.head.clone();
        let mut begins = false;
        if let (true, Some(head)) = (applied, &head) {
            let seen = update.old.as_ref() == Some(head);
            match hosted.relation(head, new, quarantine).await? {
                Relation::Forward => {}
                // The branch's compare-and-set would refuse a pusher who has not seen what would be replaced.
                _ if options.new_epoch && seen => begins = true,
                Relation::Diverged { base, lost, .. } if base == *new => {
                    out.send(format!(
                        "error: main would be rewound: {} would be lost",
                        count(lost, "commit")
                    ));
                    out.send(format!("hint: git revert undoes commits and keeps them; {BEGIN}"));
                    out.send("refused: nothing was changed");
                    return Ok(false);
                }
                Relation::Diverged { base, lost, by_mcpctl } => {
                    out.send(format!(
                        "error: main has moved on: {} would be lost",
                        count(lost, "commit")
                    ));
                    let by = if by_mcpctl > 0 {
                        format!("{} by mcpctl", count(by_mcpctl, "commit"))
                    } else {
                        count(lost, "commit")
                    };
                    let mut hint = format!("hint: {by} since {}: git pull --rebase", short(&base));
                    if seen {
                        hint = format!("{hint}; {BEGIN}");
                    }
                    out.send(hint);
                    out.send("refused: nothing was changed");
                    return Ok(false);
                }
                Relation::Unrelated => {
                    out.send("error: this history has no commit in common with the one that is here");
                    out.send(format!("hint: clone the repository and commit on top of it; {BEGIN}"));
                    out.send("refused: nothing was changed");
                    return Ok(false);
                }
            }
        }
        if applied
            && !begins
            && let Some(why) = self.0.why_replaced(head.as_deref()).await?
        {
            if !options.new_epoch {
                out.send(format!("error: {why}"));
                out.send("hint: mcpctl sync --new-epoch, or git push -o new-epoch");
                out.send("refused: nothing was changed");
                return Ok(false);
            }
            begins = true;
        }
        let read = hosted.snapshot_of(new, quarantine).await?;
        let pushed = self.0.opened(read.clone());
        let faults = findings.with(&pushed.tree);
        if !faults.is_empty() {
            refuse(&faults, out);
            return Ok(false);
        }
        self.0.audit_allowed(&findings.allowed, &push.actor()).await?;
        // What was pushed before and is not taken over yet would be taken for the doing of this pusher.
        let restricted = decide(&push.principal, &Action::Configure).is_err();
        let behind = restricted && head.is_some() && self.store().meta(HEAD) != head;
        if behind || self.store().view().outbox.iter().any(|row| row.attempt.is_some()) {
            // An export that was under way at a crash: the next round finds out whether it landed. It can't be under way
            // now, because exports need the lease too.
            self.sync(Words::default()).await?;
        }
        let view = if begins {
            self.0.as_new_epoch()
        } else {
            self.store().view()
        };
        let plan = self
            .0
            .plan_agree(&pushed, &view, &BTreeMap::new(), options.allow_mass_delete);
        if begins && let Err(denied) = decide(&push.principal, &Action::Sync) {
            out.send(format!("error: a new epoch: {denied}"));
            out.send("refused: nothing was changed");
            return Ok(false);
        }
        let compared = Before {
            head: &before,
            view: &view,
        };
        let denied = self.0.denied(hosted, push, compared, &read, &plan).await?;
        if !denied.is_empty() {
            if applied {
                refuse(&denied, out);
                return Ok(false);
            }
            // It may be proposed, since nothing of it is applied. But a plan shows what things were, and that is for those
            // who have the right to them.
            show(&denied, out);
            out.send(format!(
                "branch {}: kept, not planned, nothing is applied: main would refuse it",
                words::plain(short_name(update))
            ));
            return Ok(true);
        }
        if applied && !plan.held.is_empty() {
            // What is held already is no worse for this push, and nobody else must wait for who mends it.
            let before = self.0.snapshot().await?;
            let before = self.0.plan_agree(&before, &view, &BTreeMap::new(), true);
            let newly = agree::Plan {
                held: plan
                    .held
                    .clone()
                    .into_iter()
                    .filter(|(id, why)| before.held.get(id) != Some(why))
                    .collect(),
                ..agree::Plan::default()
            };
            let faults = held_by_references(&newly, &pushed.tree);
            if !faults.is_empty() {
                refuse(&faults, out);
                return Ok(false);
            }
        }
        if let Some(guard) = plan.guard.filter(|_| applied) {
            out.send(format!("error: {guard}"));
            out.send("hint: if this is meant: git push -o allow-mass-delete");
            out.send("refused: nothing was changed");
            return Ok(false);
        }
        self.show_plan(push, &plan, &view, new, applied, out).await;
        if applied {
            if begins {
                // In the store before the branch moves: what takes the head over later finds it there, or nothing.
                self.0.permit_epoch(Some(new)).await?;
            }
            self.0.pushed_by(new, &push.actor());
            if plan.changes.iter().any(|change| change.after.is_none()) {
                // A push that was judged and accepted is a person's word, also after a crash and whatever is declared
                // by then.
                self.0.allow(Some(new)).await?;
            }
        } else {
            out.send(format!(
                "branch {}: planned only, nothing is applied",
                words::plain(short_name(update))
            ));
        }
        Ok(true)
    }

    /// The plan's own lines: only what the push brings, not what the repository is still to receive.
    async fn show_plan(
        &self,
        push: &Push,
        plan: &agree::Plan,
        view: &StoreView,
        head: &str,
        applied: bool,
        out: &Lines,
    ) {
        let running = self.0.preview(&plan.outcome(view)).await;
        let mut incoming = plan.clone();
        incoming.shown.retain(|shown| shown.source.is_some());
        let body = body(&incoming, &running, vec![], view.revision);
        out.send(format!("plan {}: {}", short(head), words::counts(&body)));
        told(out, body.steps.iter().map(ToString::to_string));
        told(out, body.conflicts.iter().map(words::conflict));
        out.send(format!("containers: {running}"));
        if applied {
            // What the push declares, and what runs differently because of it.
            let declared = plan.changes.iter().filter(|change| change.after.is_some());
            let declared = declared.filter_map(|change| server(&change.id));
            let moved = running.changes.iter().map(|change| change.instance.server.clone());
            let servers = declared.chain(moved).collect();
            lock(&self.0.affected).insert(push.id.clone(), servers);
        }
    }

    /// Tells what becomes of an accepted head: the revision, then the servers.
    async fn follow(&self, push: &Push, head: &str, out: &Lines) {
        let taken = tokio::time::timeout(TAKEOVER, async {
            loop {
                match self.sync(Words::default()).await {
                    Ok(seen) if seen.status.source.head.as_deref() == Some(head) => return Some(seen),
                    // A later push or export may have passed this one: then it has been taken over too.
                    Ok(seen) if self.passed(head).await => return Some(seen),
                    Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                    Err(_) => return None,
                }
            }
        });
        let Ok(Some(taken)) = taken.await else {
            out.send("accepted; it is being taken over (mcpctl status tells how far it is)");
            return;
        };
        let source = &taken.status.source;
        if matches!(source.state, SourceState::WaitingForApproval | SourceState::Failing) {
            let why = source.last_error.as_deref().unwrap_or("mcpctl status tells why");
            out.send(format!("accepted, not applied yet: {}", words::plain(why)));
            return;
        }
        out.send(format!("applied: revision {}", taken.status.revision));
        let servers = lock(&self.0.affected).get(&push.id).cloned().unwrap_or_default();
        let wanted: BTreeSet<Name> = self
            .0
            .wanted(&self.store().view().rows)
            .into_iter()
            .map(|desired| desired.instance.server)
            .collect();
        let servers: BTreeSet<Name> = servers.intersection(&wanted).cloned().collect();
        if !servers.is_empty() {
            self.tell_states(push, &servers, out).await;
        }
        let warnings = self.report().borrow().status.warnings.clone();
        for warning in warnings.into_iter().chain(self.0.other_writer()) {
            out.send(format!("warning: {}", words::plain(&warning)));
        }
    }

    /// Waits for the servers of a push, as long as it says, and tells how they are.
    async fn tell_states(&self, push: &Push, servers: &BTreeSet<Name>, out: &Lines) {
        let mut report = self.report();
        let options = Options::read(&push.options).unwrap_or_default();
        if let Some(seconds) = options.wait {
            let settled = |statuses: &[InstanceStatus]| {
                let rests = |status: &&InstanceStatus| matches!(status.state, State::Running | State::Error);
                servers.iter().all(|name| {
                    let of: Vec<&InstanceStatus> = statuses.iter().filter(|s| s.instance.server == *name).collect();
                    of.iter().all(rests)
                })
            };
            let wait = report.wait_for(|report| settled(&report.status.instances));
            // Not settled in time is no failure: what is the case then is said.
            let _ = tokio::time::timeout(Duration::from_secs(seconds), wait).await;
        }
        let report = Arc::clone(&self.report().borrow());
        let (line, reasons) = states(servers, &report.status.instances);
        out.send(line);
        for reason in reasons {
            out.send(reason);
        }
    }

    /// Whether a head is an ancestor of the one that was read last.
    async fn passed(&self, head: &str) -> bool {
        let now = self.report().borrow().status.source.head.clone();
        let Source::Hosted(hosted) = &self.0.parts.source else {
            return false;
        };
        match now {
            Some(now) => matches!(hosted.relation(head, &now, None).await, Ok(Relation::Forward)),
            None => false,
        }
    }
}

fn server(id: &Id) -> Option<Name> {
    (id.kind().name == <crate::resource::Server as crate::resource::Declared>::NAME).then(|| id.name.clone())
}

fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

/// The lines of a plan, the first of them; the rest is counted.
fn told(out: &Lines, lines: impl ExactSizeIterator<Item = String>) {
    let all = lines.len();
    for line in lines.take(PLANNED) {
        out.send(format!("  {line}"));
    }
    if all > PLANNED {
        out.send(format!("  and {} more", all - PLANNED));
    }
}

fn short_name(update: &RefUpdate) -> &str {
    update.name.trim_start_matches("refs/heads/")
}

fn show(diagnostics: &[Diagnostic], out: &Lines) {
    for text in first_errors(diagnostics) {
        out.send(text);
    }
}

/// The errors of a refused push, and what that means.
fn refuse(diagnostics: &[Diagnostic], out: &Lines) {
    show(diagnostics, out);
    out.send(format!("refused: {}; nothing was changed", counted(diagnostics)));
}

/// The errors of a push as they are told: 20 at most, the rest is counted.
#[must_use]
pub fn first_errors(diagnostics: &[Diagnostic]) -> Vec<String> {
    let mut texts: Vec<String> = diagnostics.iter().take(SHOWN).map(ToString::to_string).collect();
    if diagnostics.len() > SHOWN {
        texts.push(format!("and {} more", diagnostics.len() - SHOWN));
    }
    texts
}

/// `2 errors in 1 file`.
#[must_use]
pub fn counted(diagnostics: &[Diagnostic]) -> String {
    let files: BTreeSet<&str> = diagnostics.iter().map(|diagnostic| diagnostic.file.as_str()).collect();
    format!(
        "{} in {}",
        count(diagnostics.len(), "error"),
        count(files.len(), "file")
    )
}

/// `RUNNING server/time 1/1 · STARTING server/git 1/2`, and why what has failed has.
fn states(servers: &BTreeSet<Name>, statuses: &[InstanceStatus]) -> (String, Vec<String>) {
    let mut parts = vec![];
    let mut reasons = vec![];
    for name in servers.iter().take(SHOWN) {
        let of: Vec<&InstanceStatus> = statuses
            .iter()
            .filter(|s| s.instance.server == *name && s.state != State::Stopping)
            .collect();
        let running = of.iter().filter(|status| status.state == State::Running).count();
        let worst = of.iter().map(|status| status.state).max();
        let word = worst.map_or_else(|| "STOPPED".to_owned(), |state| state.to_string());
        parts.push(format!("{word} server/{name} {running}/{}", of.len()));
        let failed = of.iter().filter(|status| status.state == State::Error);
        reasons.extend(failed.map(|status| format!("  {}: {}", status.instance, words::plain(&status.reason))));
    }
    if servers.len() > SHOWN {
        parts.push(format!("and {} more", servers.len() - SHOWN));
    }
    (parts.join(" · "), reasons)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_options_are_words() {
        let read = |words: &[&str]| Options::read(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(
            read(&[]),
            Ok(Options {
                wait: Some(10),
                ..Options::default()
            })
        );
        assert_eq!(read(&["no-wait"]), Ok(Options::default()));
        assert_eq!(
            read(&["allow-mass-delete", "wait=3"]),
            Ok(Options {
                allow_mass_delete: true,
                wait: Some(3),
                ..Options::default()
            })
        );
        assert!(read(&["new-epoch"]).is_ok_and(|options| options.new_epoch));
        for bad in ["wait=x", "wait=999999", "wait", "force", ""] {
            assert!(read(&[bad]).is_err(), "{bad}");
        }
    }

    /// Pitfall "plan noise": what a large push is told stays readable, and no line is lost for want of room.
    #[test]
    fn a_plan_is_bounded() {
        for (all, shown, more) in [(0, 0, None), (100, 100, None), (10_000, 100, Some("  and 9900 more"))] {
            let (out, mut lines) = Lines::channel();
            told(&out, (0..all).map(|n: usize| n.to_string()));
            let mut text = vec![];
            while let Ok(line) = lines.try_recv() {
                text.push(line);
            }
            assert_eq!(text.len(), shown + usize::from(more.is_some()));
            assert_eq!(text.get(shown).map(String::as_str), more);
        }
    }

    /// Pitfall: a refusal that floods. Twenty errors are shown, the rest is counted.
    #[test]
    fn a_refusal_is_bounded() {
        let (out, mut lines) = Lines::channel();
        let many: Vec<Diagnostic> = (0..23)
            .map(|n| Diagnostic::of_file(format!("f{}", n % 2), "bad"))
            .collect();
        refuse(&many, &out);
        let mut text = vec![];
        while let Ok(line) = lines.try_recv() {
            text.push(line);
        }
        assert_eq!(text.len(), 22);
        assert_eq!(text[20], "and 3 more");
        assert_eq!(text[21], "refused: 23 errors in 2 files; nothing was changed");
    }
}
