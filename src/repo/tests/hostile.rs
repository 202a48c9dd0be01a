//! Clients and hooks that mean no good, or know no better: whatever they send is bounded, answered and forgotten.

use std::io::Write as _;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use super::{World, git, git_command, text, until};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

impl World {
    fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap().split('/').next().unwrap()
    }

    /// Sends a request as it is and gives the status line of the answer; nothing where there is none.
    async fn raw(&self, path: &str, kind: &str, headers: &str, body: &[u8]) -> String {
        let mut client = TcpStream::connect(self.address()).await.unwrap();
        let head = format!(
            "POST /git/config.git/{path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-{kind}-request\r\n\
             Connection: close\r\n{headers}\r\n",
            self.address()
        );
        client.write_all(head.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = client.split();
        let mut answer = vec![];
        // It may be refused before it has been sent to the end.
        let send = async {
            let _ = writer.write_all(body).await;
        };
        let receive = async {
            let _ = (&mut reader).take(4096).read_to_end(&mut answer).await;
        };
        tokio::join!(send, receive);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        answer.lines().next().unwrap_or_default().to_owned()
    }

    /// What git and its hooks still are at work for this repository.
    fn processes(&self) -> Vec<String> {
        let place = self.folder.path().canonicalize().unwrap();
        let place = place.to_str().unwrap();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let read = |entry: &std::fs::DirEntry, what: &str| std::fs::read(entry.path().join(what)).unwrap_or_default();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace('\0', " ");
        entries
            .filter(|entry| {
                let child = text(read(entry, "environ"));
                child.contains(&format!("GIT_PROJECT_ROOT={place}"))
            })
            .map(|entry| text(read(&entry, "cmdline")))
            .collect()
    }

    fn quarantines(&self) -> Vec<std::ffi::OsString> {
        let entries = std::fs::read_dir(self.hosted.path().join("objects")).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with("tmp_objdir"))
            .collect()
    }

    /// Nothing is left of pushes that ended: no process, no quarantine, nothing that is known of one.
    async fn is_clean(&self) {
        until("no process is left", async || self.processes().is_empty()).await;
        until("nothing is known of a push", async || {
            self.hosted.0.pushes.lock().unwrap().is_empty()
        })
        .await;
        until("no quarantine is left", async || self.quarantines().is_empty()).await;
        until("nothing is counted any more", async || {
            let inner = &self.hosted.0;
            (inner.processes.available_permits(), inner.watching.available_permits()) == (32, 128)
        })
        .await;
    }
}

/// Row "a push over 1 MiB (chunked, gzip)", turned hostile: a bomb, a wrong encoding, a wrong length, a chunk cut short.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_bodies_get_a_status_and_leave_nothing() {
    let world = World::new().await;
    world.commit("a.yaml", &text("a", "one")).await;
    assert!(world.push(&["origin", "main"]).await.0);
    let head = world.head().await;
    // Lines of a fetch's question without end: git would read, and keep, them all.
    let have = format!("0032have {}\n", "0".repeat(40));
    let bomb = gzip(have.repeat(400_000).as_bytes());
    assert!(bomb.len() < 1 << 20);
    let length = |body: &[u8]| format!("Content-Length: {}\r\n", body.len());
    let gzipped = "Content-Encoding: gzip\r\n";
    let (upload, receive) = ("git-upload-pack", "git-receive-pack");
    for (path, headers, body, want) in [
        (upload, format!("{gzipped}{}", length(&bomb)), &bomb[..], "413"),
        (upload, format!("{gzipped}{}", length(b"0000")), b"0000", "400"),
        (receive, format!("{gzipped}{}", length(b"0000")), b"0000", "400"),
        (
            upload,
            format!("Content-Encoding: br\r\n{}", length(b"0000")),
            b"0000",
            "415",
        ),
        (
            receive,
            format!("Content-Encoding: gzip, gzip\r\n{}", length(b"0000")),
            b"0000",
            "415",
        ),
        (receive, "Content-Length: 999999999\r\n".to_owned(), b"", "413"),
        (upload, "Content-Length: 99999999\r\n".to_owned(), b"", "413"),
        (receive, "Content-Length: x\r\n".to_owned(), b"", "400"),
        // What is no language of git's is git's to refuse.
        (receive, length(b"zzzz"), b"zzzz", "200"),
        (upload, length(&[0xff; 5000]), &[0xff; 5000], "200"),
        (
            receive,
            "Transfer-Encoding: chunked\r\n".to_owned(),
            b"4\r\n0000\r\n0\r\n\r\n",
            "200",
        ),
    ] {
        let answer = world.raw(path, path, &headers, body).await;
        assert!(answer.contains(want), "{path} {headers:?}: {answer}");
    }
    // These end in the middle, so there is nobody to answer.
    for (path, body) in [
        (receive, &b"Transfer-Encoding: chunked\r\n\r\n4\r\n00"[..]),
        (receive, b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
        (upload, b"Content-Length: 4\r\n\r\n0"),
    ] {
        let mut client = TcpStream::connect(world.address()).await.unwrap();
        let head = format!(
            "POST /git/config.git/{path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-{path}-request\r\n"
        );
        client.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.is_clean().await;
    assert_eq!(world.head().await, head);
    assert_eq!(world.judge.judged.lock().unwrap().len(), 1);
    // And git itself goes on as before, with a question that it packs.
    assert!(world.push(&["origin", "main:other"]).await.0);
}

/// A client that is killed at many moments: nothing half is left, and the next push goes through.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_killed_at_any_moment_leaves_nothing() {
    let world = World::new().await;
    let noise = |seed: usize| -> String {
        let words = (0..200_000_usize).map(|n| format!("# {}\n", n.wrapping_mul(seed * 7919) % 99_991));
        words.collect()
    };
    for round in 0..25_usize {
        let commit = world.commit("a.yaml", &text("a", &round.to_string())).await;
        std::fs::write(world.clone().join("noise.txt"), noise(round + 1)).unwrap();
        let commit = if round % 2 == 0 {
            world.commit("b.yaml", &text("b", &round.to_string())).await
        } else {
            commit
        };
        let mut client = git_command(&world.clone(), &["push", "-q", "origin", "main"])
            .process_group(0)
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(7 * round as u64)).await;
        let group = rustix::process::Pid::from_raw(i32::try_from(client.id().unwrap()).unwrap()).unwrap();
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let accepted = client.wait().await.unwrap().success();
        world.is_clean().await;
        // Accepted or not, the branch is at a whole commit: at this one, or where it was.
        let head = world.head().await;
        assert!(!accepted || head.as_deref() == Some(&*commit), "{head:?}");
        git(world.hosted.path(), &["fsck", "--no-dangling", "--connectivity-only"]).await;
    }
    // What a git that was killed left goes with the next push that ends, and what is new stays: it may be somebody's.
    let [old, new] = ["old", "new"].map(|name| world.hosted.path().join(format!("objects/tmp_objdir-incoming-{name}")));
    for folder in [&old, &new] {
        std::fs::create_dir(folder).unwrap();
    }
    let hour = std::time::SystemTime::now() - Duration::from_hours(1);
    std::fs::File::open(&old).unwrap().set_modified(hour).unwrap();
    let (accepted, shown) = world.push(&["origin", "main"]).await;
    assert!(accepted, "{shown}");
    until("the old one is swept away", async || !old.exists()).await;
    assert!(new.exists());
    let judged: Vec<_> = world
        .judge
        .judged
        .lock()
        .unwrap()
        .iter()
        .map(|push| push.id.clone())
        .collect();
    let ended = world.judge.ended.lock().unwrap().clone();
    assert!(
        judged.iter().all(|id| ended.contains(id)),
        "each push that was judged is known to have ended"
    );
}

/// More pushes at once than there may be processes: the rest wait their turn, or are told to come again.
#[tokio::test(flavor = "multi_thread")]
async fn more_pushes_than_processes_wait_or_are_told_to_come_again() {
    let world = World::new().await;
    world.commit("a.yaml", &text("a", "one")).await;
    world.judge.hold.send_replace(true);
    let mut pushes = JoinSet::new();
    for n in 0..40 {
        let clone = world.clone();
        let mut client = git_command(&clone, &["push", "-q", "origin", &format!("main:refs/heads/b{n}")]);
        pushes.spawn(async move { client.output().await.unwrap() });
    }
    until("every process is taken", async || {
        world.judge.judged.lock().unwrap().len() == 32
    })
    .await;
    // While nothing goes on, another one is told so, and when to come again.
    let answer = reqwest::get(format!("{}/info/refs?service=git-upload-pack", world.url))
        .await
        .unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "5");
    world.judge.hold.send_replace(false);
    let mut accepted = 0;
    while let Some(output) = pushes.join_next().await {
        let output = output.unwrap();
        let shown = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() || shown.contains("503"), "{shown}");
        accepted += usize::from(output.status.success());
    }
    assert!(accepted >= 32, "{accepted}");
    world.is_clean().await;
}

/// What follows an accepted push does not keep others out, however long it takes.
#[tokio::test(flavor = "multi_thread")]
async fn pushes_that_only_watch_leave_room() {
    let world = World::new().await;
    world.commit("a.yaml", &text("a", "one")).await;
    world.judge.linger.send_replace(true);
    let mut pushes = JoinSet::new();
    for n in 0..36 {
        let mut client = git_command(
            &world.clone(),
            &["push", "-q", "origin", &format!("main:refs/heads/b{n}")],
        );
        pushes.spawn(async move { client.output().await.unwrap() });
    }
    until("all are accepted", async || {
        world.judge.watched.lock().unwrap().len() == 36
    })
    .await;
    assert_eq!(world.hosted.0.processes.available_permits(), 32);
    world.judge.linger.send_replace(false);
    while let Some(output) = pushes.join_next().await {
        assert!(output.unwrap().status.success());
    }
    world.is_clean().await;
}

/// The hooks' socket: garbage, too much, nothing at all and never an end are bounded, and pushes go on beside them.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_at_the_hooks_socket_is_bounded() {
    let world = World::new().await;
    let socket = world.folder.path().join("data/hook.sock");
    let quarantine = world.hosted.path().display();
    let long = "x".repeat(2 << 20);
    let of = |push: &str, updates: &str, quarantine: &str| {
        format!(
            r#"{{"hook":"pre-receive","push":"{push}","quarantine":{quarantine},"options":[],"updates":{updates}}}"#
        ) + "\n"
    };
    let known = "0123";
    world.hosted.begin_push(known, &crate::access::Principal::Anonymous);
    let update = format!(
        r#"[{{"old":null,"new":"{}","name":"refs/heads/main"}}]"#,
        "1".repeat(40)
    );
    for (sent, told) in [
        ("\n".to_owned(), ""),
        ("{}\n".to_owned(), ""),
        ("nonsense\n".to_owned(), ""),
        ("\0\0\0\n".to_owned(), ""),
        (long.clone(), ""),
        (format!("{}\n", "[".repeat(100_000)), ""),
        (of("made-up", &update, "null"), "did not come through mcpd"),
        // Objects are read from where a quarantine may lie, and from nowhere else.
        (of(known, &update, "\"/etc\""), "did not come through mcpd"),
        (
            of(known, &update, &format!("\"{quarantine}/objects/../../..\"")),
            "did not come through mcpd",
        ),
    ] {
        let mut hook = UnixStream::connect(&socket).await.unwrap();
        // What is too long is not read to its end.
        let _ = hook.write_all(sent.as_bytes()).await;
        let mut answer = String::new();
        let _ = hook.read_to_string(&mut answer).await;
        assert!(answer.contains(told), "{sent:.60}: {answer}");
        assert!(!answer.contains(r#"{"exit":0}"#), "{sent:.60}: {answer}");
    }
    world.hosted.end_push(known);
    let mut silent = vec![];
    for _ in 0..100 {
        let mut hook = UnixStream::connect(&socket).await.unwrap();
        hook.write_all(b"{").await.unwrap();
        silent.push(hook);
    }
    world.commit("a.yaml", &text("a", "one")).await;
    let (accepted, shown) = world.push(&["origin", "main"]).await;
    assert!(accepted, "{shown}");
    drop(silent);
    assert_eq!(world.judge.judged.lock().unwrap().len(), 1);
}

/// A pack near git's bound is taken; one beyond it is refused in words, and nothing of it is kept.
#[tokio::test(flavor = "multi_thread")]
async fn large_packs_are_taken_and_larger_ones_refused() {
    let world = World::new().await;
    world.commit("a.yaml", &text("a", "one")).await;
    for setting in ["pack.window", "core.compression", "core.looseCompression"] {
        git(&world.clone(), &["config", setting, "0"]).await;
    }
    let mut random = vec![0; 24 << 20];
    for (files, accepted) in [(3, true), (6, false)] {
        for n in 0..files {
            getrandom::fill(&mut random).unwrap();
            std::fs::write(world.clone().join(format!("{n}.bin")), &random).unwrap();
        }
        git(&world.clone(), &["add", "-A"]).await;
        git(&world.clone(), &["commit", "-qm", "large"]).await;
        let before = world.head().await;
        let (done, shown) = world.push(&["origin", "main"]).await;
        assert_eq!(done, accepted, "{shown}");
        if !accepted {
            assert!(shown.contains("pack exceeds maximum allowed size"), "{shown}");
            assert_eq!(world.head().await, before);
        }
    }
    world.is_clean().await;
}
