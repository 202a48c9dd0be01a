//! Pushes as the hooks hand them over, and everything else that goes on meanwhile.

use std::path::PathBuf;
use std::process::Command;

use crate::access::Principal;
use crate::reconcile::agree::Plan;
use crate::repo::{BRANCH, Lines, Push, PushJudge as _, RefUpdate};

use super::*;
use crate::engine::{PUSHERS, lock};

/// git without any of the machine's settings; it has to succeed.
pub(super) fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(folder).env_clear();
    let output = command
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", folder)
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_NAME", "Ann")
        .env("GIT_AUTHOR_EMAIL", "ann@example.com")
        .env("GIT_COMMITTER_NAME", "Ann")
        .env("GIT_COMMITTER_EMAIL", "ann@example.com")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A hosted repository that holds something, and a clone of it.
pub(super) struct World {
    pub(super) folder: tempfile::TempDir,
    pub(super) bench: Bench,
    pub(super) pusher: Principal,
}

fn ann() -> Principal {
    Principal::Admin { name: "ann".to_owned() }
}

impl World {
    pub(super) async fn with(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::hosted(&folder.path().join("data")).await;
        Self::of(folder, bench, names).await
    }

    /// The same whose store is on such a disk.
    pub(super) async fn on(disk: &crate::store::tests::disk::Disk, names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let hosted = Hosted::open(&data, Path::new("/bin/true"), "writer").await.unwrap();
        let source = Source::Hosted(hosted);
        let bench = Bench::start_on(disk.store().unwrap(), source, "hosted", &data, false, &[]).await;
        Self::of(folder, bench, names).await
    }

    async fn of(folder: tempfile::TempDir, bench: Bench, names: &[&str]) -> Self {
        let edits: Vec<_> = names.iter().map(|name| (*name, Some("one"))).collect();
        bench.edit(&edits).await;
        bench.rest().await;
        let world = Self {
            folder,
            bench,
            pusher: ann(),
        };
        git(
            world.folder.path(),
            &["clone", "-q", &world.bare().display().to_string(), "clone"],
        );
        world
    }

    /// mcpd dies and comes back, its loop with it.
    pub(super) async fn restart_running(self) -> Self {
        let Self { folder, bench, pusher } = self;
        drop(bench);
        let data = folder.path().join("data");
        let store = open(&data.join("store.redb")).await;
        let hosted = Hosted::open(&data, Path::new("/bin/true"), "writer").await.unwrap();
        let bench = Bench::start_on(store, Source::Hosted(hosted), "hosted", &data, true, &[]).await;
        Self { folder, bench, pusher }
    }

    /// mcpd dies and comes back.
    pub(super) async fn restart(self) -> Self {
        let Self { folder, bench, pusher } = self;
        drop(bench);
        let bench = Bench::hosted(&folder.path().join("data")).await;
        Self { folder, bench, pusher }
    }

    pub(super) fn bare(&self) -> PathBuf {
        self.folder.path().join("data").join("config.git")
    }

    pub(super) fn clone(&self) -> PathBuf {
        self.folder.path().join("clone")
    }

    pub(super) fn head(&self) -> String {
        git(&self.bare(), &["rev-parse", "main"])
    }

    pub(super) fn hosted(&self) -> &Hosted {
        match &self.bench.0.parts.source {
            Source::Hosted(hosted) => hosted,
            Source::Remote(_) | Source::Folder(_) => panic!("a hosted repository"),
        }
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        std::fs::write(self.clone().join(path), text).unwrap();
    }

    /// Commits what the clone holds; its objects are then where the judge looks for them.
    pub(super) fn commit(&self) -> String {
        git(&self.clone(), &["add", "-A"]);
        git(&self.clone(), &["commit", "-qm", "ann's words"]);
        self.send()
    }

    pub(super) fn send(&self) -> String {
        let (bare, clone) = (self.bare(), self.clone().display().to_string());
        git(&bare, &["fetch", "-q", &clone, "+main:refs/heads/sent"]);
        git(&bare, &["rev-parse", "sent"])
    }

    /// The pre-receive of a push: whether it was accepted, and what was said.
    pub(super) async fn judge(&self, old: &str, new: &str, options: &[&str]) -> (bool, Vec<String>) {
        let push = Push {
            id: "push".to_owned(),
            principal: self.pusher.clone(),
            updates: vec![RefUpdate {
                old: Some(old.to_owned()),
                new: Some(new.to_owned()),
                name: BRANCH.to_owned(),
            }],
            options: options.iter().map(ToString::to_string).collect(),
            quarantine: None,
        };
        self.hosted().begin_push(&push.id, &push.principal);
        let (out, mut lines) = Lines::channel();
        let accepted = self.bench.judge(push, out).await;
        let mut said = vec![];
        while let Ok(line) = lines.try_recv() {
            said.push(line);
        }
        (accepted, said)
    }

    /// The end of a push: git moves the branch if the push was accepted.
    pub(super) fn end(&self, moved: Option<&str>) {
        if let Some(new) = moved {
            git(&self.bare(), &["update-ref", BRANCH, new]);
        }
        self.hosted().end_push("push");
        self.bench.ended("push");
    }

    /// A push from beginning to end.
    pub(super) async fn push(&self, options: &[&str]) -> (bool, Vec<String>) {
        let (old, new) = (self.head(), self.send());
        let (accepted, said) = self.judge(&old, &new, options).await;
        self.end(accepted.then_some(&*new));
        (accepted, said)
    }
}

/// Pitfall "an export that lands between pre-receive and the ref's move": or just before, after the pusher has looked.
/// git would find it too late, without a word about the way out.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_from_an_older_base_is_told_how_to_go_on() {
    let world = World::with(&["a"]).await;
    let old = world.head();
    world.write("c.yaml", &text("c", "pushed"));
    let new = world.commit();
    world.bench.edit(&[("b", Some("one"))]).await;
    world.bench.rest().await;

    let (accepted, said) = world.judge(&old, &new, &[]).await;
    world.end(None);
    assert!(!accepted);
    let hint = format!("hint: 1 commit by mcpctl since {}: git pull --rebase", &old[..7]);
    assert_eq!(
        said,
        [
            "error: main has moved on: 1 commit would be lost",
            &hint,
            "refused: nothing was changed"
        ]
    );
    git(&world.clone(), &["pull", "-q", "--rebase", "origin", "main"]);
    let (accepted, said) = world.push(&[]).await;
    assert!(accepted, "{said:?}");
    world.bench.rest().await;
    assert_eq!(world.bench.declared(), "a=one b=one c=pushed");
}

/// Pitfall "one bad file stops the catalogue": mcpd itself must not write a head that no push can build on. A deletion
/// of what a pushed project names, asked for before the project is taken over, waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_never_leaves_a_head_with_a_broken_reference() {
    let world = World::with(&["other", "s"]).await;
    world.write("p.yaml", "kind: project\nname: p\nservers: [s]\n");
    let (old, new) = (world.head(), world.commit());
    let (accepted, said) = world.judge(&old, &new, &[]).await;
    assert!(accepted, "{said:?}");
    world.bench.edit(&[("s", None)]).await;
    world.end(Some(&new));

    let Plan { held, .. } = world.bench.rest().await.plan;
    assert_eq!(held[&id("s")], "project/p in the repository needs it");
    assert_eq!(held[&id("project/p")], "server s is not declared");
    assert_eq!(world.head(), new, "nothing was written");
    assert!(world.bench.snapshot().await.tree.diagnostics.is_empty());

    // The way out is a push as any other.
    std::fs::remove_file(world.clone().join("p.yaml")).unwrap();
    world.commit();
    let (accepted, said) = world.push(&[]).await;
    assert!(accepted, "{said:?}");
    let agreed = world.bench.rest().await;
    assert!(agreed.plan.held.is_empty() && world.bench.store().view().outbox.is_empty());
    let tree = world.bench.snapshot().await.tree;
    assert_eq!(
        tree.documents.keys().map(|id| id.name.as_str()).collect::<Vec<_>>(),
        ["other"]
    );
}

/// Pitfall "an emptied repository that deletes the world": with the person's word in the push it may, also where mcpd
/// dies between the move of the branch and the takeover; and then the word is used up.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_came_with_a_push_survives_a_crash() {
    let world = World::with(&["a", "b", "c", "d", "e"]).await;
    git(&world.clone(), &["rm", "-qr", "."]);
    let (old, new) = (world.head(), world.commit());
    let (accepted, said) = world.judge(&old, &new, &[]).await;
    world.end(None);
    assert!(!accepted);
    assert_eq!(said[0], "error: this would delete 5 of 5 resources");
    let (accepted, said) = world.judge(&old, &new, &["allow-mass-delete"]).await;
    assert!(accepted, "{said:?}");
    git(&world.bare(), &["update-ref", BRANCH, &new]);

    let world = world.restart().await;
    let agreed = world.bench.pass().await;
    assert_eq!(
        (agreed.snapshot.head.as_deref(), agreed.plan.guard),
        (Some(&*new), None)
    );
    assert_eq!(world.bench.declared(), "");
    assert!(!world.bench.0.is_allowed(&new), "it is used up");
}

/// Pitfall "Ctrl-C while a push waits": a push that ends while it waits for the lease must not take it afterwards, for
/// nobody would give it back, and exports would wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_taken_after_its_push_has_ended_is_given_back() {
    let world = World::with(&["a"]).await;
    world.write("c.yaml", &text("c", "pushed"));
    let (old, new) = (world.head(), world.commit());
    assert!(world.bench.0.lease.try_take("first"));
    let judged = world.judge(&old, &new, &[]);
    let meanwhile = async {
        // Once the judge has been asked it waits for the first push.
        tokio::task::yield_now().await;
        assert!(world.hosted().is_under_way("push"));
        world.end(None);
        world.bench.ended("first");
    };
    let ((accepted, _), ()) = tokio::join!(judged, meanwhile);
    assert!(!accepted);
    assert!(world.bench.0.lease.try_take("export"));
}

/// Pitfall "Ctrl-C while a push waits": a push that was accepted holds the lease until its branch has moved, or until git has
/// ended without moving it, which nobody tells but its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_ends_without_moving_gives_its_lease_back() {
    let world = World::with(&["a"]).await;
    world.write("c.yaml", &text("c", "pushed"));
    let (old, new) = (world.head(), world.commit());
    for options in [&[][..], &["no-such-option"]] {
        let (accepted, said) = world.judge(&old, &new, options).await;
        assert_eq!(accepted, options.is_empty(), "{said:?}");
        assert_eq!(world.bench.0.lease.try_take("export"), !accepted);
        world.end(None);
        assert!(accepted == world.bench.0.lease.try_take("export"), "{options:?}");
        world.bench.ended("export");
    }
    assert!(lock(&world.bench.0.affected).is_empty());
}

/// Who pushed is who did it, in the list of revisions; and what remembers that does not grow with pushes that change
/// nothing (pitfall "142 containers for one call": whatever grows with calls).
#[tokio::test(flavor = "multi_thread")]
async fn the_pusher_is_the_actor_and_few_are_remembered() {
    let world = World::with(&["a"]).await;
    world.write("c.yaml", &text("c", "pushed"));
    world.commit();
    assert!(world.push(&[]).await.0);
    world.bench.rest().await;
    let mutation = world.bench.store().mutations(1).await.unwrap().remove(0);
    assert_eq!(mutation.actor, actor("ann", "push"));
    assert_eq!(mutation.message, "ann's words");
    assert_eq!(mutation.commit, Some(world.head()));

    let inner = &world.bench.0;
    for head in 0..10 * PUSHERS {
        inner.pushed_by(&head.to_string(), &actor(&format!("pusher {head}"), "push"));
    }
    assert_eq!(lock(&inner.pushers).len(), PUSHERS);
    let newest = 10 * PUSHERS - 1;
    assert_eq!(
        inner.pusher(&newest.to_string()).unwrap().name,
        format!("pusher {newest}")
    );
    assert_eq!(inner.pusher("0"), None);
}

/// A push is told of the servers that it changes and of no others; what is remembered for that goes with the push.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_told_of_what_it_brings() {
    let world = World::with(&["a", "b"]).await;
    // A change through another door waits for its export and is none of the pusher's.
    world.bench.edit(&[("b", Some("two"))]).await;
    world.write("c.yaml", &text("c", "pushed"));
    let (old, new) = (world.head(), world.commit());
    let (accepted, said) = world.judge(&old, &new, &[]).await;
    assert!(accepted, "{said:?}");
    assert_eq!(
        said,
        [
            &*format!(
                "plan {}: 1 to create, 0 to change, 0 to delete, 0 conflicts, 1 unchanged",
                &new[..7]
            ),
            "  + server/c",
            "containers: start none · replace none · stop none"
        ]
    );
    let affected = lock(&world.bench.0.affected)["push"].clone();
    assert_eq!(affected, ["c".parse().unwrap()].into());
    world.end(Some(&new));
    assert!(lock(&world.bench.0.affected).is_empty());
}
