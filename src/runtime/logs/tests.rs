//! What is kept, masked, bounded, read back and followed.
#![expect(clippy::disallowed_methods, reason = "looks into the files that are kept")]

use std::os::unix::fs::PermissionsExt as _;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::record::LogKind;

const SECRET: &str = "hunter2hunter2";

fn name() -> InstanceName {
    "time/0".parse().unwrap()
}

fn life(name: &str) -> Life {
    Life(name.to_owned())
}

fn logs(folder: &tempfile::TempDir) -> Logs {
    Logs::new(
        folder.path().join("logs"),
        Arc::new(|line| line.replace(SECRET, "***").into()),
    )
}

async fn fed(logs: &Logs, text: &[u8]) -> Option<String> {
    let mut log = logs.begin(&name(), &life("a")).await;
    log.read(text, &CancellationToken::new()).await;
    log.end("exited".to_owned()).await;
    log.last_line()
}

async fn texts(logs: &Logs, query: &LogQuery) -> Vec<String> {
    let lines = logs.read(&name(), query).await.unwrap().into_iter();
    lines
        .map(|line| match line.kind {
            LogKind::Began => format!("+{}", line.life.unwrap()),
            LogKind::Ended => format!("-{} {}", line.life.unwrap(), line.text),
            _ => line.text,
        })
        .collect()
}

#[tokio::test]
async fn the_last_line_that_says_something_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let logs = logs(&folder);
    for (text, want) in [
        (&b"one\ntwo\n\n  \n"[..], Some("two")),
        (b"no end", Some("no end")),
        (b"\x1b[31mred\x1b[0m \x1b]0;title\x07x\ty\x00\x08\n", Some("red x y")),
        (b"10%\r20%\r", Some("20%")),
        (b"bad \xff\xfe bytes\n", Some("bad \u{fffd}\u{fffd} bytes")),
        (b"", None),
        (b"\x1b[", None),
    ] {
        assert_eq!(fed(&logs, text).await.as_deref(), want);
    }
    let long = "é".repeat(20_000);
    assert_eq!(fed(&logs, long.as_bytes()).await.unwrap(), "é".repeat(500));
}

/// Promise P10: no secret is let out, not in part either: however a line arrives, and however long it is.
#[tokio::test]
async fn lines_are_masked_whole() {
    let folder = tempfile::tempdir().unwrap();
    let logs = logs(&folder);
    let stop = CancellationToken::new();
    let (_, mut follower) = logs.follow(&name(), &LogQuery::default()).await.unwrap();
    let mut log = logs.begin(&name(), &life("a")).await;
    // Byte by byte, without an end, and mixed with what a terminal would not show.
    for byte in format!("token {SECRET}").bytes() {
        log.take(&[byte]).await;
    }
    log.flush().await;
    log.read(format!("hunter2\x1b[1mhunter2 {SECRET}\n").as_bytes(), &stop)
        .await;
    assert_eq!(log.last_line().as_deref(), Some("*** ***"));
    // At every place around the borders of what is read, gathered and kept.
    for border in [8 << 10, 16 << 10, 128 << 10, 256 << 10] {
        for before in (border - SECRET.len() - 40..border + 2).step_by(3) {
            let text = format!("{}{SECRET}{}\n", "x".repeat(before), "y".repeat(300 << 10));
            log.read(text.as_bytes(), &stop).await;
        }
    }
    // What is cut off where nothing of the line before it is shown.
    for escapes in 65_530..65_537 {
        let text = format!("{}{SECRET}{SECRET}\n", "\x1b[0m".repeat(escapes));
        log.read(text.as_bytes(), &stop).await;
    }
    log.end(format!("said {SECRET}")).await;
    drop(log);
    let mut all = String::new();
    for file in std::fs::read_dir(folder.path().join("logs")).unwrap() {
        all += &String::from_utf8(std::fs::read(file.unwrap().path()).unwrap()).unwrap();
    }
    while let Ok(lines) = follower.lines.try_recv() {
        all.extend(lines.iter().map(|line| format!("{}\n", line.text)));
    }
    assert!(all.contains("token ***\n") && all.contains("said ***\n"));
    for part in ["hunter", "xh\n", "xh…", "xhu", "xhun"] {
        assert!(!all.contains(part), "{part:?} was let out");
    }
    assert!(all.lines().all(|line| line.len() < 17 << 10));
}

/// What became a secret after it was kept is masked when it is read.
#[tokio::test]
async fn old_lines_are_masked_and_readable() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("logs")).unwrap();
    std::fs::write(folder.path().join("logs/time-0.log"), format!("plain {SECRET}\ncut o")).unwrap();
    let logs = logs(&folder);
    fed(&logs, b"new\n").await;
    assert_eq!(
        texts(&logs, &LogQuery::default()).await,
        ["plain ***", "cut o", "+a", "new", "-a exited"]
    );
}

#[tokio::test]
async fn lives_are_marked_and_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let logs = logs(&folder);
    let query = LogQuery::default();
    let previous = LogQuery {
        previous: true,
        ..query
    };
    assert!(matches!(logs.read(&name(), &query).await, Err(LogError::Unknown(_))));
    let mut a = logs.begin(&name(), &life("a")).await;
    a.take(b"one\n").await;
    assert!(matches!(
        logs.read(&name(), &previous).await,
        Err(LogError::NoPrevious(_))
    ));
    // mcpd was restarted and found the life running.
    let logs = self::logs(&folder);
    let mut a = logs.begin(&name(), &life("a")).await;
    a.take(b"two\n").await;
    let mut b = logs.begin(&name(), &life("b")).await;
    b.take(b"three\n").await;
    a.take(b"four\n").await;
    a.end("exited with code 3".to_owned()).await;
    assert_eq!(
        texts(&logs, &query).await,
        ["+a", "one", "two", "+b", "three", "four", "-a exited with code 3"]
    );
    assert_eq!(
        texts(&logs, &previous).await,
        ["+a", "one", "two", "four", "-a exited with code 3"]
    );
}

#[tokio::test]
async fn a_log_is_bounded_and_private() {
    let folder = tempfile::tempdir().unwrap();
    let logs = logs(&folder);
    let line = format!("{}\n", "x".repeat(999));
    for n in 0..4 {
        let text = format!("{}last {n}\n", line.repeat(1_000));
        fed(&logs, text.as_bytes()).await;
    }
    let tail = LogQuery {
        tail: Some(1),
        ..LogQuery::default()
    };
    assert_eq!(texts(&logs, &tail).await, ["last 3", "-a exited"]);
    let kept: usize = texts(&logs, &LogQuery::default()).await.iter().map(String::len).sum();
    assert!(kept > 560_000, "the file before is read too: {kept}");
    let files: Vec<_> = std::fs::read_dir(folder.path().join("logs"))
        .unwrap()
        .map(|f| f.unwrap())
        .collect();
    let sizes: u64 = files.iter().map(|f| f.metadata().unwrap().len()).sum();
    assert!((512 * 1024..=1024 * 1024).contains(&sizes), "{sizes}");
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn followers_see_each_line_once_over_all_lives() {
    let folder = tempfile::tempdir().unwrap();
    let logs = logs(&folder);
    let mut a = logs.begin(&name(), &life("a")).await;
    a.take(b"before\n").await;
    let (before, mut follower) = logs.follow(&name(), &LogQuery::default()).await.unwrap();
    a.take(b"one\ntwo\nhalf").await;
    a.end("exited".to_owned()).await;
    drop(a);
    let mut b = logs.begin(&name(), &life("b")).await;
    b.take(b"three\n").await;
    drop(b);
    let mut seen: Vec<LogLine> = before;
    while seen.last().is_none_or(|line| line.text != "three") {
        seen.extend(follower.next().await.unwrap().iter().cloned());
    }
    let kept = logs.read(&name(), &LogQuery::default()).await.unwrap();
    let short = |lines: &[LogLine]| -> Vec<(LogKind, String)> {
        lines.iter().map(|line| (line.kind, line.text.clone())).collect()
    };
    assert_eq!(short(&seen), short(&kept));
}

/// Promise P7: who does not read is dropped, and places come back.
#[tokio::test]
async fn followers_are_bounded_and_slow_ones_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let logs = logs(&folder);
    let query = LogQuery::default();
    let mut all = vec![];
    for _ in 0..FOLLOWERS {
        all.push(logs.follow(&name(), &query).await.unwrap().1);
    }
    assert!(matches!(logs.follow(&name(), &query).await, Err(LogError::TooMany)));
    // Who leaves gives the place back, without a line being written.
    all.pop();
    all.push(logs.follow(&name(), &query).await.unwrap().1);
    let mut log = logs.begin(&name(), &life("a")).await;
    for _ in 0..2 * BEHIND {
        log.take(b"line\n").await;
    }
    // Nobody has read: all are dropped, and their places are free although they still hold their ends.
    let fresh = logs.follow(&name(), &query).await.unwrap().1;
    let mut slow = all.pop().unwrap();
    let mut read = 0;
    while let Some(lines) = slow.next().await {
        read += lines.len();
    }
    assert_eq!(read, BEHIND);
    drop(fresh);
}
