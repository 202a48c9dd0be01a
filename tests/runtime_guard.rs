//! The process runtime with real processes: endings, trees, descriptors, and every way in which mcpd can die.
#![expect(
    clippy::disallowed_methods,
    reason = "reads /proc and the files that test servers write"
)]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![cfg(target_os = "linux")]

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mcpctl::record::{Ending, InstanceName, Life, Live, LiveState};
use mcpctl::runtime::{GUARD_WORD, LogQuery, ProcessOptions, Runtime, RuntimeError, StartOrder};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use mcpctl::kit::{Link, Pipes};

fn pipes(link: Link) -> Pipes {
    match link {
        Link::Pipes(pipes) => pipes,
        Link::Http { url, .. } => panic!("a process is spoken to over pipes, not at {url}"),
    }
}

/// Longer than any wait here may take on a slow machine; nothing ever waits this long when it works.
const PATIENCE: Duration = Duration::from_mins(1);
const GRACE: Duration = Duration::from_secs(20);

/// Set for the helper processes: the name of the role.
const ROLE: &str = "RUNTIME_GUARD_ROLE";
/// The folder that test and helper share.
const FOLDER: &str = "RUNTIME_GUARD_FOLDER";

async fn open(folder: &Path) -> Runtime {
    let options = ProcessOptions {
        guard: vec![env!("CARGO_BIN_EXE_mcpd").into(), GUARD_WORD.into()],
        // Each test is a cluster of its own, so that they can run at the same time.
        cluster: cluster(folder),
        directory: folder.to_owned(),
        logs: mcpctl::runtime::Logs::new(folder.join("logs"), Arc::new(|line| line.into())),
        environment: std::env::vars_os()
            .chain([(OsString::from("MCPD_TOKEN"), OsString::from("hunter2"))])
            .collect(),
    };
    Runtime::Process(mcpctl::runtime::ProcessRuntime::open(options).await.unwrap())
}

fn cluster(folder: &Path) -> String {
    folder.file_name().unwrap().to_str().unwrap().to_owned()
}

fn order(instance: &str, command: &[&str]) -> StartOrder {
    StartOrder {
        instance: instance.parse().unwrap(),
        spec: "00.11".to_owned(),
        server: Arc::new(
            serde_json::from_value::<mcpctl::resource::Server>(json!({ "command": command }))
                .unwrap()
                .into(),
        ),
    }
}

fn shell(instance: &str, script: &str) -> StartOrder {
    order(instance, &["sh", "-c", script])
}

async fn find(runtime: &Runtime, life: &Life) -> Option<Live> {
    runtime.observe().await.unwrap().into_iter().find(|l| l.life == *life)
}

/// Waits until a life has ended, by the runtime's own hint.
async fn ending(runtime: &Runtime, life: &Life) -> Ending {
    let mut changed = runtime.changed();
    let wait = async {
        loop {
            changed.mark_unchanged();
            if let LiveState::Ended(ending) = find(runtime, life).await.unwrap().state {
                return ending;
            }
            changed.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap()
}

/// Waits until something is the case.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = tokio::time::Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The process ids that a test server wrote into a file, a line each.
fn pids(file: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// Whether a process is there and no zombie.
fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn parent(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ")
        .unwrap()
        .1
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// A server with a child in its group, and a daemon that left group, session and environment, each deaf to TERM.
/// Every one of them writes its process id.
const TREE: &str = r#"
    trap "" TERM
    echo $$ >> pids
    (trap "" TERM; sh -c 'echo $PPID >> pids'; while :; do sleep 1; done) &
    env -i PATH="$PATH" setsid sh -c 'trap "" TERM; (echo $$ >> pids; while :; do sleep 1; done) & exit' &
    env -i PATH="$PATH" setsid sh -c 'trap "" TERM; echo $$ >> pids; while :; do sleep 1; done' &
    while :; do sleep 1; done
"#;

async fn tree(runtime: &Runtime, folder: &Path) -> (Life, Vec<i32>) {
    let life = runtime.start(shell("time/0", TREE)).await.unwrap();
    let file = folder.join("pids");
    until("the tree stands", || pids(&file).len() == 4).await;
    (life, pids(&file))
}

/// Pitfall: dead containers that stay RUNNING.
#[tokio::test]
async fn an_exit_is_told_with_its_code_and_last_line() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = open(folder.path()).await;
    for (script, code, signal, line) in [
        (
            "echo one >&2; echo 'no such flag' >&2; exit 3",
            Some(3),
            None,
            Some("no such flag"),
        ),
        ("kill -SEGV $$", None, Some(11), None),
        ("printf 'cut off' >&2; kill -9 $$", None, Some(9), Some("cut off")),
        ("exit 0", Some(0), None, None),
    ] {
        let life = runtime.start(shell("time/0", script)).await.unwrap();
        let found = ending(&runtime, &life).await;
        assert_eq!(
            (found.code, found.signal, found.last_line.as_deref()),
            (code, signal, line),
            "{script}"
        );
        runtime.stop(&life, GRACE).await.unwrap();
        assert!(find(&runtime, &life).await.is_none(), "the remains are cleared");
    }
    let name: InstanceName = "time/0".parse().unwrap();
    let lines = runtime.logs().read(&name, &LogQuery::default()).await.unwrap();
    let lines: Vec<String> = lines
        .into_iter()
        .map(|line| format!("{:?} {}", line.kind, line.text))
        .collect();
    assert_eq!(
        lines.join("|"),
        "Began |Line one|Line no such flag|Ended exited with code 3|Began |Ended ended by signal 11|\
        Began |Line cut off|Ended ended by signal 9|Began |Ended exited with code 0"
    );
}

/// Pitfall: a closed stdin that ends a stdio server at once.
#[tokio::test]
async fn stdio_is_held_open_and_taken_once() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = open(folder.path()).await;
    let started = order("time/0", &["cat"]);
    let life = runtime.start(started.clone()).await.unwrap();
    let name = started.instance;
    assert_eq!(
        runtime
            .attach(&"git/0".parse().unwrap(), &life)
            .await
            .unwrap_err()
            .kind(),
        std::io::ErrorKind::NotFound
    );
    let mut pipes = pipes(runtime.attach(&name, &life).await.unwrap());
    assert_eq!(
        runtime.attach(&name, &life).await.unwrap_err().kind(),
        std::io::ErrorKind::AlreadyExists
    );
    let mut lines = BufReader::new(&mut pipes.reader).lines();
    for text in ["one", "two"] {
        pipes.writer.write_all(format!("{text}\n").as_bytes()).await.unwrap();
        pipes.writer.flush().await.unwrap();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some(text));
    }
    assert_eq!(find(&runtime, &life).await.unwrap().state, LiveState::Running);
    drop(pipes);
    assert_eq!(ending(&runtime, &life).await.code, Some(0), "cat ends with its stdin");
    assert_eq!(
        runtime.attach(&name, &life).await.unwrap_err().kind(),
        std::io::ErrorKind::NotFound
    );
}

/// The guard holds no end of the pipes: a server that closes its output is seen.
#[tokio::test]
async fn a_closed_output_is_seen_while_the_server_lives() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = open(folder.path()).await;
    let started = shell("time/0", "exec sleep 1000 >&-");
    let life = runtime.start(started.clone()).await.unwrap();
    let mut pipes = pipes(runtime.attach(&started.instance, &life).await.unwrap());
    let mut rest = vec![];
    tokio::time::timeout(PATIENCE, pipes.reader.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(find(&runtime, &life).await.unwrap().state, LiveState::Running);
    runtime.stop(&life, GRACE).await.unwrap();
}

/// Zombies, and what double-forks out of its group and session: stop ends the whole tree, by force.
#[tokio::test]
async fn stop_ends_the_whole_tree() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = open(folder.path()).await;
    let (life, pids) = tree(&runtime, folder.path()).await;
    let guard = parent(pids[0]);
    runtime.stop(&life, Duration::from_millis(100)).await.unwrap();
    for pid in pids {
        assert!(!alive(pid));
    }
    assert!(
        !Path::new(&format!("/proc/{guard}")).exists(),
        "the guard is reaped, no zombie is left"
    );
    assert!(runtime.observe().await.unwrap().is_empty());
}

/// What a server leaves behind ends with it.
#[tokio::test]
async fn a_server_that_exits_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = open(folder.path()).await;
    let script = "env -i PATH=\"$PATH\" setsid sh -c 'echo $$ >> pids; exec sleep 1000' & while ! [ -s pids ]; do sleep 0.1; done; exit 7";
    let life = runtime.start(shell("time/0", script)).await.unwrap();
    assert_eq!(ending(&runtime, &life).await.code, Some(7));
    let left = pids(&folder.path().join("pids"));
    assert_eq!(left.len(), 1);
    assert!(!alive(left[0]));
}

/// Even the guard may be killed: its server is found by its marks.
#[tokio::test]
async fn a_killed_guard_leaves_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = open(folder.path()).await;
    let life = runtime
        .start(shell("time/0", "echo $$ >> pids; sleep 1000"))
        .await
        .unwrap();
    let file = folder.path().join("pids");
    until("the server stands", || !pids(&file).is_empty()).await;
    let server = pids(&file)[0];
    kill(parent(server));
    assert_eq!(ending(&runtime, &life).await.signal, Some(9));
    assert!(!alive(server));
}

/// Pitfall: races that start the same server twice.
#[tokio::test]
async fn starts_are_single_flight() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = open(folder.path()).await;
    let (first, second) = tokio::join!(
        runtime.start(order("time/0", &["sleep", "1000"])),
        runtime.start(order("time/0", &["sleep", "1000"]))
    );
    let refused = [&first, &second]
        .into_iter()
        .filter_map(|r| r.as_ref().err())
        .collect::<Vec<_>>();
    assert!(matches!(refused[..], [RuntimeError::AlreadyRuns { .. }]), "{refused:?}");
    assert!(refused[0].is_refusal());
    // A rolling update needs two lives of one instance, and never three.
    runtime.start(order("time/0", &["sleep", "1001"])).await.unwrap();
    let third = runtime.start(order("time/0", &["sleep", "1002"])).await;
    assert!(matches!(third, Err(RuntimeError::TooManyLives(_))));
    runtime.start(order("time/1", &["sleep", "1000"])).await.unwrap();
    assert_eq!(runtime.observe().await.unwrap().len(), 3);
    runtime.close().await;
    assert!(runtime.observe().await.unwrap().is_empty());
    assert!(matches!(
        runtime.start(order("time/0", &["cat"])).await,
        Err(RuntimeError::Closed)
    ));
}

/// No secret of mcpd reaches a server, and the guard's own mark stays with the guard.
#[tokio::test]
async fn the_environment_is_clean() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = open(folder.path()).await;
    let started = order("time/0", &["env"]);
    let life = runtime.start(started.clone()).await.unwrap();
    let mut pipes = pipes(runtime.attach(&started.instance, &life).await.unwrap());
    let mut text = String::new();
    pipes.reader.read_to_string(&mut text).await.unwrap();
    let mut ours: Vec<&str> = text.lines().filter(|line| line.starts_with("MCP")).collect();
    ours.sort_unstable();
    let want = [
        format!("MCPCTL_CLUSTER={}", cluster(folder.path())),
        "MCPCTL_INSTANCE=time/0".to_owned(),
        format!("MCPCTL_LIFE={life}"),
    ];
    assert_eq!(ours, want);
    assert!(!text.contains("hunter2") && text.contains("PATH="));
}

#[tokio::test]
async fn what_is_missing_or_broken_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = open(folder.path()).await;
    let missing = runtime.start(order("time/0", &["no-such-program"])).await.unwrap_err();
    assert_eq!(
        missing.to_string(),
        "needs no-such-program, which is not installed (no executable of that name is on PATH)"
    );
    assert!(!missing.is_refusal());
    // A program that the kernel refuses is an ending like any other.
    let broken = folder.path().join("broken");
    std::fs::write(&broken, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&broken, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let life = runtime.start(order("time/0", &["./broken"])).await.unwrap();
    let found = ending(&runtime, &life).await;
    assert_eq!(found.code, Some(127));
    assert!(found.last_line.unwrap().starts_with("cannot start "));
}

/// What a killed mcpd left behind is ended when the next one opens; another cluster's is not touched.
#[tokio::test]
async fn opening_sweeps_its_own_cluster_only() {
    let folder = tempfile::tempdir().unwrap();
    let left = |cluster: String| {
        let mut command = Command::new("sleep");
        command.arg("1000").env("MCPCTL_CLUSTER", cluster).spawn().unwrap()
    };
    let mut ours = left(cluster(folder.path()));
    let mut others = left(format!("{}x", cluster(folder.path())));
    let _runtime = open(folder.path()).await;
    assert!(!alive(ours.id().cast_signed()));
    assert!(alive(others.id().cast_signed()));
    others.kill().unwrap();
    others.wait().unwrap();
    ours.wait().unwrap();
}

/// A process that plays mcpd: this test program again, in one role.
fn helper(role: &str, folder: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_a_role", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(FOLDER, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Does nothing but in a helper process.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_role() {
    let (Some(role), Some(folder)) = (std::env::var_os(ROLE), std::env::var_os(FOLDER)) else {
        return;
    };
    let folder = Path::new(&folder);
    let runtime = open(folder).await;
    match role.to_str().unwrap() {
        "descriptors" => descriptors(&runtime).await,
        "drop" => {
            tree(&runtime, folder).await;
        }
        "wait" => {
            tree(&runtime, folder).await;
            std::future::pending::<()>().await;
        }
        other => panic!("no such role: {other}"),
    }
}

/// No orphans after any exit of mcpd: killed, ended by a signal, or ended without closing the runtime.
#[tokio::test]
async fn no_orphans_however_mcpd_ends() {
    for (role, signal) in [
        ("wait", Some(rustix::process::Signal::KILL)),
        ("wait", Some(rustix::process::Signal::TERM)),
        ("drop", None),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut mcpd = helper(role, folder.path());
        let file = folder.path().join("pids");
        until("the tree stands", || pids(&file).len() == 4).await;
        if let Some(signal) = signal {
            rustix::process::kill_process(rustix::process::Pid::from_child(&mcpd), signal).unwrap();
        }
        let status = mcpd.wait().unwrap();
        assert_eq!(status.success(), signal.is_none(), "{status}");
        let pids = pids(&file);
        until("the tree is gone", || !pids.iter().any(|pid| alive(*pid))).await;
    }
}

/// The next mcpd does not run beside what the killed one left: when it has opened, that is gone.
#[tokio::test]
async fn opening_after_a_kill_finds_a_clean_table() {
    let folder = tempfile::tempdir().unwrap();
    let mut mcpd = helper("wait", folder.path());
    let file = folder.path().join("pids");
    until("the tree stands", || pids(&file).len() == 4).await;
    mcpd.kill().unwrap();
    mcpd.wait().unwrap();
    let _runtime = open(folder.path()).await;
    assert!(!pids(&file).iter().any(|pid| alive(*pid)));
}

/// Pitfall: containers, processes and descriptors that grow with starts and stops; zombies.
#[tokio::test]
async fn nothing_grows_over_a_hundred_starts_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let mut mcpd = helper("descriptors", folder.path());
    assert!(mcpd.wait().unwrap().success());
}

async fn descriptors(runtime: &Runtime) {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let children = || {
        let own = std::process::id().cast_signed();
        let all = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|e| e.unwrap().file_name().to_str()?.parse().ok());
        let parents = all.filter(|pid: &i32| Path::new(&format!("/proc/{pid}/stat")).exists());
        parents
            .filter(|pid| std::panic::catch_unwind(|| parent(*pid)).is_ok_and(|parent| parent == own))
            .count()
    };
    let mut before = None;
    for n in 0..100 {
        let started = if n % 3 == 0 {
            shell("time/0", "echo bye >&2; exit 1")
        } else {
            shell("time/0", "echo hello >&2; exec cat")
        };
        let life = runtime.start(started.clone()).await.unwrap();
        if n % 3 == 0 {
            ending(runtime, &life).await;
        } else if n % 3 == 1 {
            let _pipes = runtime.attach(&started.instance, &life).await;
            runtime.stop(&life, GRACE).await.unwrap();
        }
        runtime.stop(&life, GRACE).await.unwrap();
        if n == 10 {
            before = Some(open());
        }
    }
    until("the descriptors are given back", || Some(open()) <= before).await;
    assert_eq!(children(), 0);
}
