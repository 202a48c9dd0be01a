//! Restoring: what is declared becomes what a commit declared, by one more commit; history is never rewritten.
//!
//! # Guarantees
//! What was before is kept as a branch before anything changes, so no crash leaves a restore without it. A commit that
//! would not be accepted today is refused whole. Values of secrets stay today's, see [`super::past`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::kit::Diagnostic;
use crate::kit::time::Timestamp;
use crate::record::{Actor, Event, Level, StoreView};
use crate::repo::{Bare, Logged};
use crate::resource::{Document, Id, Placed, Tree};
use crate::wire::Point;

use super::edit::{Intent, Only, Subject, Wanted};
use super::epoch::HEAD;
use super::past::{Comeback, GoneBack, Return, Terms, come_back, has_values, same, to_its_end};
use super::report::now;
use super::undo::explained;
use super::{Engine, EngineError, lock};

/// Whose the lease is.
const RESTORE: &str = "restore";
/// How long is waited for both sides to agree before a restore.
const SETTLING: Duration = Duration::from_secs(10);

/// How long is waited for the commit of a change that was made just now.
const BRIEFLY: Duration = Duration::from_secs(2);

/// The lease, given back however the restore ends.
struct Leased<'e>(&'e Engine);

impl Drop for Leased<'_> {
    fn drop(&mut self) {
        self.0.0.lease.release(RESTORE);
        self.0.0.wake.notify_one();
    }
}

/// A restore, planned or made.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The commit that is gone back to.
    pub point: Point,
    /// What that comes to.
    pub gone: GoneBack,
    /// The branch that keeps what was before, where something changed.
    pub timeline: Option<String>,
}

impl Engine {
    /// The points in time that can be gone back to: the branches that keep what was before a restore, then the newest
    /// commits of main.
    ///
    /// # Errors
    /// [`EngineError::NoHistory`], or the repository can't be read.
    pub async fn points(&self, limit: usize) -> Result<Vec<Point>, EngineError> {
        let hosted = self.history()?;
        let kept = hosted.timelines().await?;
        let kept = kept.into_iter().map(|it| point(it.commit, Some(it.branch)));
        let commits = hosted.log(limit).await?;
        Ok(kept.chain(commits.into_iter().map(|it| point(it, None))).collect())
    }

    /// Makes what is declared what it was at a commit (whatever a person calls it), or plans that.
    ///
    /// # Errors
    /// There is no such commit; what it declares would not be accepted today ([`EngineError::Invalid`]); the guard;
    /// something is not in the repository yet, and would be kept by no branch.
    pub async fn restore(&self, commit: &str, terms: Terms, actor: &Actor) -> Result<Restored, EngineError> {
        let (engine, commit, actor) = (self.clone(), commit.to_owned(), actor.clone());
        to_its_end(async move { engine.restore_whole(&commit, terms, &actor).await }).await
    }

    async fn restore_whole(&self, commit: &str, terms: Terms, actor: &Actor) -> Result<Restored, EngineError> {
        let hosted = self.history()?.clone();
        // What was asked for a moment ago is a commit in a moment, and people count from there.
        let waiting = self.store().view().outbox.last().map(|row| row.revision);
        if let Some(revision) = waiting {
            self.committed(revision, BRIEFLY).await;
        }
        let found = hosted.point(commit).await?;
        let then = self.tree_of(&hosted, &found).await?;
        let point = point(found, commit.starts_with("timeline/").then(|| commit.to_owned()));
        let _one_at_a_time = self.0.editing.lock().await;
        let planned = self
            .go_back(&point, &then, Terms { dry_run: true, ..terms }, actor)
            .await?;
        if terms.dry_run || planned.plan.steps.is_empty() {
            return Ok(Restored {
                point,
                gone: planned,
                timeline: None,
            });
        }
        if let Some(guard) = planned.guard.filter(|_| !terms.allow_mass_delete) {
            return Err(EngineError::MassDelete(guard));
        }
        self.await_agreement(&hosted).await?;
        // From here until the change is durable nothing else moves the branch: what is kept is what was in force.
        self.0.lease.take(RESTORE).await;
        let leased = Leased(self);
        let head = self.agreed_head(&hosted).await?;
        let kept = hosted.keep(&head, now()).await?;
        let gone = self.go_back(&point, &then, terms, actor).await?;
        drop(leased);
        let words = format!("restore {}", short(&point.commit));
        self.audit_revived(&gone, actor, &words).await?;
        let event = Event {
            sequence: 0,
            at: now(),
            level: Level::Info,
            about: "repository".to_owned(),
            reason: "Restored".to_owned(),
            message: format!(
                "{actor} went back to {}; what was before is branch {kept}",
                short(&point.commit)
            ),
        };
        self.store().record(vec![event], vec![]).await?;
        Ok(Restored {
            point,
            gone,
            timeline: Some(kept),
        })
    }

    /// The repository, where it has a history that mcpd may look into.
    fn history(&self) -> Result<&Bare, EngineError> {
        self.0.parts.source.bare().ok_or_else(|| EngineError::NoHistory {
            why: "a watched folder has no history of its own".to_owned(),
            hint: "where it is a git repository, check the old files out (git restore --source COMMIT .): mcpd reads \
                   them; mcpctl undo takes back a single revision"
                .to_owned(),
        })
    }

    /// What a commit declares, if that would be accepted today.
    async fn tree_of(&self, hosted: &Bare, commit: &Logged) -> Result<Arc<Tree>, EngineError> {
        // Its list of recipients is of no matter: what comes back is encrypted for those of today.
        let read = hosted.snapshot_of(&commit.commit, None).await?;
        let tree = self.0.parts.vault.open_tree(&read);
        let note = |fault: &Diagnostic| Diagnostic {
            note: Some(match &fault.note {
                Some(note) => format!("{note}; in commit {}", short(&commit.commit)),
                None => format!("in commit {}", short(&commit.commit)),
            }),
            ..fault.clone()
        };
        if tree.diagnostics.is_empty() {
            Ok(tree)
        } else {
            Err(EngineError::Invalid(tree.diagnostics.iter().map(note).collect()))
        }
    }

    async fn go_back(&self, point: &Point, then: &Tree, terms: Terms, actor: &Actor) -> Result<GoneBack, EngineError> {
        let mut back = Return::default();
        let mut guard = None;
        let edited = self
            .change(actor, terms.dry_run, |view| {
                Self::as_seen(terms, view)?;
                back = self.towards(point, then, view, terms);
                guard = back.guard(view, then.documents.is_empty());
                match guard.filter(|_| !terms.allow_mass_delete && !terms.dry_run) {
                    Some(guard) => Err(EngineError::MassDelete(guard)),
                    None => Ok(Intent {
                        wanted: back.wanted.clone(),
                        unchanged: back.unchanged,
                        allow_clear: terms.with_credentials,
                        subject: Subject::Before(format!("restore {}", short(&point.commit))),
                    }),
                }
            })
            .await;
        let edited = edited.map_err(|error| explained(error, &back))?;
        Ok(back.gone_back(edited, guard))
    }

    /// What has to change so that the same is declared as then.
    fn towards(&self, point: &Point, then: &Tree, view: &StoreView, terms: Terms) -> Return {
        let vault = &self.0.parts.vault;
        let said = lock(&self.0.recipients).clone();
        let (recipients, _) = vault.recipients(said.as_deref());
        let declared = view.rows.iter().filter(|(_, row)| row.document.is_some());
        let ids: BTreeSet<&Id> = then.documents.keys().chain(declared.map(|(id, _)| id)).collect();
        let mut back = Return::default();
        for id in ids {
            let placed = then.documents.get(id);
            let before = placed.map(|placed| &placed.document);
            let today = view.rows.get(id).and_then(|row| row.document.as_ref());
            let wanted = |after: Option<Arc<Document>>| Wanted {
                id: id.clone(),
                after,
                only: Only::Always,
                source: Some(place(id, placed, &point.commit)),
            };
            if same(before, today) {
                back.unchanged += 1;
                continue;
            }
            match before {
                Some(_) if has_values(today) && !has_values(before) && !terms.with_credentials => {
                    back.kept.push((id.clone(), "keeps today's values".to_owned()));
                }
                Some(document) if has_values(before) => {
                    match come_back(vault, document, today, &recipients, terms.with_credentials) {
                        Comeback::Same => back.unchanged += 1,
                        Comeback::Stays(why) => back.kept.push((id.clone(), why.to_owned())),
                        Comeback::Revives(document) => {
                            back.revives.push(id.clone());
                            back.wanted.push(wanted(Some(document)));
                        }
                    }
                }
                _ => back.wanted.push(wanted(before.cloned())),
            }
        }
        back
    }

    /// Waits until all that is declared is in the repository, and its head is taken over.
    pub(super) async fn await_agreement(&self, hosted: &Bare) -> Result<(), EngineError> {
        let agree = async {
            loop {
                match self.agreed_head(hosted).await {
                    Err(EngineError::NoHistory { .. }) => {}
                    done => return done,
                }
                self.0.wake.notify_one();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(SETTLING, agree).await {
            Ok(done) => done.map(|_| ()),
            Err(_) => self.agreed_head(hosted).await.map(|_| ()),
        }
    }

    /// The head, where it holds all that is declared: only then is it what a branch has to keep.
    pub(super) async fn agreed_head(&self, hosted: &Bare) -> Result<String, EngineError> {
        let waits = |why: String| EngineError::NoHistory {
            why,
            hint: "mcpctl status tells what it waits for; mcpctl sync looks again".to_owned(),
        };
        let pending = self.store().view().outbox.len();
        if pending > 0 {
            let changes = crate::kit::count(pending, "change");
            return Err(waits(format!(
                "{changes} not in the repository yet: no branch would keep what is in force now"
            )));
        }
        let head = hosted.point("HEAD").await?.commit;
        if self.store().meta(HEAD).as_ref() == Some(&head) {
            Ok(head)
        } else {
            Err(waits(format!("the head {} is not taken over yet", short(&head))))
        }
    }
}

/// Where a resource stood then, as plans name sources: `servers/time.yaml:1@3fa2c1e`.
fn place(id: &Id, placed: Option<&Placed>, commit: &str) -> Diagnostic {
    let commit = short(commit);
    let file = match placed {
        Some(placed) => format!("{}:{}@{commit}", placed.path, placed.position.line),
        None => format!("{id}@{commit}"),
    };
    Diagnostic::of_file(file, "")
}

fn point(commit: Logged, branch: Option<String>) -> Point {
    Point {
        at: Timestamp::from_second(commit.seconds).unwrap_or(Timestamp::UNIX_EPOCH),
        commit: commit.commit,
        author: commit.author,
        subject: commit.subject,
        branch,
    }
}

fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}
