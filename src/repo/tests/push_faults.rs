//! Pushes that lose their client, their daemon, or never had one.

use tokio::io::AsyncWriteExt as _;

use super::{World, git_command, git_output, hook_program as program, text, until};
use crate::repo::{BRANCH, Hosted, hook_program};

/// Row "Ctrl-C while a push waits": the client is gone, and what is accepted then still moves the branch.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_loses_nothing() {
    let world = World::new().await;
    let commit = world.commit("a.yaml", &text("a", "one")).await;
    world.judge.hold.send_replace(true);
    let mut client = git_command(&world.clone(), &["push", "origin", "main"])
        .process_group(0)
        .spawn()
        .unwrap();
    until("the push waits", async || world.judge.judged.lock().unwrap().len() == 1).await;
    // The whole group: git's transport is a process of its own.
    let group = rustix::process::Pid::from_raw(i32::try_from(client.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    assert!(!client.wait().await.unwrap().success());
    world.judge.hold.send_replace(false);
    until("the branch moved", async || {
        world.head().await.as_deref() == Some(&*commit)
    })
    .await;
    until("the push ended", async || world.judge.ended.lock().unwrap().len() == 1).await;
    assert_eq!(world.judge.watched.lock().unwrap().len(), 1);
}

/// A client that goes in the middle of its upload was never judged, and its push is known to have ended.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_off_is_no_push() {
    let world = World::new().await;
    let address = world.url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    for head in [
        "Content-Length: 1000\r\n\r\n00",
        "Transfer-Encoding: chunked\r\n\r\n4\r\n00a0\r\n",
    ] {
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!(
            "POST /git/config.git/git-receive-pack HTTP/1.1\r\nHost: {address}\r\n\
             Content-Type: application/x-git-receive-pack-request\r\n{head}"
        );
        client.write_all(request.as_bytes()).await.unwrap();
        until("the push is known", async || {
            world.hosted.0.pushes.lock().unwrap().len() == 1
        })
        .await;
        drop(client);
        until("the push ended", async || {
            world.hosted.0.pushes.lock().unwrap().is_empty()
        })
        .await;
    }
    until("both were told", async || world.judge.ended.lock().unwrap().len() == 2).await;
    assert!(world.judge.judged.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_undecided_when_mcpd_stops_is_refused() {
    let world = World::new().await;
    world.commit("a.yaml", &text("a", "one")).await;
    world.judge.hold.send_replace(true);
    let clone = world.clone();
    let push = tokio::spawn(async move { git_output(&clone, &["push", "origin", "main"]).await });
    until("the push waits", async || world.judge.judged.lock().unwrap().len() == 1).await;
    world.stop.cancel();
    let output = push.await.unwrap();
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && shown.contains("remote: error: mcpd stopped before it decided"),
        "{shown}"
    );
    assert_eq!(world.head().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_past_mcpd_is_refused() {
    let world = World::new().await;
    world.commit("a.yaml", &text("a", "one")).await;
    let path = world.hosted.path().to_str().unwrap().to_owned();
    let (accepted, shown) = world.push(&[&path, "main"]).await;
    assert!(
        !accepted && shown.contains("remote: error: mcpd is not running"),
        "{shown}"
    );
    // Knowing the socket is not enough: a push id is given out with each request and ends with it.
    let output = git_command(&world.clone(), &["push", &path, "main"])
        .env(hook_program::SOCKET, world.folder.path().join("data/hook.sock"))
        .env(hook_program::PUSH, "made-up")
        .output()
        .await
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && shown.contains("did not come through mcpd"),
        "{shown}"
    );
    assert_eq!(world.head().await, None);
    assert!(world.judge.judged.lock().unwrap().is_empty());
}

#[test]
fn a_hook_without_mcpd_refuses_before_and_is_content_after() {
    let folder = tempfile::TempDir::new().unwrap();
    let update = format!("{} {} {BRANCH}\n", "0".repeat(40), "1".repeat(40));
    let socket = folder.path().join("hook.sock").into_os_string();
    let run = |hook: &str, known: bool, input: &str| {
        let mut output = vec![];
        let variable = |name: &str| match name {
            hook_program::SOCKET if known => Some(socket.clone()),
            hook_program::PUSH if known => Some("1".into()),
            _ => None,
        };
        let code = hook_program::run(hook, &variable, &mut input.as_bytes(), &mut output);
        (code, String::from_utf8(output).unwrap())
    };
    for (hook, known, input, want, line) in [
        ("pre-receive", false, &*update, 1, "mcpd is not running"),
        ("pre-receive", true, &*update, 1, "mcpd is not running"),
        ("pre-receive", true, "nonsense\n", 1, "can't be read"),
        ("post-receive", false, &*update, 0, ""),
        ("post-receive", true, &*update, 0, ""),
        ("update", true, &*update, 1, "no hook of that name"),
    ] {
        let (code, output) = run(hook, known, input);
        assert_eq!(code, want, "{hook} {known} {output}");
        assert!(output.contains(line), "{hook} {known}: {output}");
    }
}

/// A crash leaves a socket, a lock of the branch and hooks with an old path: the next start takes all in its stride.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_after_a_crash_heals() {
    let folder = tempfile::TempDir::new().unwrap();
    let program = program(folder.path());
    let data = folder.path().join("data");
    drop(Hosted::open(&data, &program, "w").await.unwrap());
    let lock = data.join("config.git/refs/heads/main.lock");
    let file = std::fs::File::create(&lock).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let quarantine = data.join("config.git/objects/tmp_objdir-incoming-x");
    std::fs::create_dir(&quarantine).unwrap();
    let file = std::fs::File::open(&quarantine).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    std::fs::write(data.join("config.git/hooks/pre-receive"), "#!/bin/sh\nexit 0\n").unwrap();
    std::fs::write(data.join("config.git/HEAD"), "ref: refs/heads/elsewhere\n").unwrap();
    let hosted = Hosted::open(&data, &program, "w").await.unwrap();
    assert!(!lock.exists() && !quarantine.exists());
    let hook = std::fs::read_to_string(hosted.path().join("hooks/pre-receive")).unwrap();
    assert!(hook.contains(r"it'\''s a hook' hook pre-receive"), "{hook}");
    let head = git_output(hosted.path(), &["symbolic-ref", "HEAD"]).await.stdout;
    assert_eq!(String::from_utf8_lossy(&head).trim(), BRANCH);
}
