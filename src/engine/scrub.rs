//! Scrubbing: the history without what leaked. The branches move together; what the store knows by commits follows them,
//! also after a crash in between; then the old objects go.
//!
//! # Guarantees
//! Nothing that is declared changes: the newest state of main stays byte for byte what it is, so both sides agree as they
//! did. What was is kept as a bundle before anything moves. A history that holds a commit which was scrubbed is refused,
//! whatever branch it is pushed to.

use std::collections::{BTreeMap, BTreeSet};

use crate::kit::Redacted;
use crate::record::{Actor, Event, Level};
use crate::repo::{Hosted, Quarantine, Scrub, Source};

use super::agree::GUARDED;
use super::epoch::{EPOCH, HEAD};
use super::past::to_its_end;
use super::report::now;
use super::{ALLOWED, Engine, EngineError, Inner};

/// Whose the lease is.
const SCRUB: &str = "scrub";
/// The fact that says from which head to which one main is moving.
const MOVING: &str = "scrub-moving";
/// The fact that says that old objects are still to be removed.
const REMAINS: &str = "scrub-remains";
/// What the facts begin with that name commits which must not come back, each with the head of main at that time.
const GONE: &str = "scrubbed:";
/// What the facts begin with that name revisions which held a scrubbed value: undoing one would bring it back.
const HELD: &str = "scrubbed-revision:";
/// The shortest value, in bytes: less would stand in places where it means something else.
const SHORTEST: usize = 6;
/// The most values and files of one request.
const MOST: usize = 100;
/// The most of mcpd's own records that are looked into.
const RECORDS: usize = 10_000;

/// A history that was rewritten, or would be.
#[derive(Debug, Clone)]
pub struct Scrubbed {
    /// How many commits there are, and how many of them become others.
    pub commits: usize,
    /// See `commits`.
    pub changed: usize,
    /// The branches and tags that move.
    pub moved: Vec<String>,
    /// Where it stood, as `servers/github.yaml in 3fa2c1e`.
    pub places: Vec<String>,
    /// Where what was is kept.
    pub bundle: Option<String>,
    /// The new head of main.
    pub head: Option<String>,
    /// The revisions of which mcpd's own records hold it still.
    pub records: Vec<u64>,
}

struct Leased<'e>(&'e Engine);

impl Drop for Leased<'_> {
    fn drop(&mut self) {
        self.0.0.lease.release(SCRUB);
        self.0.0.wake.notify_one();
    }
}

impl Engine {
    /// Rewrites the history of the hosted repository without these files and values.
    ///
    /// # Errors
    /// [`EngineError::NotScrubbed`]; the repository is a folder; something is not in it yet.
    pub async fn scrub(
        &self,
        paths: Vec<String>,
        values: Vec<Redacted<String>>,
        dry_run: bool,
        actor: &Actor,
    ) -> Result<Scrubbed, EngineError> {
        let (engine, actor) = (self.clone(), actor.clone());
        to_its_end(async move { engine.scrub_whole(paths, values, dry_run, &actor).await }).await
    }

    async fn scrub_whole(
        &self,
        paths: Vec<String>,
        values: Vec<Redacted<String>>,
        dry_run: bool,
        actor: &Actor,
    ) -> Result<Scrubbed, EngineError> {
        let hosted = match &self.0.parts.source {
            Source::Hosted(hosted) => hosted.clone(),
            Source::Remote(_) => {
                return Err(EngineError::NoHistory {
                    why: "only the repository that mcpd hosts can be scrubbed".to_owned(),
                    hint:
                        "where the remote's history is rewritten (git filter-repo, a forced push), mcpd waits: mcpctl \
                           sync --new-epoch; and replace the credential"
                            .to_owned(),
                });
            }
            Source::Folder(_) => {
                return Err(EngineError::NoHistory {
                    why: "only the repository that mcpd hosts can be scrubbed".to_owned(),
                    hint: "where the folder is a git repository: git filter-repo, and replace the credential"
                        .to_owned(),
                });
            }
        };
        let scrub = asked(paths, values)?;
        self.0.parts.masks.add(&scrub.values);
        let _one_at_a_time = self.0.editing.lock().await;
        self.await_agreement(&hosted).await?;
        if dry_run {
            let planned = hosted.rewrite(&scrub, true).await?;
            let records = self.records_with(&scrub).await?;
            return Ok(told(planned, None, None, records));
        }
        // First nobody fetches or pushes any more (a push that waits for the lease would never end), then nothing is written.
        let alone = hosted.alone().await?;
        self.0.lease.take(SCRUB).await;
        let leased = Leased(self);
        let head = self.agreed_head(&hosted).await?;
        let new = hosted.rewrite(&scrub, false).await?;
        let records = self.records_with(&scrub).await?;
        // The journal is mcpd's own and keeps what it knows; what it holds must not come back from there either.
        let marks = records
            .iter()
            .map(|revision| (format!("{HELD}{revision}"), Some(String::new())));
        if new.moves.is_empty() {
            self.store().set_metas(marks.collect()).await?;
            if self.store().meta(REMAINS).is_some() {
                self.0.remove_remains(&hosted).await?;
            }
            return Ok(told(new, None, Some(head), records));
        }
        let bundle = hosted.bundle(now()).await?.display().to_string();
        let target = new.moves.iter().find(|(_, from, _)| *from == head);
        let target = target.map_or(&head, |(.., to)| to).clone();
        let mut facts: BTreeMap<String, Option<String>> = marks.collect();
        for commit in &new.sources {
            facts.insert(format!("{GONE}{commit}"), Some(head.clone()));
        }
        facts.insert(MOVING.to_owned(), Some(format!("{head} {target}")));
        facts.insert(REMAINS.to_owned(), Some("1".to_owned()));
        self.audit(actor, format!("scrub the repository; what was is in {bundle}"))
            .await?;
        self.store().set_metas(facts).await?;
        if !hosted.move_all(&new.moves).await? {
            return Err(EngineError::Busy);
        }
        self.0.settle_scrub(&hosted, &target).await?;
        // Where main stays nothing follows it, and all that had to move has moved.
        self.store().set_metas([(MOVING.to_owned(), None)].into()).await?;
        self.0.remove_remains(&hosted).await?;
        drop(leased);
        drop(alone);
        let event = Event {
            sequence: 0,
            at: now(),
            level: Level::Warning,
            about: "repository".to_owned(),
            reason: "Scrubbed".to_owned(),
            message: format!(
                "{actor} rewrote {} of the history; clones have to follow (git fetch, git rebase --onto origin/main {})",
                crate::kit::count(new.changed, "commit"),
                head.get(..7).unwrap_or(&head)
            ),
        };
        self.store().record(vec![event], vec![]).await?;
        Ok(told(new, Some(bundle), Some(target), records))
    }

    /// The revisions whose records hold one of the values: they are mcpd's own, and are never pushed anywhere.
    async fn records_with(&self, scrub: &Scrub) -> Result<Vec<u64>, EngineError> {
        if scrub.values.is_empty() {
            return Ok(vec![]);
        }
        let mut found = vec![];
        for mutation in self.store().mutations(RECORDS).await? {
            let text = serde_json::to_string(&mutation).unwrap_or_default();
            let stands = |value: &Redacted<String>| {
                let written = serde_json::Value::from(value.reveal().as_str()).to_string();
                text.contains(written.trim_matches('"'))
            };
            if scrub.values.iter().any(stands) {
                found.push(mutation.revision);
            }
        }
        found.reverse();
        Ok(found)
    }
}

impl Inner {
    /// Whether the record of a revision holds a value that was scrubbed.
    pub(super) fn held_what_was_scrubbed(&self, revision: u64) -> bool {
        self.parts.store.meta(&format!("{HELD}{revision}")).is_some()
    }

    /// What the store knows by commits follows the branches, once they have moved.
    pub(super) async fn settle_scrub(&self, hosted: &Hosted, head: &str) -> Result<(), EngineError> {
        let store = &self.parts.store;
        let moving = store.meta(MOVING);
        let Some((old, new)) = moving.as_deref().and_then(|it| it.split_once(' ')) else {
            return Ok(());
        };
        // Where main stays it does not tell whether the other branches have moved.
        if old == new || !hosted.follows(new, head).await? {
            return Ok(());
        }
        let renamed = hosted.pairs(old, new).await?;
        let mut facts: BTreeMap<String, Option<String>> = BTreeMap::new();
        for fact in [HEAD, EPOCH, ALLOWED, GUARDED] {
            if let Some(new) = store.meta(fact).and_then(|commit| renamed.get(&commit).cloned()) {
                facts.insert(fact.to_owned(), Some(new));
            }
        }
        facts.insert(MOVING.to_owned(), None);
        Ok(store.rename_commits(renamed, facts).await?)
    }

    /// After a start: what was cut off is brought to its end, or has not begun.
    pub(super) async fn go_on_scrubbing(&self) -> Result<(), EngineError> {
        let Source::Hosted(hosted) = &self.parts.source else {
            return Ok(());
        };
        let store = &self.parts.store;
        if store.meta(REMAINS).is_none() {
            return Ok(());
        }
        if let Some(head) = self.parts.source.snapshot().await?.head {
            self.settle_scrub(hosted, &head).await?;
        }
        if let Some(moving) = store.meta(MOVING) {
            // Main has not moved, and it goes last (or it stays): the scrub has to be asked for again.
            let old = moving.split(' ').next().unwrap_or_default();
            let of_it = store.metas(GONE).into_iter().filter(|(_, head)| head == old);
            let mut facts: BTreeMap<String, Option<String>> = of_it.map(|(fact, _)| (fact, None)).collect();
            facts.insert(MOVING.to_owned(), None);
            facts.insert(REMAINS.to_owned(), None);
            store.set_metas(facts).await?;
            let event = Event {
                sequence: 0,
                at: now(),
                level: Level::Warning,
                about: "repository".to_owned(),
                reason: "ScrubCutOff".to_owned(),
                message: "a scrub was cut off before it was done: ask for it again (mcpctl repo scrub)".to_owned(),
            };
            return Ok(store.record(vec![event], vec![]).await?);
        }
        self.remove_remains(hosted).await
    }

    async fn remove_remains(&self, hosted: &Hosted) -> Result<(), EngineError> {
        hosted.prune().await?;
        Ok(self.parts.store.set_metas([(REMAINS.to_owned(), None)].into()).await?)
    }

    /// What a pusher is told whose history holds a commit that was scrubbed.
    pub(super) async fn brings_back(
        &self,
        hosted: &Hosted,
        new: &str,
        quarantine: Option<&Quarantine>,
    ) -> Result<Option<[String; 3]>, EngineError> {
        let gone = self.parts.store.metas(GONE);
        if gone.is_empty() {
            return Ok(None);
        }
        let commits: BTreeSet<String> = gone
            .keys()
            .filter_map(|it| it.strip_prefix(GONE))
            .map(str::to_owned)
            .collect();
        let Some(found) = hosted.brings_back(new, quarantine, &commits).await? else {
            return Ok(None);
        };
        let head = gone.get(&format!("{GONE}{found}")).cloned().unwrap_or_default();
        let short = |commit: &str| commit.get(..7).unwrap_or(commit).to_owned();
        Ok(Some([
            format!(
                "error: this history was scrubbed: commit {} holds what was taken out and must not come back",
                short(&found)
            ),
            format!(
                "hint: git fetch, then git rebase --onto origin/main {} puts your own commits on the new history",
                short(&head)
            ),
            "refused: nothing was changed".to_owned(),
        ]))
    }
}

fn told(new: crate::repo::Rewritten, bundle: Option<String>, head: Option<String>, records: Vec<u64>) -> Scrubbed {
    let name = |name: &str| name.trim_start_matches("refs/heads/").to_owned();
    Scrubbed {
        commits: new.commits,
        changed: new.changed,
        moved: new.moves.iter().map(|(full, ..)| name(full)).collect(),
        places: new.places,
        bundle,
        head,
        records,
    }
}

/// What is to go, if that can be meant.
fn asked(paths: Vec<String>, values: Vec<Redacted<String>>) -> Result<Scrub, EngineError> {
    let no = |why: &str| Err(EngineError::NotScrubbed(why.to_owned()));
    if paths.is_empty() && values.is_empty() {
        return no("nothing is named: a file, or a value");
    }
    if paths.len() + values.len() > MOST {
        return no("name at most 100 files and values at once");
    }
    let odd = |path: &String| path.is_empty() || path.starts_with('/') || path.ends_with('/') || path.contains('\0');
    if paths.iter().any(odd) {
        return no("a file is named from the repository's root, as servers/github.yaml");
    }
    if values.iter().any(|value| value.reveal().len() < SHORTEST) {
        return no("a value has at least 6 characters: less would stand in places where it means something else");
    }
    if values.iter().any(|value| value.reveal().contains('\0')) {
        return no("a value is text");
    }
    Ok(Scrub { paths, values })
}
