//! Who may push what: a whole daemon, its HTTP door and real git, with principals who hold less than everything.
#![expect(clippy::disallowed_methods, reason = "people with git are played here")]

use std::path::PathBuf;
use std::process::Output;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::access::{Binding, Principal, Role, Tokens};
use crate::kit::Redacted;
use crate::settings::{McpdSettings, Surroundings};

use super::daemon::Daemon;

/// A daemon that hosts a repository and knows, beside the admin, some who may do less. The token of each is its name.
struct Host {
    place: tempfile::TempDir,
    address: String,
    engine: crate::engine::Engine,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

/// A hook that is this very test binary, of which only the entry of the hooks runs.
const HOOK: &str = "#!/bin/sh\nexec 3>&1 1>/dev/null\n\
                    MCPCTL_TEST_HOOK='NAME' exec 'PROGRAM' --exact repo::tests::hook_entry --nocapture\n";

impl Host {
    async fn with(others: &[(&str, &[Binding])]) -> Self {
        let place = tempfile::tempdir().unwrap();
        let around = Surroundings {
            user: rustix::process::geteuid().as_raw(),
            environment: vec![("PATH".into(), std::env::var_os("PATH").unwrap())],
            folder: place.path().to_owned(),
            is_root: false,
        };
        let data = place.path().join("data");
        let words = ["mcpd", "--runtime", "process", "--listen", "127.0.0.1:0", "--data-dir"];
        let words = words.map(Into::into).into_iter().chain([data.clone().into_os_string()]);
        let settings = McpdSettings::resolve(words, &around).unwrap();
        let stop = CancellationToken::new();
        let daemon = Daemon::open(&settings, &around, true, stop.clone()).await.unwrap();
        let program = std::env::current_exe().unwrap();
        for name in ["pre-receive", "post-receive"] {
            let text = HOOK.replace("NAME", name).replace("PROGRAM", program.to_str().unwrap());
            std::fs::write(data.join("config.git/hooks").join(name), text).unwrap();
        }
        let admin = Tokens::admin(Redacted::new("admin".to_owned()));
        let others = others.iter().map(|(name, bindings)| {
            let name = (*name).to_owned();
            let bindings = (*bindings).into();
            (Redacted::new(name.clone()), Principal::Bound { name, bindings })
        });
        let daemon = daemon.knowing(Tokens::of([admin].into_iter().chain(others)));
        let (address, engine) = (daemon.address().to_string(), daemon.engine().clone());
        let serving = tokio::spawn(async move { daemon.serve().await.unwrap() });
        Self {
            place,
            address,
            engine,
            stop,
            serving,
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.serving.await.unwrap();
    }

    fn clone(&self) -> PathBuf {
        self.place.path().join("clone")
    }

    async fn git(&self, arguments: &[&str]) -> Output {
        crate::repo::tests::git_output(&self.clone(), arguments).await
    }

    fn url(&self, who: &str) -> String {
        format!("http://x:{who}@{}/git/config.git", self.address)
    }

    /// A clone with what the admin has pushed so far.
    async fn begin(&self, files: &[(&str, &str)]) {
        std::fs::create_dir(self.clone()).unwrap();
        self.git(&["init", "-q", "-b", "main"]).await;
        let (accepted, said) = self.push("admin", files, &[]).await;
        assert!(accepted, "{said}");
    }

    /// Writes files (or, where the text is empty, removes them), commits and pushes; a push that is refused is taken back.
    async fn push(&self, who: &str, files: &[(&str, &str)], options: &[&str]) -> (bool, String) {
        self.push_to(who, "main", files, options).await
    }

    async fn push_to(&self, who: &str, branch: &str, files: &[(&str, &str)], options: &[&str]) -> (bool, String) {
        for (path, text) in files {
            let file = self.clone().join(path);
            if text.is_empty() {
                std::fs::remove_file(&file).unwrap();
            } else {
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(&file, text).unwrap();
            }
        }
        self.git(&["add", "-A", "-f"]).await;
        // The author is anybody's word.
        let commit = self
            .git(&["commit", "-qm", "words", "--author", "admin <admin@example.com>"])
            .await;
        assert!(commit.status.success(), "{}", String::from_utf8_lossy(&commit.stderr));
        let (url, target) = (self.url(who), format!("HEAD:refs/heads/{branch}"));
        let mut arguments = vec!["push"];
        arguments.extend(options);
        arguments.extend([&*url, &*target]);
        let output = self.git(&arguments).await;
        let accepted = output.status.success();
        if !accepted || branch != "main" {
            self.git(&["reset", "-q", "--hard", "HEAD~1"]).await;
        }
        (accepted, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn declared(&self) -> Vec<String> {
        let view = self.engine.store().view();
        let declared = view.rows.iter().filter(|(_, row)| row.document.is_some());
        declared.map(|(id, _)| id.to_string()).collect()
    }
}

fn server(name: &str, description: &str) -> String {
    format!("kind: server\nname: {name}\ndescription: {description}\ncommand: [x]\nreplicas: 0\n")
}

fn naming(name: &str, secret: &str) -> String {
    let env = format!("env:\n- name: K\n  valueFrom:\n    secretRef:\n      name: {secret}\n      key: k\n");
    format!("kind: server\nname: {name}\ncommand: [x]\nreplicas: 0\n{env}")
}

fn secret(name: &str) -> String {
    format!("kind: secret\nname: {name}\ndata:\n  k:\n    generate: {{}}\n")
}

/// Pitfall "a policy skipped on a newly added path": a push is decided like any other write. One denial refuses the whole,
/// with its place and the right that is missing; what is allowed goes through; the author's name means nothing.
#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_a_push_needs_its_right() {
    use Role::{Create, Delete, Edit, Run, View};
    let ann: &[Binding] = &[
        Binding::named(Edit, "servers", "a-*"),
        Binding::named(Create, "servers", "new-*"),
        Binding::named(Delete, "servers", "old-*"),
        Binding::named(Run, "secrets", "open"),
        Binding::on(View, "*"),
    ];
    let host = Host::with(&[("ann", ann), ("reader", &[Binding::on(View, "*")])]).await;
    let (a, b, old) = (server("a-one", "one"), server("b", "one"), server("old-one", "one"));
    host.begin(&[
        ("a.yaml", &a),
        ("b.yaml", &format!("# about b\n{b}")),
        ("old.yaml", &old),
        ("open.yaml", &secret("open")),
        ("shut.yaml", &secret("shut")),
        ("used.yaml", &naming("a-used", "shut")),
    ])
    .await;
    for (files, refused) in [
        (&[("a.yaml", &*server("a-one", "two"))][..], None),
        (&[("n.yaml", &*server("a-two", "one"))], None),
        (&[("n.yaml", "")], None),
        (&[("new.yaml", &*server("new-one", "one"))], None),
        (&[("old.yaml", "")], None),
        (&[("README.md", "words")], None),
        // Moved into another file it is the same resource.
        (&[("b.yaml", ""), ("moved.yaml", &*format!("# about b\n{b}"))], None),
        (&[("n.yaml", &*naming("a-three", "open"))], None),
        (
            &[("new.yaml", &*server("new-one", "two"))],
            Some("new.yaml:1:1: ann may not change server/new-one: this needs `edit servers/new-one`"),
        ),
        (
            &[("new.yaml", "")],
            Some("new.yaml:1:1: ann may not delete server/new-one: this needs `delete servers/new-one`"),
        ),
        (
            &[("moved.yaml", &*server("b", "two"))],
            Some("moved.yaml:1:1: ann may not change server/b: this needs `edit servers/b`"),
        ),
        (
            // A deletion has the place where it stood.
            &[("moved.yaml", "")],
            Some("moved.yaml:2:1: ann may not delete server/b: this needs `delete servers/b`"),
        ),
        (
            &[("old.yaml", &*old)],
            Some("old.yaml:1:1: ann may not create server/old-one: this needs `create servers/old-one`"),
        ),
        (
            // What is allowed beside it goes with what is not.
            &[("a.yaml", &*server("a-one", "three")), ("c.yaml", &*server("c", "one"))],
            Some("c.yaml:1:1: ann may not create server/c: this needs `create servers/c`"),
        ),
        (
            &[("p.yaml", "kind: project\nname: p\nservers: [a-one]\n")],
            Some("p.yaml:1:1: ann may not create project/p: this needs `create projects/p`"),
        ),
        (
            &[("n.yaml", &*naming("a-three", "shut"))],
            Some("n.yaml:1:1: ann may not name secret/shut in server/a-three: this needs `run secrets/shut`"),
        ),
        (
            // Whoever says what is run with a secret can read it, also where it was named before.
            &[("used.yaml", &*naming("a-used", "shut").replace("[x]", "[y]"))],
            Some("used.yaml:1:1: ann may not name secret/shut in server/a-used: this needs `run secrets/shut`"),
        ),
        (
            &[(".mcpctl/recipients", "# nobody else\n")],
            Some(".mcpctl/recipients: ann may not change this file: this needs `edit *`"),
        ),
        (
            &[(".mcpctl/other", "words")],
            Some(".mcpctl/other: ann may not change this file: this needs `edit *`"),
        ),
    ] {
        let before = (host.declared(), host.engine.store().view().revision);
        let (accepted, said) = host.push("ann", files, &["-o", "no-wait"]).await;
        assert_eq!(accepted, refused.is_none(), "{files:?}: {said}");
        if let Some(refused) = refused {
            assert!(said.contains(&format!("remote: error: {refused}")), "{files:?}: {said}");
            assert!(
                said.contains("remote: refused: 1 error in 1 file; nothing was changed"),
                "{said}"
            );
            assert_eq!((host.declared(), host.engine.store().view().revision), before);
        }
    }
    // Nobody who changes nothing opens a push at all; who may not read the whole does not fetch.
    let (accepted, said) = host.push("reader", &[("a.yaml", &server("a-one", "four"))], &[]).await;
    assert!(!accepted && said.contains("403"), "{said}");
    let revisions = host.engine.store().view().revision;
    let last = host.engine.store().mutations(1).await.unwrap();
    assert_eq!((last[0].revision, &*last[0].actor.name), (revisions, "ann"));
    host.end().await;
}

/// Another branch may propose what main refuses; nothing of it is applied, and it does not tell what things were.
#[tokio::test(flavor = "multi_thread")]
async fn a_branch_may_propose_and_tells_nothing() {
    let ann: &[Binding] = &[Binding::named(Role::Edit, "servers", "a")];
    let host = Host::with(&[("ann", ann)]).await;
    host.begin(&[("a.yaml", &server("a", "one")), ("b.yaml", &server("b", "of-old"))])
        .await;
    let revision = host.engine.store().view().revision;
    let change = server("b", "of-new");
    let (accepted, said) = host.push_to("ann", "idea", &[("b.yaml", &change)], &[]).await;
    assert!(accepted && said.contains("ann may not change server/b"), "{said}");
    assert!(
        said.contains("remote: branch idea: kept, not planned, nothing is applied: main would refuse it"),
        "{said}"
    );
    assert!(!said.contains("of-old") && !said.contains("remote: plan"), "{said}");
    let (accepted, said) = host
        .push_to("ann", "mine", &[("a.yaml", &server("a", "two"))], &[])
        .await;
    assert!(accepted && said.contains("~ server/a  description"), "{said}");
    assert!(said.contains("branch mine: planned only, nothing is applied"), "{said}");
    host.engine.sync(crate::engine::Words::default()).await.unwrap();
    assert_eq!(host.engine.store().view().revision, revision);
    // A history that begins anew is everybody's matter.
    host.git(&["checkout", "-q", "--orphan", "anew"]).await;
    let (accepted, said) = host
        .push(
            "ann",
            &[("a.yaml", &server("a", "anew"))],
            &["--force", "-o", "new-epoch"],
        )
        .await;
    assert!(
        !accepted && said.contains("error: a new epoch: ann may not: this needs `run sync`"),
        "{said}"
    );
    host.end().await;
}

/// What loses against the store is a change all the same: it may come to be in force later.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_loses_needs_its_right_too() {
    let ann: &[Binding] = &[Binding::named(Role::Edit, "servers", "a")];
    let host = Host::with(&[("ann", ann), ("kim", &[Binding::on(Role::Edit, "servers")])]).await;
    host.begin(&[("a.yaml", &server("a", "one")), ("b.yaml", &server("b", "one"))])
        .await;
    // The store changes what a push changes too: the edit waits for its commit, because a commit by another mcpd stops it.
    host.engine.store().set_meta("other-writer", "x in y").await.unwrap();
    let client = reqwest::Client::new();
    let path = format!("http://{}/api/v1/servers/b", host.address);
    let description = json!({"description": "of the store"});
    let answer = client
        .patch(&path)
        .bearer_auth("admin")
        .json(&description)
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success());
    let push = [("b.yaml", &*server("b", "of the push"))];
    let (accepted, said) = host.push("ann", &push, &[]).await;
    assert!(!accepted && said.contains("ann may not change server/b"), "{said}");
    // Who may change some things may push them, and not read the rest.
    let read = host.git(&["ls-remote", &host.url("kim")]).await;
    assert!(String::from_utf8_lossy(&read.stderr).contains("403"));
    let (accepted, said) = host.push("kim", &push, &[]).await;
    assert!(
        accepted && said.contains("0 to change") && said.contains("1 conflict"),
        "{said}"
    );
    // Whoever turns it round decides what is in force, as who pushed it did.
    let accept = format!("http://{}/api/v1/conflicts/server/b/accept", host.address);
    let of_repo = json!({"from": "repo"});
    for (who, code) in [("ann", 403), ("kim", 200)] {
        let answer = client
            .post(&accept)
            .bearer_auth(who)
            .json(&of_repo)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), code, "{who}");
    }
    host.end().await;
}

/// The same rights at the other door: what is created, what is changed, and secrets that are named.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_decides_alike() {
    use Role::{Create, Edit, Run};
    let ann: &[Binding] = &[
        Binding::named(Edit, "servers", "a-*"),
        Binding::named(Create, "servers", "new-*"),
        Binding::named(Run, "secrets", "open"),
    ];
    let host = Host::with(&[("ann", ann)]).await;
    host.begin(&[
        ("b.yaml", &server("b", "one")),
        ("open.yaml", &secret("open")),
        ("shut.yaml", &secret("shut")),
    ])
    .await;
    let client = reqwest::Client::new();
    for (text, refused) in [
        (server("a-one", "one"), None),
        (server("a-one", "two"), None),
        (server("new-one", "one"), None),
        (server("new-one", "two"), Some("edit servers/new-one")),
        (server("b", "two"), Some("edit servers/b")),
        (server("c", "one"), Some("create servers/c")),
        (naming("a-two", "open"), None),
        (naming("a-two", "shut"), Some("run secrets/shut")),
        (naming("new-two", "open"), None),
    ] {
        let apply = format!("http://{}/api/v1/apply", host.address);
        let answer = client
            .post(apply)
            .bearer_auth("ann")
            .body(text.clone())
            .send()
            .await
            .unwrap();
        let (code, body) = (answer.status().as_u16(), answer.text().await.unwrap());
        match refused {
            None => assert_eq!(code, 200, "{text}{body}"),
            Some(right) => assert!(
                code == 403 && body.contains(&format!("`{right}`")),
                "{text}{code} {body}"
            ),
        }
    }
    let body = |secret: &str| {
        let env = json!([{"name": "K", "valueFrom": {"secretRef": {"name": secret, "key": "k"}}}]);
        json!({"kind": "server", "name": "a-one", "command": ["x"], "replicas": 0, "env": env})
    };
    let one = format!("http://{}/api/v1/servers/a-one", host.address);
    for (secret, code) in [("shut", 403), ("open", 200)] {
        let put = client
            .put(&one)
            .bearer_auth("ann")
            .json(&body(secret))
            .send()
            .await
            .unwrap();
        assert_eq!(put.status().as_u16(), code, "PUT {secret}");
        let patch = json!({"env": body(secret)["env"].clone()});
        let patch = client.patch(&one).bearer_auth("ann").json(&patch).send().await.unwrap();
        assert_eq!(patch.status().as_u16(), code, "PATCH {secret}");
    }
    // What an undo brings back names a secret again.
    let apply = format!("http://{}/api/v1/apply", host.address);
    for text in [naming("a-two", "shut"), server("a-two", "plain")] {
        let answer = client
            .post(&apply)
            .bearer_auth("admin")
            .body(text)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), 200);
    }
    let revision = host.engine.store().view().revision;
    let undo = format!("http://{}/api/v1/revisions/{revision}/undo", host.address);
    let answer = client.post(&undo).bearer_auth("ann").send().await.unwrap();
    let (code, body) = (answer.status().as_u16(), answer.text().await.unwrap());
    assert!(code == 403 && body.contains("`run secrets/shut`"), "{code} {body}");
    let answer = client.post(&undo).bearer_auth("admin").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200, "{}", answer.text().await.unwrap());
    host.end().await;
}
