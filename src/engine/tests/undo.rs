//! Taking back what one revision did, over a real repository and a real store.

use super::push::{World, git};
use super::secrets::{apply, clear, row, server_with};
use super::*;
use crate::engine::{EngineError, GoneBack, Only, Terms, Wanted};

pub(super) const PLAIN: Terms = Terms {
    with_credentials: false,
    allow_mass_delete: false,
    seen: None,
    dry_run: false,
};
pub(super) const WITH: Terms = Terms {
    with_credentials: true,
    ..PLAIN
};

impl World {
    pub(super) fn revision(&self) -> u64 {
        self.bench.store().view().revision
    }

    async fn undo(&self, revision: u64, terms: Terms) -> Result<GoneBack, String> {
        let done = self.bench.engine.undo(revision, terms, &actor("ann", "api")).await;
        done.map_err(|error| match error {
            EngineError::NotUndone { because, .. } | EngineError::Invalid(because) => {
                let lines: Vec<String> = because.iter().map(ToString::to_string).collect();
                lines.join("\n")
            }
            other => other.to_string(),
        })
    }

    /// The newest commit of main: its author and its subject.
    pub(super) fn newest(&self) -> String {
        git(&self.bare(), &["log", "-1", "--format=%an: %s", "main"])
    }

    pub(super) fn spec_of(&self, name: &str) -> serde_json::Value {
        row(&self.bench.store().view(), name).spec.clone()
    }
}

/// Demand: one mutation's revert is one mutation and one commit, and what was before is so again.
#[tokio::test]
async fn undo_is_one_mutation_and_one_commit() {
    let world = World::with(&["a", "b", "c"]).await;
    world
        .bench
        .edit(&[("a", Some("two")), ("b", None), ("d", Some("new"))])
        .await;
    let done = world.revision();
    world.bench.rest().await;
    assert_eq!(world.bench.declared(), "a=two c=one d=new");
    // Only planned: nothing moves.
    let plan = world.undo(done, Terms { dry_run: true, ..PLAIN }).await.unwrap().plan;
    let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    assert_eq!(
        steps,
        ["~ server/a  description \"two\" → \"one\"", "+ server/b", "- server/d"]
    );
    assert_eq!(world.revision(), done);
    // Somebody changed something else since the plan was looked at.
    world.bench.edit(&[("c", Some("two"))]).await;
    let stale = Terms {
        seen: Some(plan.revision),
        ..PLAIN
    };
    let refused = world.undo(done, stale).await.unwrap_err();
    assert!(refused.contains("was for revision 2, and now it is 3"), "{refused}");
    let gone = world.undo(done, PLAIN).await.unwrap();
    assert_eq!(gone.mutation.unwrap().message, "undo 2: an edit");
    assert_eq!(world.bench.declared(), "a=one b=one c=two");
    let before = git(&world.bare(), &["rev-list", "--count", "main"]);
    world.bench.rest().await;
    assert_eq!(world.newest(), "ann: undo 2: an edit");
    let after = git(&world.bare(), &["rev-list", "--count", "main"]);
    assert_eq!(
        after.parse::<u32>().unwrap(),
        before.parse::<u32>().unwrap() + 2,
        "c, then the undo"
    );
    // Once more there is nothing to do; and an undo can be undone.
    let again = world.undo(done, PLAIN).await.unwrap();
    assert!(again.mutation.is_none() && again.plan.steps.is_empty() && again.plan.unchanged == 3);
    let last = world.revision();
    assert_eq!(
        world.undo(last, PLAIN).await.unwrap().mutation.unwrap().message,
        "undo 4: undo 2: an edit"
    );
    assert_eq!(world.bench.declared(), "a=two c=two d=new");
}

/// Planted fault "undo over a moved resource": other fields stay as they are, the same ones refuse, and it is told who.
#[tokio::test]
async fn what_moved_since_is_kept_or_refuses() {
    let world = World::with(&["a", "b"]).await;
    let server = |replicas: u32, seconds: u32, env: &str| {
        json!({"command": ["x"], "replicas": replicas, "timeoutSeconds": seconds,
            "env": [{"name": "A", "value": env}, {"name": "B", "value": "b"}]})
    };
    world.bench.edit_spec("s", &server(1, 5, "one")).await;
    world.bench.edit_spec("s", &server(2, 5, "two")).await;
    let changed = world.revision();
    // Another field: it stays.
    world.bench.edit_spec("s", &server(2, 9, "two")).await;
    world.undo(changed, PLAIN).await.unwrap();
    assert_eq!(
        world.spec_of("server/s"),
        server(1, 9, "one")
            .as_object()
            .map(|it| it
                .iter()
                .filter(|(key, _)| *key != "replicas")
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect())
            .map(serde_json::Value::Object)
            .unwrap()
    );
    // A field that it changed itself, and nothing is done in part.
    world
        .bench
        .edit_request(crate::engine::EditRequest {
            actor: actor("eve", "api"),
            wanted: vec![
                wanted("s", &server(1, 9, "three")),
                wanted("a", &json!({"command": ["y"]})),
            ],
            dry_run: false,
        })
        .await
        .unwrap();
    let both = world.revision();
    world.bench.edit_spec("s", &server(1, 9, "four")).await;
    let refused = world.undo(both, PLAIN).await.unwrap_err();
    let later = world.revision();
    assert_eq!(
        refused,
        format!(
            "error: server/s: env.A was changed since by revision {later} (bob: an edit)\n\
             hint: mcpctl undo {later} first, or change it by hand"
        )
    );
    assert_eq!(world.spec_of("server/a"), json!({"command": ["y"]}), "all or nothing");
    // What was made and changed since, deleted since, declared again since.
    world.bench.edit(&[("new", Some("one"))]).await;
    let made = world.revision();
    world.bench.edit(&[("new", Some("two"))]).await;
    let moved = world.undo(made, PLAIN).await.unwrap_err();
    assert!(
        moved.contains("server/new: it was changed since by revision"),
        "{moved}"
    );
    world.bench.edit(&[("b", Some("two"))]).await;
    let changed = world.revision();
    world.bench.edit(&[("b", None)]).await;
    let gone = world.undo(changed, PLAIN).await.unwrap_err();
    assert!(gone.contains("server/b: it was deleted since by revision"), "{gone}");
    let deleted = world.revision();
    world.bench.edit(&[("b", Some("three"))]).await;
    let back = world.undo(deleted, PLAIN).await.unwrap_err();
    assert!(
        back.contains("server/b: it was declared again since by revision"),
        "{back}"
    );
}

fn wanted(name: &str, spec: &serde_json::Value) -> Wanted {
    Wanted {
        id: id(name),
        after: Some(Arc::new(Document::new(id(name), spec).unwrap())),
        only: Only::Always,
        source: None,
    }
}

/// What is not there, what mcpd did by itself, what others need, and what would delete most.
#[tokio::test]
async fn what_can_not_be_undone_says_why() {
    let world = World::with(&["a"]).await;
    let missing = world.undo(99, PLAIN).await.unwrap_err();
    assert_eq!(missing, "revision 99 is not there: the newest is 1");
    assert!(world.undo(0, PLAIN).await.is_err());
    let project = Document::new(id("project/p"), &json!({"servers": ["a"]})).unwrap();
    let wanted = Wanted {
        id: project.id.clone(),
        after: Some(Arc::new(project)),
        only: Only::Always,
        source: None,
    };
    apply(&world.bench, vec![wanted]).await.unwrap();
    let needed = world.undo(1, PLAIN).await.unwrap_err();
    assert_eq!(needed, "server/a can't be deleted: project/p needs it");
    world
        .bench
        .edit(&["b", "c", "d", "e"].map(|name| (name, Some("one"))))
        .await;
    let many = world.revision();
    let guarded = world.undo(many, PLAIN).await.unwrap_err();
    assert_eq!(guarded, "this would delete 4 of 6 resources");
    let planned = world.undo(many, Terms { dry_run: true, ..PLAIN }).await.unwrap();
    assert!(planned.guard.is_some());
    let meant = Terms {
        allow_mass_delete: true,
        ..PLAIN
    };
    assert_eq!(world.undo(many, meant).await.unwrap().plan.steps.len(), 4);
    let by_itself = world
        .bench
        .store()
        .new_epoch(actor("mcpd", "mcpd"), crate::kit::time::now())
        .await
        .unwrap()
        .unwrap();
    let refused = world.undo(by_itself.revision, PLAIN).await.unwrap_err();
    assert!(refused.contains("mcpd made it by itself"), "{refused}");
}

/// Planted fault "secret revived silently": an old value is in force again only where that was said, and is named.
#[tokio::test]
async fn an_undo_brings_no_value_of_a_secret_back_unless_it_is_said() {
    let world = World::with(&["a"]).await;
    let secret = |value: &str| clear("keys", &json!({"TOKEN": value}));
    apply(
        &world.bench,
        vec![secret("leaked-value-1"), server_with("s", "keys", "TOKEN")],
    )
    .await
    .unwrap();
    let mut with_description = server_with("s", "keys", "TOKEN");
    let spec = json!({"command": ["dog"], "env": [{"name": "TOKEN", "valueFrom": {"secretRef": {"name": "keys", "key": "TOKEN"}}}]});
    with_description.after = Some(Arc::new(Document::new(id("s"), &spec).unwrap()));
    apply(&world.bench, vec![secret("new-value-2"), with_description])
        .await
        .unwrap();
    let both = world.revision();
    world.bench.rest().await;
    let value = || {
        let view = world.bench.store().view();
        world
            .bench
            .engine
            .clear_spec(&row(&view, "secret/keys"))
            .unwrap()
            .reveal()["data"]["TOKEN"]
            .clone()
    };
    // The declaration comes back, the value stays, and that is told.
    let gone = world.undo(both, PLAIN).await.unwrap();
    assert_eq!(gone.revives, []);
    assert_eq!(gone.kept, [(id("secret/keys"), "keeps today's values".to_owned())]);
    assert_eq!(world.spec_of("server/s")["command"], json!(["cat"]));
    assert_eq!(value(), "new-value-2");
    // Only a value: there is nothing else to undo.
    apply(&world.bench, vec![secret("newer-value-3")]).await.unwrap();
    let only = world.revision();
    let refused = world.undo(only, PLAIN).await.unwrap_err();
    assert!(
        refused.contains("keeps today's values") && refused.contains("--with-credentials"),
        "{refused}"
    );
    let gone = world.undo(only, WITH).await.unwrap();
    assert_eq!((gone.revives, value()), (vec![id("secret/keys")], "new-value-2".into()));
    let told = world.bench.store().recent_audit(5).await.unwrap();
    assert!(
        told.iter()
            .any(|it| it.action == format!("undo {only} with credentials: secret/keys")),
        "{told:?}"
    );
    // What changed since is not written over, though it is a value.
    apply(&world.bench, vec![secret("value-4")]).await.unwrap();
    let moved = world.undo(only, WITH).await.unwrap_err();
    assert!(moved.contains("secret/keys: its values were changed since"), "{moved}");
    // A deletion takes a value out of force too: it does not come back with what needed it.
    let deletion = |name: &str| Wanted {
        id: id(name),
        after: None,
        only: Only::Always,
        source: None,
    };
    apply(&world.bench, vec![deletion("s"), deletion("secret/keys")])
        .await
        .unwrap();
    let deleted = world.revision();
    let refused = world.undo(deleted, PLAIN).await.unwrap_err();
    assert!(
        refused.contains("secret \"keys\" is not declared") && refused.contains("it was deleted since; if their old"),
        "{refused}"
    );
    world.undo(deleted, WITH).await.unwrap();
    assert_eq!(value(), "value-4");
    // Encrypted anew for others is no other value.
    world.bench.rest().await;
    let said = format!("{:?}", world.bench.store().mutations(100).await.unwrap());
    assert!(!said.contains("leaked-value-1") && !said.contains("value-4"));
}

/// undo(apply(x)) is what was before, whatever x is.
#[tokio::test]
async fn undoing_the_last_mutation_gives_what_was_before() {
    for seed in 1..=3_u64 {
        let world = World::with(&["a", "b", "c", "d"]).await;
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut dice = move |sides: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % sides
        };
        for step in 0..12 {
            let before = world.bench.store().view();
            let words: Vec<String> = (0..3).map(|_| format!("words {}", dice(5))).collect();
            let mut names: Vec<&str> = ["a", "b", "c", "d", "e"].into_iter().filter(|_| dice(2) == 0).collect();
            names.truncate(3);
            let changes: Vec<(&str, Option<&str>)> = names
                .iter()
                .zip(&words)
                .map(|(name, words)| (*name, (dice(4) > 0).then_some(words.as_str())))
                .filter(|(name, after)| {
                    after.is_some() || before.rows.get(&id(name)).is_some_and(|it| it.document.is_some())
                })
                .collect();
            world.bench.edit(&changes).await;
            let made = world.revision();
            if dice(2) == 0 {
                world.bench.rest().await;
            }
            if made > before.revision {
                let meant = Terms {
                    allow_mass_delete: true,
                    ..PLAIN
                };
                world.undo(made, meant).await.unwrap();
                assert_eq!(world.bench.declared(), declared(&before), "seed {seed}, step {step}");
                if dice(2) == 0 {
                    world.undo(world.revision(), meant).await.unwrap();
                }
            }
        }
        world.bench.rest().await;
        let tree = world.bench.snapshot().await.tree;
        assert_eq!(
            tree.documents.len(),
            world
                .bench
                .store()
                .view()
                .rows
                .values()
                .filter(|row| row.document.is_some())
                .count()
        );
    }
}
