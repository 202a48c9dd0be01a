//! Going back to an earlier commit, over a real repository and a real store.

use super::push::{World, git};
use super::secrets::{apply, clear, row, server_with};
use super::undo::{PLAIN, WITH};
use super::*;
use crate::engine::{EngineError, Restored, Terms};
use crate::repo::{Lines, Push, PushJudge as _, RefUpdate};

const PLANNED: Terms = Terms { dry_run: true, ..PLAIN };

impl World {
    async fn restore(&self, commit: &str, terms: Terms) -> Result<Restored, EngineError> {
        self.bench.engine.restore(commit, terms, &actor("ann", "api")).await
    }

    fn timelines(&self) -> Vec<String> {
        let all = git(
            &self.bare(),
            &["for-each-ref", "--format=%(objectname)", "refs/heads/timeline/"],
        );
        all.lines().map(str::to_owned).collect()
    }

    fn value_of_keys(&self) -> serde_json::Value {
        let secret = row(&self.bench.store().view(), "secret/keys");
        self.bench.engine.clear_spec(&secret).unwrap().reveal()["data"]["TOKEN"].clone()
    }
}

/// Demand: what is declared becomes what it was by one commit on top, and what was before stays as a branch.
#[tokio::test]
async fn a_restore_is_one_commit_and_keeps_what_was_before() {
    let world = World::with(&["a", "b"]).await;
    let first = world.head();
    world
        .bench
        .edit(&[("a", Some("two")), ("b", None), ("c", Some("new"))])
        .await;
    world.bench.rest().await;
    let second = world.head();
    let planned = world.restore("HEAD~1", PLANNED).await.unwrap();
    let steps: Vec<String> = planned
        .gone
        .plan
        .steps
        .iter()
        .map(|step| format!("{step} from {}", step.source))
        .collect();
    let short = &first[..7];
    assert_eq!(
        steps,
        [
            format!("~ server/a  description \"two\" → \"one\" from servers/a.yaml:1@{short}"),
            format!("+ server/b from servers/b.yaml:1@{short}"),
            format!("- server/c from server/c@{short}"),
        ]
    );
    assert_eq!((planned.point.commit, planned.timeline), (first.clone(), None));
    assert_eq!(world.timelines(), [""; 0]);
    let done = world.restore(short, PLAIN).await.unwrap();
    world.bench.rest().await;
    assert_eq!(world.bench.declared(), "a=one b=one");
    assert_eq!(
        world.newest(),
        format!("ann: restore {short}: apply 3 resources: server/a, server/b, server/c")
    );
    assert_eq!(
        git(&world.bare(), &["rev-parse", "main~1"]),
        second,
        "history is not rewritten"
    );
    assert_eq!(world.timelines(), std::slice::from_ref(&second));
    let (tree, then) = (
        git(&world.bare(), &["rev-parse", "main^{tree}"]),
        format!("{first}^{{tree}}"),
    );
    assert_eq!(
        tree,
        git(&world.bare(), &["rev-parse", &then]),
        "the files are what they were"
    );
    let events = world.bench.store().recent_events(5).await.unwrap();
    let timeline = done.timeline.unwrap();
    assert!(
        events
            .iter()
            .any(|it| it.reason == "Restored" && it.message.contains(&timeline)),
        "{events:?}"
    );
    // What already is: nothing to do, and no branch for it.
    let again = world.restore(short, PLAIN).await.unwrap();
    assert!(again.gone.mutation.is_none() && again.timeline.is_none() && again.gone.plan.steps.is_empty());
    // And back again, by the name of the branch; a list has both.
    let points = world.bench.points(10).await.unwrap();
    assert_eq!(points[0].branch.as_ref(), Some(&timeline));
    assert_eq!((points[0].commit.as_str(), points.len()), (&*second, 4));
    world.restore(&timeline, PLAIN).await.unwrap();
    world.bench.rest().await;
    assert_eq!(world.bench.declared(), "a=two c=new");
    assert_eq!(world.timelines().len(), 2);
}

/// Planted fault "timeline branch missing after a crash between branch and commit": the branch comes first; without it
/// nothing changes, and a crash after it loses nothing.
#[tokio::test]
async fn no_crash_leaves_a_restore_without_its_branch() {
    let world = World::with(&["a", "b"]).await;
    let first = world.head();
    world.bench.edit(&[("a", Some("two"))]).await;
    world.bench.rest().await;
    let second = world.head();
    // The branch can't be made: something stands where the branches go.
    let there = world.bare().join("refs/heads/timeline");
    std::fs::write(&there, format!("{second}\n")).unwrap();
    assert!(world.restore(&first, PLAIN).await.is_err());
    assert_eq!(
        (world.bench.declared(), world.revision()),
        ("a=two b=one".to_owned(), 2)
    );
    std::fs::remove_file(&there).unwrap();
    assert!(world.bench.0.lease.try_take("another"), "the lease was given back");
    world.bench.0.lease.release("another");
    // mcpd dies after the change is durable and before its commit.
    world.restore(&first, PLAIN).await.unwrap();
    assert_eq!(world.head(), second);
    assert_eq!(world.timelines(), std::slice::from_ref(&second));
    let world = world.restart().await;
    world.bench.rest().await;
    assert_eq!(world.bench.declared(), "a=one b=one");
    assert_eq!(git(&world.bare(), &["rev-parse", "main~1"]), second);
    assert_eq!(world.timelines(), [second]);
}

/// What is not in the repository yet would be kept by no branch: a restore waits for it, and refuses where it does not come.
#[tokio::test]
async fn what_no_branch_would_keep_refuses() {
    let world = World::with(&["a", "b"]).await;
    world.bench.edit(&[("a", Some("two"))]).await;
    let error = world.bench.agreed_head(world.hosted()).await.unwrap_err();
    assert!(
        error.to_string().starts_with("1 change not in the repository yet"),
        "{error}"
    );
    world.bench.rest().await;
    assert_eq!(world.bench.agreed_head(world.hosted()).await.unwrap(), world.head());
    // The head was moved, and nobody has taken it over.
    world.write("c.yaml", &text("c", "pushed"));
    let pushed = world.commit();
    git(&world.bare(), &["update-ref", "refs/heads/main", &pushed]);
    let error = world.bench.agreed_head(world.hosted()).await.unwrap_err();
    assert!(error.to_string().contains("is not taken over yet"), "{error}");
}

/// Planted fault "secret revived silently". Declarations come back, values of secrets do not, and each is named.
#[tokio::test]
async fn a_restore_brings_no_value_of_a_secret_back_unless_it_is_said() {
    let world = World::with(&["a"]).await;
    let secret = |value: &str| clear("keys", &json!({"TOKEN": value}));
    apply(
        &world.bench,
        vec![secret("leaked-value-1"), server_with("s", "keys", "TOKEN")],
    )
    .await
    .unwrap();
    world.bench.rest().await;
    let then = world.head();
    apply(&world.bench, vec![secret("new-value-2")]).await.unwrap();
    world.bench.edit(&[("a", Some("two"))]).await;
    world.bench.rest().await;
    let done = world.restore(&then, PLAIN).await.unwrap();
    assert_eq!(done.gone.kept, [(id("secret/keys"), "keeps today's values".to_owned())]);
    assert_eq!(done.gone.plan.steps.len(), 1);
    world.bench.rest().await;
    assert_eq!(
        (world.value_of_keys(), world.bench.declared()),
        ("new-value-2".into(), "keys= a=one s=".to_owned())
    );
    // Said: it is named before, and written down after.
    let planned = world.restore(&then, Terms { dry_run: true, ..WITH }).await.unwrap();
    assert_eq!(planned.gone.revives, [id("secret/keys")]);
    let step = planned.gone.plan.steps[0].to_string();
    assert_eq!(step, "~ secret/keys  data.TOKEN \"***\" → \"*** (changed)\"");
    world.restore(&then, WITH).await.unwrap();
    world.bench.rest().await;
    assert_eq!(world.value_of_keys(), "leaked-value-1");
    let told = world.bench.store().recent_audit(5).await.unwrap();
    let want = format!("restore {} with credentials: secret/keys", &then[..7]);
    assert!(told.iter().any(|it| it.action == want && it.actor == "ann"), "{told:?}");
    // A secret that was deleted since stays away; what needs it can't come back without it.
    world.bench.edit(&[("s", None), ("secret/keys", None)]).await;
    world.bench.rest().await;
    let error = world.restore(&then, PLAIN).await.unwrap_err();
    let EngineError::Invalid(faults) = &error else {
        panic!("{error}")
    };
    assert!(
        faults[0].to_string().contains("secret \"keys\" is not declared"),
        "{}",
        faults[0]
    );
    assert!(faults[0].hint.as_ref().unwrap().contains("--with-credentials"));
    assert_eq!(faults[0].file, format!("servers/s.yaml:1@{}", &then[..7]));
    world.restore(&then, WITH).await.unwrap();
    assert_eq!(world.value_of_keys(), "leaked-value-1");
}

/// Planted fault "guard skipped".
#[tokio::test]
async fn a_restore_obeys_the_guard() {
    let world = World::with(&["a"]).await;
    let first = world.head();
    world
        .bench
        .edit(&["b", "c", "d", "e"].map(|name| (name, Some("one"))))
        .await;
    world.bench.rest().await;
    let planned = world.restore(&first, PLANNED).await.unwrap();
    assert_eq!(
        planned.gone.guard.unwrap().to_string(),
        "this would delete 4 of 5 resources"
    );
    let error = world.restore(&first, PLAIN).await.unwrap_err();
    assert!(matches!(error, EngineError::MassDelete(_)), "{error}");
    assert_eq!((world.timelines().len(), world.revision()), (0, 2));
    let meant = Terms {
        allow_mass_delete: true,
        ..PLAIN
    };
    world.restore(&first, meant).await.unwrap();
    assert_eq!(world.bench.declared(), "a=one");
}

/// An old tree that would not be accepted today: each fault with its place and commit, and nothing is done.
#[tokio::test]
async fn a_commit_that_is_not_valid_is_refused_whole() {
    let world = World::with(&["a", "b"]).await;
    world.write("servers/a.yaml", "kind: server\nname: a\ncomand: [x]\n");
    world.write("servers/c.yaml", "kind: project\nname: p\nservers: [nope]\n");
    let bad = world.commit();
    world.write("servers/a.yaml", &text("a", "mended"));
    std::fs::remove_file(world.clone().join("servers/c.yaml")).unwrap();
    let (accepted, said) = {
        world.commit();
        world.push(&[]).await
    };
    assert!(accepted, "{said:?}");
    world.bench.rest().await;
    let error = world.restore(&bad, PLAIN).await.unwrap_err();
    let EngineError::Invalid(faults) = &error else {
        panic!("{error}")
    };
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert!(told[0].starts_with("error: servers/a.yaml:3:1: "), "{told:?}");
    assert!(told[0].contains(&format!("note: in commit {}", &bad[..7])), "{told:?}");
    assert!(
        told.iter().any(|it| it.starts_with("error: servers/c.yaml:")),
        "{told:?}"
    );
    assert_eq!(world.timelines(), [""; 0]);
}

/// What a point in time may be called, and what is none.
#[tokio::test]
async fn points_are_commits_of_the_history() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::hosted(&folder.path().join("data")).await;
    let error = bench.restore("HEAD", PLAIN, &actor("ann", "api")).await.unwrap_err();
    assert_eq!(chain(&error), "the repository has no commit yet");
    let watched = tempfile::tempdir().unwrap();
    let bench = Bench::folder(watched.path(), &folder.path().join("other"), false).await;
    let error = bench.restore("HEAD", PLAIN, &actor("ann", "api")).await.unwrap_err();
    assert_eq!(error.to_string(), "a watched folder has no history of its own");
    let world = World::with(&["a"]).await;
    // Somebody's branch was never in force.
    world.write("c.yaml", &text("c", "pushed"));
    let theirs = world.commit();
    for (name, want) in [
        (&*theirs, "is neither in the history of main nor in that of a timeline"),
        ("0123456", "is no commit of this repository"),
        ("HEAD~9", "there is no commit as old as HEAD~9"),
        ("2001-01-01", "there is no commit as old as 2001-01-01"),
        ("timeline/x", "there is no branch timeline/x"),
        ("yesterday", "\"yesterday\" is no commit, no branch and no time"),
        ("HEAD:servers", "is no commit, no branch and no time"),
    ] {
        let error = world.restore(name, PLAIN).await.unwrap_err();
        assert!(chain(&error).contains(want), "{name}: {}", chain(&error));
    }
    let head = world.head();
    for name in ["0s", "main", "HEAD", &head[..7], &head] {
        assert_eq!(world.restore(name, PLANNED).await.unwrap().point.commit, head, "{name}");
    }
}

fn chain(error: &EngineError) -> String {
    match error {
        EngineError::Repository(cause) => cause.to_string(),
        other => other.to_string(),
    }
}

/// A push makes, moves and deletes no branch that keeps what was before a restore, and none that would stand in their way.
#[tokio::test]
async fn a_push_leaves_timelines_alone() {
    let world = World::with(&["a"]).await;
    let head = world.head();
    world.bench.edit(&[("a", Some("two"))]).await;
    world.bench.rest().await;
    let kept = world.restore(&head, PLAIN).await.unwrap().timeline.unwrap();
    world.bench.rest().await;
    let now = world.head();
    for (name, old, new, accepted) in [
        (format!("refs/heads/{kept}"), Some(&head), Some(&now), false),
        (format!("refs/heads/{kept}"), Some(&head), None, false),
        (format!("refs/heads/{kept}"), Some(&head), Some(&head), true),
        ("refs/heads/timeline/mine".to_owned(), None, Some(&now), false),
        ("refs/heads/timeline".to_owned(), None, Some(&now), false),
        ("refs/heads/timelines".to_owned(), None, Some(&now), true),
    ] {
        let push = Push {
            id: "other".to_owned(),
            principal: world.pusher.clone(),
            updates: vec![RefUpdate {
                old: old.cloned(),
                new: new.cloned(),
                name: name.clone(),
            }],
            options: vec![],
            quarantine: None,
        };
        let (out, mut lines) = Lines::channel();
        assert_eq!(world.bench.judge(push, out).await, accepted, "{name}");
        let first = lines.try_recv().unwrap_or_default();
        assert_eq!(
            first.contains("keeps what was before a restore"),
            !accepted,
            "{name}: {first}"
        );
    }
}

/// Demand: a list of recipients that gains or loses a key is one commit; and what a restore brings back is encrypted for
/// those of today, not for those of then.
#[tokio::test]
async fn recipients_that_changed_are_one_commit_and_no_restore_undoes_it() {
    let world = World::with(&["a"]).await;
    let secret = |value: &str| clear("keys", &json!({"TOKEN": value, "OTHER": "stays-the-same"}));
    apply(&world.bench, vec![secret("value-1")]).await.unwrap();
    world.bench.rest().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let other = vault(elsewhere.path(), &[]).own_recipient();
    let own = world.bench.engine.recipients()[0].clone();
    let file = || git(&world.bare(), &["show", "main:secrets/keys.yaml"]);
    let cipher = || {
        file()
            .lines()
            .find(|line| line.contains("OTHER: ENC["))
            .unwrap()
            .to_owned()
    };
    let said = |text: Option<&str>| {
        git(
            &world.clone(),
            &["pull", "-q", "--rebase", &world.bare().display().to_string(), "main"],
        );
        let list = world.clone().join(".mcpctl/recipients");
        std::fs::create_dir_all(list.parent().unwrap()).unwrap();
        match text {
            Some(text) => std::fs::write(&list, text).unwrap(),
            None => std::fs::remove_file(&list).unwrap(),
        }
        world.commit()
    };
    assert!(!file().contains(&other));
    let pushed = said(Some(&format!("# for safe-keeping\n{other}\n")));
    let (accepted, said_of_it) = world.push(&[]).await;
    assert!(accepted, "{said_of_it:?}");
    world.bench.rest().await;
    assert_eq!(world.newest(), "mcpd: encrypt 1 secret for 2 recipients");
    assert_eq!(git(&world.bare(), &["rev-parse", "main~1"]), pushed, "one commit");
    assert!(file().contains(&other) && file().contains(&own));
    let (both, with_both) = (world.head(), cipher());
    apply(&world.bench, vec![secret("value-2")]).await.unwrap();
    world.bench.rest().await;
    let pushed = said(None);
    let (accepted, said_of_it) = world.push(&[]).await;
    assert!(accepted, "{said_of_it:?}");
    world.bench.rest().await;
    assert_eq!(world.newest(), "mcpd: encrypt 1 secret for 1 recipient");
    assert_eq!(git(&world.bare(), &["rev-parse", "main~1"]), pushed, "one commit");
    assert!(!file().contains(&other) && file().contains(&own));
    assert_ne!(cipher(), with_both, "whoever was taken out may have kept the old key");
    // That nobody undoes, and mcpd made it by itself.
    let error = world
        .bench
        .engine
        .undo(world.revision(), PLAIN, &actor("ann", "api"))
        .await
        .unwrap_err();
    assert!(matches!(error, EngineError::NotUndone { .. }), "{error}");
    let done = world.restore(&both, WITH).await.unwrap();
    assert_eq!(done.gone.revives, [id("secret/keys")]);
    world.bench.rest().await;
    assert_eq!(world.value_of_keys(), "value-1");
    assert!(!file().contains(&other) && file().contains(&own), "for those of today");
    assert!(world.newest().starts_with("ann: restore "), "{}", world.newest());
}

/// A commit whose secrets were encrypted for others: what an identity of this host opens comes back, what none opens is
/// kept away from values that can be used, or comes back sealed and is told.
#[tokio::test]
async fn old_secrets_of_another_host_come_back_where_they_can_be_opened() {
    let world = World::with(&["a"]).await;
    let secret = |value: &str| clear("keys", &json!({"TOKEN": value}));
    apply(&world.bench, vec![secret("value-1")]).await.unwrap();
    world.bench.rest().await;
    let (then, digest) = (world.head(), world.bench.engine.state_digest());
    let identity = world.bench.engine.export_identity(&actor("ann", "api")).await.unwrap();
    // Another host, with the same repository and an identity of its own.
    let World { folder, bench, pusher } = world;
    drop(bench);
    let data = folder.path().join("other");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::rename(folder.path().join("data/config.git"), data.join("config.git")).unwrap();
    std::fs::rename(folder.path().join("data"), folder.path().join("gone")).unwrap();
    std::os::unix::fs::symlink(&data, folder.path().join("data")).unwrap();
    let given = folder.path().join("given.txt");
    let hosted = Hosted::open(&data, Path::new("/bin/true"), "writer").await.unwrap();
    let given = std::slice::from_ref(&given);
    let bench = Bench::start_with(Source::Hosted(hosted), "hosted", &data, false, given).await;
    bench.rest().await;
    let world = World { folder, bench, pusher };
    assert_eq!(world.bench.engine.sealed(), [id("secret/keys")]);
    // It is replaced here by one that this host can open.
    world.bench.edit(&[("secret/keys", None)]).await;
    world.bench.rest().await;
    let deleted = world.head();
    apply(&world.bench, vec![secret("value-2")]).await.unwrap();
    world.bench.rest().await;
    let done = world.restore(&then, WITH).await.unwrap();
    let why = "keeps today's values: no identity of this host opens those of then".to_owned();
    assert_eq!(
        (done.gone.revives.len(), done.gone.kept),
        (0, vec![(id("secret/keys"), why)])
    );
    assert_eq!(world.value_of_keys(), "value-2");
    // Where there are no values of today it comes back as it is, byte for byte, and that is told.
    let original = git(&world.bare(), &["show", &format!("{then}:secrets/keys.yaml")]);
    world.restore(&deleted, PLAIN).await.unwrap();
    world.bench.rest().await;
    let done = world.restore(&then, WITH).await.unwrap();
    assert_eq!(done.gone.revives, [id("secret/keys")]);
    world.bench.rest().await;
    assert_eq!(world.bench.engine.sealed(), [id("secret/keys")]);
    assert_eq!(git(&world.bare(), &["show", "main:secrets/keys.yaml"]), original);
    assert_ne!(
        world.bench.engine.state_digest(),
        digest,
        "what is sealed is taken as it stands"
    );
    // With the identity of then it opens, is encrypted for this host too, and the state is the one of then.
    std::fs::write(&given[0], identity.reveal()).unwrap();
    assert!(world.bench.engine.0.parts.vault.reload());
    world.bench.rest().await;
    assert_eq!(
        (world.value_of_keys(), world.bench.engine.sealed().len()),
        ("value-1".into(), 0)
    );
    assert_eq!(world.bench.engine.state_digest(), digest);
    assert_eq!(world.newest(), "mcpd: encrypt 1 secret for 1 recipient");
}

/// Demand: whatever happened since, going back gives the digest of then, of everything that is declared.
#[tokio::test]
async fn restoring_gives_the_digest_of_then() {
    for seed in 1..=3_u64 {
        let world = World::with(&["a", "b", "c"]).await;
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut dice = move |sides: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random % sides).unwrap()
        };
        let mut then = vec![(world.head(), world.bench.engine.state_digest())];
        let meant = Terms {
            allow_mass_delete: true,
            ..WITH
        };
        for step in 0..16 {
            let what = dice(9);
            if what < 3 {
                let (commit, digest) = then[dice(then.len() as u64)].clone();
                world.restore(&commit, meant).await.unwrap();
                world.bench.rest().await;
                assert_eq!(
                    world.bench.engine.state_digest(),
                    digest,
                    "seed {seed}, step {step}: {commit}"
                );
            } else if what < 5 {
                let value = format!("value-number-{}", dice(4));
                apply(&world.bench, vec![clear("keys", &json!({"TOKEN": value}))])
                    .await
                    .unwrap();
            } else {
                let name = ["a", "b", "c", "d"][dice(4)];
                let words = format!("words {}", dice(9));
                let there = world
                    .bench
                    .store()
                    .view()
                    .rows
                    .get(&id(name))
                    .is_some_and(|it| it.document.is_some());
                let after = (!there || dice(3) > 0).then_some(words.as_str());
                world.bench.edit(&[(name, after)]).await;
            }
            world.bench.rest().await;
            then.push((world.head(), world.bench.engine.state_digest()));
        }
    }
}
