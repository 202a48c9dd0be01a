//! Histories that are replaced, and repositories that another mcpd writes into.

use super::push::{World, git};
use super::*;
use crate::repo::BRANCH;
use crate::wire::SourceState;

impl World {
    /// The reports of a running loop over the same data, once it has looked.
    async fn looked(&self) -> Arc<crate::engine::Report> {
        self.bench.sync(Words::default()).await.unwrap()
    }

    /// A history of its own in the clone, that declares these; the head that it has.
    fn begin_anew(&self, files: &[(&str, &str)]) -> String {
        git(&self.clone(), &["checkout", "-q", "--orphan", "anew"]);
        git(&self.clone(), &["rm", "-rqf", "."]);
        for (name, description) in files {
            self.write(&format!("{name}.yaml"), &text(name, description));
        }
        git(&self.clone(), &["add", "-A"]);
        git(&self.clone(), &["commit", "-qm", "anew"]);
        git(&self.clone(), &["branch", "-qM", "main"]);
        self.send()
    }

    async fn events(&self, reason: &str) -> usize {
        let events = self.bench.store().events(0, 1000).await.unwrap();
        events.iter().filter(|event| event.reason == reason).count()
    }

    async fn conflicts(&self) -> Vec<String> {
        let conflicts = self.bench.store().conflicts().await.unwrap();
        conflicts.iter().map(|conflict| conflict.id.to_string()).collect()
    }
}

/// An unrelated history is refused, and told the way; with the word it is a new epoch: what differs is a conflict, what is
/// only here is written into it, nothing is deleted; also where mcpd dies between the move of the branch and the takeover.
#[tokio::test(flavor = "multi_thread")]
async fn an_unrelated_history_is_a_new_epoch_and_deletes_nothing() {
    let world = World::with(&["a", "b", "c", "d", "e"]).await;
    let old = world.head();
    let new = world.begin_anew(&[("a", "one"), ("b", "theirs"), ("z", "theirs")]);
    let (accepted, said) = world.judge(&old, &new, &[]).await;
    world.end(None);
    assert!(!accepted);
    assert_eq!(
        said,
        [
            "error: this history has no commit in common with the one that is here",
            "hint: clone the repository and commit on top of it; if a new beginning is meant: git push --force -o \
             new-epoch (what differs becomes a conflict, nothing is deleted)",
            "refused: nothing was changed"
        ]
    );

    let (accepted, said) = world.judge(&old, &new, &["new-epoch"]).await;
    assert!(accepted, "{said:?}");
    assert_eq!(
        said[0],
        format!(
            "plan {}: 1 to create, 0 to change, 0 to delete, 1 conflict, 1 unchanged",
            &new[..7]
        )
    );
    git(&world.bare(), &["update-ref", BRANCH, &new]);

    let world = world.restart().await;
    let agreed = world.bench.rest().await;
    assert_eq!(agreed.replaced, None);
    assert_eq!(world.bench.declared(), "a=one b=one c=one d=one e=one z=theirs");
    assert_eq!(world.conflicts().await, ["server/b"]);
    let tree = world.bench.snapshot().await.tree;
    assert_eq!(tree.documents.len(), 6, "what was only here stands in the new history");
    assert_eq!(git(&world.bare(), &["merge-base", &new, "main"]), new, "which goes on");
    assert_eq!(world.events("NewEpoch").await, 1);
    // It is used up: the next history without a common commit is refused again, also the same one.
    let (accepted, _) = world.judge(&world.head(), &new, &[]).await;
    world.end(None);
    assert!(!accepted);
}

/// A push that rewinds is refused with the way to go; with the word what was rewound comes back on top of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rewound_history_loses_nothing() {
    let world = World::with(&["a"]).await;
    let first = world.head();
    world.bench.edit(&[("b", Some("one"))]).await;
    world.bench.rest().await;
    let (accepted, said) = world.judge(&world.head(), &first, &[]).await;
    world.end(None);
    assert!(!accepted);
    assert_eq!(
        said,
        [
            "error: main would be rewound: 1 commit would be lost",
            "hint: git revert undoes commits and keeps them; if a new beginning is meant: git push --force -o new-epoch \
             (what differs becomes a conflict, nothing is deleted)",
            "refused: nothing was changed"
        ]
    );
    // A pusher who has not seen what would be lost has no say in it.
    let (accepted, said) = world.judge(&first, &first, &["new-epoch"]).await;
    world.end(None);
    assert!(!accepted, "{said:?}");
    let (accepted, said) = world.judge(&world.head(), &first, &["new-epoch"]).await;
    world.end(accepted.then_some(&first));
    assert!(accepted, "{said:?}");
    world.bench.rest().await;
    assert_eq!(world.bench.declared(), "a=one b=one");
    assert_eq!(world.bench.snapshot().await.tree.documents.len(), 2);
}

/// Somebody puts the branch elsewhere by hand while mcpd is off: it is noticed before anything is taken over, told once,
/// and waits for a person's word, which is for that head alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_history_replaced_by_hand_waits() {
    let world = World::with(&["a", "b"]).await;
    let first = world.head();
    world.bench.edit(&[("b", None), ("c", Some("one"))]).await;
    world.bench.rest().await;
    let agreed_last = world.head();
    git(&world.bare(), &["update-ref", BRANCH, &first]);
    let world = world.restart_running().await;
    let report = world.looked().await;
    let source = &report.status.source;
    assert_eq!(source.state, SourceState::WaitingForApproval);
    let why = format!(
        "the history was replaced: {} does not follow {}, which was agreed last: nothing is taken over or written until a \
         person says so (mcpctl sync --new-epoch: what differs becomes a conflict, nothing is deleted)",
        &first[..7],
        &agreed_last[..7]
    );
    assert_eq!(source.last_error.as_deref(), Some(&*why));
    assert_eq!(world.bench.declared(), "a=one c=one", "nothing came back");
    // What is asked for meanwhile waits too, and the other guard's word is none.
    world.bench.edit(&[("d", Some("one"))]).await;
    let words = Words {
        allow_mass_delete: true,
        take_over: true,
        ..Words::default()
    };
    let report = world.bench.sync(words).await.unwrap();
    assert_eq!(report.status.source.state, SourceState::WaitingForApproval);
    assert_eq!(world.head(), first);
    assert_eq!(world.events("Waiting").await, 1, "told once");
    // A push on top of it is told the same.
    git(&world.clone(), &["reset", "-q", "--hard", &first]);
    world.write("e.yaml", &text("e", "pushed"));
    let new = world.commit();
    let (accepted, said) = world.judge(&first, &new, &[]).await;
    world.end(None);
    assert!(!accepted);
    assert_eq!(said[0], format!("error: {why}"));
    assert_eq!(said[1], "hint: mcpctl sync --new-epoch, or git push -o new-epoch");

    let words = Words {
        new_epoch: true,
        ..Words::default()
    };
    let report = world.bench.sync(words).await.unwrap();
    assert_eq!(
        report.status.source.state,
        SourceState::Synced,
        "{:?}",
        report.status.source
    );
    // b had been deleted, and the older history has it: with nothing agreed that is a creation.
    assert_eq!(world.bench.declared(), "a=one b=one c=one d=one");
    assert_eq!(world.events("Recovered").await, 1);
    // The word is no standing one.
    git(&world.bare(), &["update-ref", BRANCH, &first]);
    let report = world.looked().await;
    assert_eq!(report.status.source.state, SourceState::WaitingForApproval);
}

/// A commit of another mcpd among what came: imports go on, exports wait, one event; with the word they go on. The past
/// is nobody's business: what was there at the first agree is taken as it is.
#[tokio::test(flavor = "multi_thread")]
async fn another_writer_stops_exports_until_a_person_says_so() {
    let world = World::with(&["a"]).await;
    let world = world.restart_running().await;
    world.looked().await;
    world.write("c.yaml", &text("c", "theirs"));
    git(&world.clone(), &["add", "-A"]);
    let message = "theirs\n\nMcpctl-Revision: 7\nMcpctl-User: eve\nMcpctl-Writer: another\n";
    git(&world.clone(), &["commit", "-qm", message]);
    let theirs = git(&world.clone(), &["rev-parse", "HEAD"]);
    world.write("d.yaml", &text("d", "ann's"));
    world.commit();
    let (accepted, said) = world.push(&[]).await;
    assert!(accepted, "{said:?}");
    world.looked().await;
    assert_eq!(world.bench.declared(), "a=one c=theirs d=ann's", "imports go on");
    let head = world.head();
    world.bench.edit(&[("a", Some("two"))]).await;
    let report = world.looked().await;
    let source = &report.status.source;
    let why = format!(
        "another mcpd writes to this repository (another in {}): nothing is written into it until a person says so \
         (mcpctl sync --take-over)",
        &theirs[..7]
    );
    assert_eq!(
        (source.state, source.last_error.as_deref()),
        (SourceState::Held, Some(&*why))
    );
    assert_eq!(source.pending_count, 1);
    assert_eq!(world.head(), head, "nothing is written");
    assert!(!report.status.converged);
    world.looked().await;
    assert_eq!(world.events("Waiting").await, 1, "told once");

    // It is remembered over a restart, and a word for something else is none.
    let world = world.restart_running().await;
    let words = Words {
        allow_mass_delete: true,
        new_epoch: true,
        ..Words::default()
    };
    let report = world.bench.sync(words).await.unwrap();
    assert_eq!(report.status.source.state, SourceState::Held);
    assert_eq!(world.head(), head);
    let words = Words {
        take_over: true,
        ..Words::default()
    };
    let report = world.bench.sync(words).await.unwrap();
    assert_eq!(
        report.status.source.state,
        SourceState::Synced,
        "{:?}",
        report.status.source
    );
    assert_ne!(world.head(), head);
    assert_eq!(world.events("Recovered").await, 1);
    // The past is not asked about again, by a restart neither.
    let world = world.restart_running().await;
    assert_eq!(world.looked().await.status.source.state, SourceState::Synced);
}

/// A store that begins with a repository that others wrote takes the past as it is.
#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_taken_as_it_is() {
    let world = World::with(&["a"]).await;
    world
        .bench
        .store()
        .set_metas([(crate::engine::epoch::HEAD.to_owned(), None)].into())
        .await
        .unwrap();
    let message = "theirs\n\nMcpctl-Writer: another\n";
    git(&world.clone(), &["commit", "-q", "--allow-empty", "-m", message]);
    let new = world.send();
    git(&world.bare(), &["update-ref", BRANCH, &new]);
    let agreed = world.bench.rest().await;
    assert_eq!(agreed.other_writer, None);
}
