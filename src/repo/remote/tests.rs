//! Remotes in folders and behind the real `http-backend`, spoken to by the real program in a process of its own; and
//! programs that hang, die and lie.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::repo::tests::{World, declared, export, git, git_output, ids, server, text, until};
use crate::repo::{Landing, Prepared, RepoError, Snapshot, Source};
use crate::settings::{McpdSettings, Surroundings};

use super::{Limits, Remote, RemoteParts};

/// What mcpd would start: this very test binary, of which only `program_entry` runs. Files beside it have it
/// hang, lie, or lose its answer.
const PROGRAM: &str = r#"#!/bin/sh
cd 'FOLDER'
[ -e hang ] && exec sleep 3600
[ -e elsewhere ] && read -r order && case $order in *Push*) echo '{"Done":"Elsewhere"}' && exit 0 ;; esac
[ -e elsewhere ] && echo "{\"Done\":{\"At\":\"$(cat elsewhere)\"}}" && exit 0
[ -e lie ] && echo '{"Done":"nonsense"}' && exit 0
exec 3>&1 1>/dev/null
[ -e lose ] && exec 4>&3 3>/dev/null
MCPCTL_TEST_REMOTE=1 exec 'PROGRAM' --exact repo::remote::tests::program_entry --nocapture
"#;

#[test]
fn program_entry() {
    if std::env::var_os("MCPCTL_TEST_REMOTE").is_none() {
        return;
    }
    let mut output = std::fs::File::options().write(true).open("/dev/fd/3").unwrap();
    let code = super::run_program(std::io::stdin(), &mut output);
    std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
}

/// A remote in a folder, a clone of it, and the data folder of an mcpd.
pub struct There {
    folder: TempDir,
    url: String,
    options: Vec<&'static str>,
}

impl There {
    /// A bare repository in a folder, empty, and a clone.
    pub async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        git(folder.path(), &["init", "-q", "--bare", "-b", "main", "remote.git"]).await;
        git(folder.path(), &["clone", "-q", "remote.git", "clone"]).await;
        git(&folder.path().join("clone"), &["checkout", "-q", "-B", "main"]).await;
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let url = folder.path().join("remote.git").to_str().unwrap().to_owned();
        Self {
            folder,
            url,
            options: vec![],
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub async fn open(&self) -> Remote {
        self.open_within(Limits::default()).await
    }

    async fn open_within(&self, limits: Limits) -> Remote {
        let script = self.path("program");
        let program = std::env::current_exe().unwrap();
        let text = PROGRAM.replace("FOLDER", self.folder.path().to_str().unwrap());
        std::fs::write(&script, text.replace("PROGRAM", program.to_str().unwrap())).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let around = Surroundings {
            environment: vec![("HOME".into(), "/nowhere".into())],
            folder: self.folder.path().to_owned(),
            is_root: false,
            user: 1,
        };
        let words = ["mcpd", "--repo", &self.url, "--sync-interval", "1h"];
        let words = words.iter().chain(&self.options).map(OsString::from);
        let parts = RemoteParts {
            settings: McpdSettings::resolve(words, &around).unwrap().remote.unwrap(),
            program: vec![script.into()],
            environment: vec![],
            ca_bundle: None,
            limits,
        };
        Remote::open(&self.path("data"), "writer-1", parts).await.unwrap()
    }

    /// Writes a file in the clone, commits and pushes it by git itself.
    pub async fn pushed(&self, path: &str, text: &str) -> String {
        let clone = self.path("clone");
        std::fs::create_dir_all(clone.join(path).parent().unwrap()).unwrap();
        std::fs::write(clone.join(path), text).unwrap();
        git(&clone, &["add", "-A"]).await;
        git(&clone, &["commit", "-qm", &format!("write {path}")]).await;
        git(&clone, &["push", "-q", "origin", "main"]).await;
        git(&clone, &["rev-parse", "HEAD"]).await
    }

    /// The subjects of the remote's commits, the newest first.
    pub async fn subjects(&self) -> Vec<String> {
        let log = git(&self.path("remote.git"), &["log", "--format=%s", "main"]).await;
        log.lines().map(str::to_owned).collect()
    }

    /// A person deletes a file.
    pub async fn deleted(&self, path: &str) {
        let clone = self.path("clone");
        git(&clone, &["pull", "-q", "origin", "main"]).await;
        git(&clone, &["rm", "-q", path]).await;
        git(&clone, &["commit", "-qm", "a deletion"]).await;
        git(&clone, &["push", "-q", "origin", "main"]).await;
    }

    /// Sets or takes back a fault of the program, see [`PROGRAM`].
    pub fn set(&self, fault: &str, on: bool) {
        let file = self.path(fault);
        let done = if on {
            std::fs::write(file, "")
        } else {
            std::fs::remove_file(file)
        };
        done.unwrap();
    }

    /// The remote is away, or back.
    pub fn move_away(&self, away: bool) {
        let (here, there) = (self.path("remote.git"), self.path("away.git"));
        let done = if away {
            std::fs::rename(here, there)
        } else {
            std::fs::rename(there, here)
        };
        done.unwrap();
    }

    pub async fn without_branch(&self) {
        git(&self.path("remote.git"), &["update-ref", "-d", "refs/heads/main"]).await;
    }

    pub async fn until_head_is_by(&self, committer: &str) {
        until("the push arrived", async || {
            git(&self.path("remote.git"), &["log", "-1", "--format=%cn", "main"]).await == committer
        })
        .await;
    }

    async fn head(&self) -> Option<String> {
        let output = git_output(
            &self.path("remote.git"),
            &["rev-parse", "-q", "--verify", "refs/heads/main"],
        )
        .await;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    }
}

fn tended(remote: &Remote) -> DropGuard {
    let stop = CancellationToken::new();
    tokio::spawn(remote.clone().tend(stop.clone()));
    stop.drop_guard()
}

async fn looked(remote: &Remote) -> Snapshot {
    remote.look(Duration::from_mins(1)).await;
    assert_eq!(remote.standing().trouble, None);
    remote.snapshot().await.unwrap()
}

async fn prepared(remote: &Remote, seen: &Snapshot, revision: u64, name: &str) -> Prepared {
    let export = export(revision, &[(&format!("server/{name}"), Some(server(name, "exported")))]);
    let source = Source::Remote(remote.clone());
    source.prepare(seen, &export, &ids(&export)).await.unwrap()
}

/// Hands a push over and waits until it is known what became of it.
async fn landed(remote: &Remote, prepared: &Prepared) -> bool {
    let source = Source::Remote(remote.clone());
    assert_eq!(source.land(prepared).await.unwrap(), Landing::Underway);
    known(remote, &prepared.attempt).await
}

async fn known(remote: &Remote, attempt: &str) -> bool {
    let mut known = None;
    until("it is known whether the push landed", async || {
        known = remote.landed(attempt).await.unwrap();
        known.is_some()
    })
    .await;
    known.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_read_and_what_is_exported_arrives() {
    let there = There::new().await;
    let remote = there.open().await;
    let unknown = remote.snapshot().await;
    assert!(
        matches!(unknown, Err(RepoError::NotSeen(_))),
        "an empty mirror is no empty remote"
    );
    assert_eq!(remote.landed(&"1".repeat(40)).await.unwrap(), None);
    let _task = tended(&remote);
    let seen = looked(&remote).await;
    assert_eq!((&seen.head, there.head().await), (&None, None), "no branch yet");

    let first = prepared(&remote, &seen, 1, "a").await;
    assert!(landed(&remote, &first).await);
    assert_eq!(there.head().await.as_ref(), Some(&first.commit));
    git(&there.path("clone"), &["pull", "-q", "origin", "main"]).await;
    let pushed = there.pushed("servers/b.yaml", &text("b", "theirs")).await;
    let seen = looked(&remote).await;
    assert_eq!(seen.head, Some(pushed));
    assert_eq!(declared(&seen), ["server/a=exported", "server/b=theirs"]);
    // Several commits travel as one push.
    let second = prepared(&remote, &seen, 2, "c").await;
    let on_top = remote.bare().snapshot_of(&second.commit, None).await.unwrap();
    let third = prepared(&remote, &on_top, 3, "d").await.after(second);
    assert!(landed(&remote, &third).await);
    assert_eq!(declared(&remote.snapshot().await.unwrap()).len(), 4);
}

/// A push moves the branch from the very commit that it was made for, forward of it or behind it.
async fn moves_only_what_it_saw(there: &There, name: &str, moved: impl AsyncFn(&str)) {
    let remote = there.open().await;
    let _task = tended(&remote);
    let seen = looked(&remote).await;
    let late = prepared(&remote, &seen, 1, name).await;
    moved(&seen.head.clone().unwrap()).await;
    assert!(!landed(&remote, &late).await);
    assert_eq!(remote.standing().trouble, None, "that is no trouble");
    let again = prepared(&remote, &remote.snapshot().await.unwrap(), 1, name).await;
    assert!(landed(&remote, &again).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_moved_is_planned_on_anew() {
    let there = There::new().await;
    let first = there.pushed("servers/a.yaml", &text("a", "one")).await;
    moves_only_what_it_saw(&there, "late", async |_| {
        drop(there.pushed("servers/b.yaml", &text("b", "one")).await);
    })
    .await;
    let files = git(&there.path("remote.git"), &["ls-tree", "-r", "--name-only", "main"]).await;
    assert_eq!(files, "servers/a.yaml\nservers/b.yaml\nservers/late.yaml");
    // Somebody takes commits back: a push on top of them would bring them back in silence.
    let rewound =
        async |_: &str| drop(git(&there.path("remote.git"), &["update-ref", "refs/heads/main", &first]).await);
    moves_only_what_it_saw(&there, "later", rewound).await;
    let files = git(&there.path("remote.git"), &["ls-tree", "-r", "--name-only", "main"]).await;
    assert_eq!(files, "servers/a.yaml\nservers/later.yaml");
}

/// The same behind HTTP, where the server compares and sets.
#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_moved_behind_http() {
    let world = World::new().await;
    let first = world.commit("servers/a.yaml", &text("a", "one")).await;
    assert!(world.push(&["origin", "main"]).await.0);
    let mut there = There::new().await;
    there.url.clone_from(&world.url);
    moves_only_what_it_saw(&there, "late", async |_| {
        world.commit("servers/b.yaml", &text("b", "one")).await;
        assert!(world.push(&["origin", "main"]).await.0);
    })
    .await;
    let files = || git(world.hosted.path(), &["ls-tree", "-r", "--name-only", "main"]);
    assert_eq!(files().await, "servers/a.yaml\nservers/b.yaml\nservers/late.yaml");
    moves_only_what_it_saw(&there, "later", async |_| {
        git(world.hosted.path(), &["update-ref", "refs/heads/main", &first]).await;
    })
    .await;
    assert_eq!(files().await, "servers/a.yaml\nservers/later.yaml");
    // What the server refuses is told in its words, and may be tried again.
    world.judge.refuse.lock().unwrap().push("not today".to_owned());
    let remote = there.open().await;
    let _task = tended(&remote);
    let seen = looked(&remote).await;
    let export = prepared(&remote, &seen, 5, "refused").await;
    assert!(!landed(&remote, &export).await);
    let standing = remote.standing();
    assert!(standing.reachable && standing.trouble.unwrap().contains("refuses what mcpd pushes"));
    world.judge.refuse.lock().unwrap().clear();
    until("a push may be tried again", async || remote.standing().takes_pushes).await;
    assert!(landed(&remote, &export).await);
    assert_eq!(remote.standing().trouble, None);
}

/// An answer that is lost says nothing: only a look that began afterwards tells whether the push landed, and until then
/// nobody says that it did not.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_asked_for_again() {
    let there = There::new().await;
    there.pushed("servers/a.yaml", &text("a", "one")).await;
    let remote = there.open().await;
    let task = tended(&remote);
    let seen = looked(&remote).await;
    std::fs::write(there.path("lose"), "").unwrap();
    let export = prepared(&remote, &seen, 1, "b").await;
    let source = Source::Remote(remote.clone());
    source.land(&export).await.unwrap();
    until("the push is over", async || remote.standing().trouble.is_some()).await;
    assert_eq!(there.head().await.as_ref(), Some(&export.commit), "it landed");
    assert_eq!(
        remote.landed(&export.attempt).await.unwrap(),
        None,
        "which nobody knows yet"
    );
    assert_eq!(remote.snapshot().await.unwrap().head, seen.head);
    // mcpd is killed, and the next one does not trust its mirror either.
    drop(task);
    let remote = there.open().await;
    assert_eq!(remote.landed(&export.attempt).await.unwrap(), None);
    std::fs::remove_file(there.path("lose")).unwrap();
    let _task = tended(&remote);
    assert!(known(&remote, &export.attempt).await);
    assert_eq!(remote.snapshot().await.unwrap().head, Some(export.commit));
}

/// A server that shows one thing and compares with another is not asked again and again without a pause.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_contradicts_itself_is_left_alone_for_a_while() {
    let there = There::new().await;
    let head = there.pushed("servers/a.yaml", &text("a", "one")).await;
    let remote = there.open().await;
    let _task = tended(&remote);
    let seen = looked(&remote).await;
    std::fs::write(there.path("elsewhere"), head).unwrap();
    assert!(!landed(&remote, &prepared(&remote, &seen, 1, "b").await).await);
    let standing = remote.standing();
    assert!(standing.reachable && !standing.takes_pushes);
    assert!(standing.trouble.unwrap().contains("has moved"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_or_lies_is_given_up() {
    let there = There::new().await;
    std::fs::write(there.path("hang"), "").unwrap();
    let limits = Limits {
        silence: Duration::from_millis(300),
        whole: Duration::from_mins(1),
    };
    let remote = there.open_within(limits).await;
    let _task = tended(&remote);
    let trouble_is = async |word: &str| {
        until(word, async || {
            let _ = remote.ask();
            remote.standing().trouble.is_some_and(|it| it.contains(word))
        })
        .await;
    };
    trouble_is("said nothing").await;
    assert!(matches!(remote.snapshot().await, Err(RepoError::NotSeen(_))));
    std::fs::rename(there.path("hang"), there.path("lie")).unwrap();
    trouble_is("can't be understood").await;
    std::fs::remove_file(there.path("program")).unwrap();
    trouble_is("can't be started").await;
}

/// The process ends when its mcpd does, however that was, whatever it waits for: a push must not land later.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_ends_with_its_mcpd() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut there = There::new().await;
    there.url = format!("http://{}/r.git", silent.local_addr().unwrap());
    let remote = there.open().await;
    let order = remote.order(super::Work::Fetch).await.unwrap();
    let mut program = tokio::process::Command::new(there.path("program"))
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = program.stdin.take().unwrap();
    let text = serde_json::to_string(&order).unwrap() + "\n";
    tokio::io::AsyncWriteExt::write_all(&mut input, text.as_bytes())
        .await
        .unwrap();
    let connection = silent.accept().await.unwrap();
    assert_eq!(program.try_wait().unwrap(), None, "it waits for the server");
    // What the kernel does for a process that is killed.
    drop(input);
    let ended = tokio::time::timeout(Duration::from_mins(1), program.wait()).await;
    let _ = program.start_kill();
    assert!(ended.is_ok(), "the process outlives its mcpd");
    drop(connection);
}

/// A mirror of another remote, or one that can't be read, says nothing about this one.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_of_one_remote_and_whole() {
    let mut there = There::new().await;
    let head = there.pushed("servers/a.yaml", &text("a", "one")).await;
    let remote = there.open().await;
    let task = tended(&remote);
    looked(&remote).await;
    drop(task);
    assert_eq!(there.open().await.snapshot().await.unwrap().head, Some(head.clone()));
    for options in [&["--branch", "other"][..], &["--repo-path", "servers"], &[]] {
        there.options = options.to_vec();
        assert!(there.open().await.snapshot().await.is_err(), "{options:?}");
    }
    let remote = there.open().await;
    let task = tended(&remote);
    looked(&remote).await;
    drop(task);
    // A power cut took the objects and left the branch and its lock.
    let mirror = there.path("data/remote.git");
    std::fs::remove_dir_all(mirror.join("objects")).unwrap();
    std::fs::create_dir_all(mirror.join("objects/pack")).unwrap();
    std::fs::write(mirror.join("refs/heads/main.lock"), "").unwrap();
    let remote = there.open().await;
    assert!(remote.snapshot().await.is_err());
    let _task = tended(&remote);
    assert_eq!(looked(&remote).await.head, Some(head));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_within_it_is_all_that_counts() {
    let mut there = There::new().await;
    there.options = vec!["--repo-path", "deploy/mcp"];
    there.pushed("servers/outside.yaml", &text("outside", "x")).await;
    there.pushed("elsewhere.txt", "words").await;
    let remote = there.open().await;
    let _task = tended(&remote);
    let seen = looked(&remote).await;
    assert!(
        seen.head.is_some() && declared(&seen).is_empty(),
        "the folder is not there yet"
    );
    assert!(landed(&remote, &prepared(&remote, &seen, 1, "a").await).await);
    let files = git(&there.path("remote.git"), &["ls-tree", "-r", "--name-only", "main"]).await;
    assert_eq!(files, "deploy/mcp/servers/a.yaml\nelsewhere.txt\nservers/outside.yaml");
    git(&there.path("clone"), &["pull", "-q", "origin", "main"]).await;
    // A link to a file outside of it is no declaration and no fault.
    std::os::unix::fs::symlink("../../elsewhere.txt", there.path("clone/deploy/mcp/README")).unwrap();
    there
        .pushed("deploy/mcp/bad.yaml", "kind: server\nname: b\nreplica: 2\n")
        .await;
    let seen = looked(&remote).await;
    assert_eq!(declared(&seen), ["server/a=exported"]);
    let places: Vec<String> = seen
        .tree
        .diagnostics
        .iter()
        .map(crate::kit::Diagnostic::place)
        .collect();
    assert!(
        places.iter().all(|place| place.starts_with("deploy/mcp/bad.yaml:")),
        "{places:?}"
    );
}

/// A repository that somebody works in is not written to under their hands.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_checked_out_is_not_written_to() {
    let mut there = There::new().await;
    there.pushed("servers/a.yaml", &text("a", "one")).await;
    there.url = there.path("clone").to_str().unwrap().to_owned();
    let remote = there.open().await;
    let _task = tended(&remote);
    let seen = looked(&remote).await;
    assert_eq!(declared(&seen), ["server/a=one"]);
    assert!(!landed(&remote, &prepared(&remote, &seen, 1, "b").await).await);
    let why = remote.standing().trouble.unwrap();
    assert!(why.contains("checked out") && why.contains("MCPD_WATCH"), "{why}");
    assert!(!Path::new(&there.url).join("servers/b.yaml").exists());
}
