//! Secrets through the engine: encrypted before they are stored, compared by their values, opened when an identity comes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::{Bench, actor, id};
use crate::engine::{EditRequest, EngineError, Only, Wanted};
use crate::record::StoreView;
use crate::repo::Snapshot;
use crate::resource::{Assembly, Document, FileText, Opening, yaml};

pub(super) fn clear(name: &str, data: &serde_json::Value) -> Wanted {
    let document = Document::new(id(&format!("secret/{name}")), &json!({"data": data})).unwrap();
    Wanted {
        id: document.id.clone(),
        after: Some(Arc::new(document)),
        only: Only::Always,
        source: None,
    }
}

pub(super) fn server_with(name: &str, secret: &str, key: &str) -> Wanted {
    let spec = json!({"command": ["cat"], "env": [{"name": "TOKEN", "valueFrom": {"secretRef": {"name": secret, "key": key}}}]});
    let document = Document::new(id(&format!("server/{name}")), &spec).unwrap();
    Wanted {
        id: document.id.clone(),
        after: Some(Arc::new(document)),
        only: Only::Always,
        source: None,
    }
}

pub(super) async fn apply(bench: &Bench, wanted: Vec<Wanted>) -> Result<crate::engine::Edited, EngineError> {
    let request = EditRequest {
        actor: actor("ann", "api"),
        wanted,
        dry_run: false,
    };
    bench.edit_request(request).await
}

pub(super) fn row(view: &StoreView, name: &str) -> Arc<Document> {
    view.rows[&id(name)].document.clone().unwrap()
}

/// Everything that the store keeps on disk and shows: no value may be in it.
async fn everything(bench: &Bench, data: &Path) -> String {
    let store = bench.store();
    format!(
        "{:?} {:?} {:?} {:?} {}",
        store.view(),
        store.mutations(1000).await.unwrap(),
        store.recent_events(1000).await.unwrap(),
        store.recent_audit(1000).await.unwrap(),
        String::from_utf8_lossy(&std::fs::read(data.join("store.redb")).unwrap())
    )
}

/// P10: no secret leaves mcpd in the clear. What the API gets is encrypted before it is a row, a journal or a file.
#[tokio::test]
async fn a_secret_is_encrypted_before_anything_is_written() {
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bench = Bench::folder(folder.path(), data.path(), false).await;
    let edited = apply(
        &bench,
        vec![clear(
            "keys",
            &json!({"TOKEN": "hunter2-hunter2", "OTHER": "s3cr3t-value"}),
        )],
    )
    .await
    .unwrap();
    assert!(!format!("{:?}", edited.plan).contains("hunter2"), "{:?}", edited.plan);
    bench.rest().await;
    let view = bench.store().view();
    assert_eq!(row(&view, "secret/keys").opening(), Opening::Opened);
    let file = std::fs::read_to_string(folder.path().join("secrets/keys.yaml")).unwrap();
    assert!(
        file.contains("TOKEN: ENC[AES256_GCM,") && file.contains("sops:"),
        "{file}"
    );
    let all = everything(&bench, data.path()).await + &file;
    assert!(
        !all.contains("hunter2") && !all.contains("s3cr3t"),
        "a value is in the clear"
    );

    // The same values again change nothing, and what was encrypted stays byte for byte.
    let again = apply(
        &bench,
        vec![clear(
            "keys",
            &json!({"OTHER": "s3cr3t-value", "TOKEN": "hunter2-hunter2"}),
        )],
    )
    .await
    .unwrap();
    assert_eq!((again.plan.steps.len(), again.plan.unchanged), (0, 1));
    // One value changes: the other keeps its ciphertext, and the plan names the key and not the value.
    let changed = apply(
        &bench,
        vec![clear(
            "keys",
            &json!({"TOKEN": "hunter3-hunter3", "OTHER": "s3cr3t-value"}),
        )],
    )
    .await
    .unwrap();
    assert_eq!(
        changed.plan.steps[0].to_string(),
        "~ secret/keys  data.TOKEN \"***\" → \"*** (changed)\""
    );
    bench.rest().await;
    let after = std::fs::read_to_string(folder.path().join("secrets/keys.yaml")).unwrap();
    let line = |text: &str, key: &str| {
        text.lines()
            .find(|line| line.trim().starts_with(key))
            .unwrap()
            .to_owned()
    };
    assert_eq!(line(&file, "OTHER"), line(&after, "OTHER"));
    assert_ne!(line(&file, "TOKEN"), line(&after, "TOKEN"));
    // What get prints is what stands in the repository, and applying it changes nothing.
    let view = bench.store().view();
    let written = row(&view, "secret/keys").written().into_owned().with_text(&after);
    let wanted = Wanted {
        after: Some(Arc::new(written)),
        ..clear("keys", &json!({}))
    };
    assert_eq!(apply(&bench, vec![wanted]).await.unwrap().plan.unchanged, 1);
    assert!(bench.pass().await.plan.is_empty());
}

#[tokio::test]
async fn servers_get_values_or_say_which_is_missing() {
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bench = Bench::folder(folder.path(), data.path(), false).await;
    let values = json!({"TOKEN": "hunter2-hunter2", "HOST": {"fromEnv": "FROM_THE_HOST"}, "GONE": {"fromEnv": "NOT_SET"}, "MADE": {"generate": {"length": 20}}});
    apply(
        &bench,
        vec![
            clear("keys", &values),
            clear("plain", &json!({"MADE": {"generate": {"length": 24}}})),
            server_with("a", "keys", "TOKEN"),
            server_with("b", "keys", "HOST"),
            server_with("c", "keys", "GONE"),
            server_with("d", "keys", "NONE"),
            server_with("e", "plain", "MADE"),
        ],
    )
    .await
    .unwrap();
    bench.rest().await;
    let resolved = |bench: &Bench| -> BTreeMap<String, String> {
        let view = bench.store().view();
        let declared = bench.engine.0.resolved(&view.rows).into_iter();
        declared
            .map(|one| {
                let value = one.server.environment().next().map(|(_, value)| value.to_owned());
                (one.name.to_string(), value.or(one.missing).unwrap_or_default())
            })
            .collect()
    };
    let first = resolved(&bench);
    assert_eq!(first["a"], "hunter2-hunter2");
    assert_eq!(first["b"], "of-the-host");
    assert_eq!(first["c"], "keys: GONE: NOT_SET is not set in mcpd's environment");
    assert_eq!(first["d"], "keys has no key NONE");
    assert_eq!(first["e"].len(), 24);
    // Made once: kept encrypted, and the same on a wiped host with the same identity.
    let kept = bench.store().metas("generated:");
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(!format!("{kept:?}").contains(&first["e"]));
    assert!(
        bench
            .warnings()
            .iter()
            .any(|line| line == "2 secrets would be lost with this host: run mcpctl backup identity")
    );
    bench.engine.export_identity(&actor("ann", "api")).await.unwrap();
    assert!(bench.warnings().is_empty());
    apply(
        &bench,
        vec![
            Wanted {
                after: None,
                ..server_with("e", "plain", "MADE")
            },
            Wanted {
                after: None,
                ..clear("plain", &json!({}))
            },
        ],
    )
    .await
    .unwrap();
    bench.rest().await;
    assert_eq!(bench.store().metas("generated:").len(), 1, "what is gone is forgotten");
}

/// A wiped host: the same repository and the identity give the same state; without the identity a secret is sealed, kept
/// byte for byte, and opens when an identity comes, without a restart.
#[tokio::test]
async fn a_wiped_host_comes_back_and_a_sealed_secret_opens() {
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bench = Bench::folder(folder.path(), data.path(), false).await;
    apply(
        &bench,
        vec![
            clear(
                "keys",
                &json!({"TOKEN": "hunter2-hunter2", "MADE": {"generate": {"length": 20}}}),
            ),
            server_with("a", "keys", "TOKEN"),
        ],
    )
    .await
    .unwrap();
    bench.rest().await;
    let before = bench.engine.state_digest();
    let identity = bench.engine.export_identity(&actor("ann", "api")).await.unwrap();
    let file = folder.path().join("secrets/keys.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    drop(bench);

    // Another host with an identity of its own; the old one is to be found where nothing is yet.
    let other = tempfile::tempdir().unwrap();
    let given = other.path().join("given.txt");
    let bench = Bench::folder_with(folder.path(), other.path(), std::slice::from_ref(&given)).await;
    bench.rest().await;
    let view = bench.store().view();
    assert_eq!(row(&view, "secret/keys").opening(), Opening::Sealed);
    assert_eq!(bench.engine.sealed(), [id("secret/keys")]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "kept byte for byte");
    let missing = bench.engine.0.resolved(&view.rows)[0].missing.clone().unwrap();
    assert!(
        missing.starts_with("keys is sealed: no identity here opens it; it is for age1"),
        "{missing}"
    );
    // Values can't be merged into what can't be read; but it may be replaced whole.
    assert!(matches!(
        bench.engine.clear_spec(&row(&view, "secret/keys")),
        Err(EngineError::Closed(..))
    ));

    std::fs::write(&given, identity.reveal()).unwrap();
    assert!(bench.engine.0.parts.vault.reload());
    bench.rest().await;
    assert!(bench.engine.sealed().is_empty());
    assert_eq!(bench.engine.state_digest(), before, "the same state as before the wipe");
    // It is encrypted for this host now too, in one commit, and means the same.
    let rekeyed = std::fs::read_to_string(&file).unwrap();
    assert_ne!(rekeyed, text);
    assert!(rekeyed.contains(&bench.engine.recipients()[0]));
    let last = bench.store().mutations(1).await.unwrap();
    assert_eq!(last[0].message, "encrypt 1 secret for 1 recipient");
    bench.rest().await;
    assert_eq!(
        bench.store().mutations(1).await.unwrap()[0].revision,
        last[0].revision,
        "once"
    );
}

/// A secret that somebody changed by hand is held, and everything else goes on.
#[tokio::test]
async fn a_tampered_secret_is_held() {
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bench = Bench::folder(folder.path(), data.path(), false).await;
    apply(&bench, vec![clear("keys", &json!({"TOKEN": "hunter2-hunter2"}))])
        .await
        .unwrap();
    bench.rest().await;
    let file = folder.path().join("secrets/keys.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    // The values of one secret under the name of another.
    std::fs::write(
        folder.path().join("secrets/other.yaml"),
        text.replace("name: keys", "name: other"),
    )
    .unwrap();
    let agreed = bench.rest().await;
    let told: Vec<_> = agreed
        .snapshot
        .tree
        .diagnostics
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("secrets/other.yaml"), "{told:?}");
    assert!(!bench.store().view().rows.contains_key(&id("secret/other")));
    assert_eq!(row(&bench.store().view(), "secret/keys").opening(), Opening::Opened);
}

#[tokio::test]
async fn what_looks_like_a_credential_is_not_written_into_the_history() {
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bench = Bench::folder(folder.path(), data.path(), false).await;
    let token = ["ghp", "_16C7e42F292c6912E7710c838347Ae178B4a"].concat();
    let spec = json!({"command": ["cat"], "env": [{"name": "T", "value": token}]});
    let document = Document::new(id("server/a"), &spec).unwrap();
    let wanted = Wanted {
        id: document.id.clone(),
        after: Some(Arc::new(document)),
        only: Only::Always,
        source: None,
    };
    let refused = apply(&bench, vec![wanted]).await.unwrap_err();
    let told = refused.to_string();
    assert!(
        told.contains("a value of server/a looks like") && !told.contains(&token),
        "{told}"
    );
}

/// Cost follows the change, also where secrets are opened: what is brought along is what opening everything gives.
#[test]
fn secrets_of_a_tree_are_opened_as_it_changes() {
    let data = tempfile::tempdir().unwrap();
    let vault = super::vault(data.path(), &[]);
    let sealed = |name: &str, value: &str| {
        let wanted = clear(name, &json!({"TOKEN": value})).after.unwrap();
        let recipients = vault.recipients(None).0;
        let sealed = vault
            .seal(&wanted, None, &recipients, "2026-01-02T03:04:05Z".parse().unwrap())
            .unwrap();
        sealed.text.as_deref().unwrap().to_owned()
    };
    let read = |path: &str, text: &str| {
        let (path, bytes) = (path.to_owned(), Ok(text.as_bytes().to_vec()));
        Arc::new(yaml::read(&FileText { path, bytes }))
    };
    let (a, b) = (sealed("a", "hunter2-hunter2"), sealed("b", "s3cr3t-value"));
    let server = |n: usize| format!("kind: server\nname: x\ncommand: [cat, '{n}']\n");
    let steps = [
        ("a.yaml", Some(a.clone())),
        ("x.yaml", Some(server(1))),
        ("b.yaml", Some(b.clone())),
        ("x.yaml", Some(server(2))),
        // Somebody else's values under this name.
        ("b.yaml", Some(a.replace("name: a", "name: b"))),
        ("x.yaml", Some(server(3))),
        ("b.yaml", Some(b)),
        ("x.yaml", Some(server(4))),
        ("a.yaml", Some(sealed("a", "another-value"))),
        ("a.yaml", None),
        ("b.yaml", None),
        ("x.yaml", None),
    ];
    let (mut files, mut assembly) = (BTreeMap::new(), Assembly::default());
    let mut held = 0;
    for (number, (path, text)) in steps.into_iter().enumerate() {
        let new = text.map(|text| read(path, &text));
        let gone = match &new {
            Some(new) => files.insert(path, Arc::clone(new)),
            None => files.remove(path),
        };
        let all = || files.values().cloned().collect();
        let (next, ids) = assembly.updated(gone.as_slice(), new.as_slice(), all);
        assembly = next;
        let commit = |number: usize| format!("commit {number}");
        let whole = Snapshot::new(Some(commit(number)), Arc::clone(assembly.tree()));
        let mut followed = whole.clone();
        followed.since = number.checked_sub(1).map(commit).zip(ids.map(Arc::new));
        let opened = vault.open_tree(&followed);
        let again = super::vault(data.path(), &[]).open_tree(&whole);
        assert_eq!(opened, again, "step {number}");
        assert!(
            opened
                .documents
                .of_kind("secret")
                .all(|placed| placed.document.opening() == Opening::Opened)
        );
        held += opened.held.len();
    }
    assert_eq!(held, 2);
}
