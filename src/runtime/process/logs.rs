//! What servers write to stderr: kept by line, bounded, in one file an instance.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use crate::record::InstanceName;

/// The longest piece of a line; a longer line is kept in pieces.
const LINE: usize = 8 * 1024;
/// The longest last line that is told with an ending, in characters.
const TOLD: usize = 500;
/// A file is turned when it would grow beyond this; with the one before it at most 1 MiB is kept.
const HALF: u64 = 512 * 1024;

/// The log files of all instances.
#[derive(Debug)]
pub(super) struct Logs {
    folder: PathBuf,
    /// The lives of an instance share its file, so that its bound holds.
    open: Mutex<BTreeMap<InstanceName, Weak<tokio::sync::Mutex<LogFile>>>>,
}

/// One instance's file.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: Option<(File, u64)>,
}

impl Logs {
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            open: Mutex::default(),
        }
    }

    /// The file of an instance; it is opened when the first line comes.
    pub fn of(&self, instance: &InstanceName) -> Arc<tokio::sync::Mutex<LogFile>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(instance).and_then(Weak::upgrade) {
            return file;
        }
        open.retain(|_, file| file.strong_count() > 0);
        let file = Arc::new(tokio::sync::Mutex::new(LogFile {
            path: self.path(instance),
            file: None,
        }));
        open.insert(instance.clone(), Arc::downgrade(&file));
        file
    }

    fn path(&self, instance: &InstanceName) -> PathBuf {
        self.folder.join(format!("{}-{}.log", instance.server, instance.index))
    }

    /// The last whole lines, at most `bytes`.
    pub async fn tail(&self, instance: &InstanceName, bytes: usize) -> io::Result<String> {
        let path = self.path(instance);
        let mut text = read(&turned(&path)).await?;
        text.extend(read(&path).await?);
        let mut start = text.len().saturating_sub(bytes);
        if start > 0 && text[start - 1] != b'\n' {
            start = text[start..]
                .iter()
                .position(|b| *b == b'\n')
                .map_or(text.len(), |at| start + at + 1);
        }
        Ok(String::from_utf8_lossy(&text[start..]).into_owned())
    }
}

async fn read(path: &Path) -> io::Result<Vec<u8>> {
    match tokio::fs::read(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        other => other,
    }
}

fn turned(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

impl LogFile {
    async fn append(&mut self, text: &str) -> io::Result<()> {
        let grown = text.len() as u64;
        if self.file.as_ref().is_some_and(|(_, size)| size + grown > HALF) {
            self.file = None;
            tokio::fs::rename(&self.path, turned(&self.path)).await?;
        }
        if self.file.is_none() {
            if let Some(folder) = self.path.parent() {
                tokio::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(folder)
                    .await?;
            }
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&self.path)
                .await?;
            let size = file.metadata().await?.len();
            self.file = Some((file, size));
        }
        if let Some((file, size)) = &mut self.file {
            file.write_all(text.as_bytes()).await?;
            file.flush().await?;
            *size += grown;
        }
        Ok(())
    }
}

/// Reads stderr to its end; what is not read would stop the server. Keeps the head of the last line that says something.
pub(super) async fn follow(
    mut stderr: impl AsyncRead + Unpin,
    log: Arc<tokio::sync::Mutex<LogFile>>,
    last_line: Arc<Mutex<Option<String>>>,
) {
    let mut chunk = vec![0; LINE];
    let mut line: Vec<u8> = vec![];
    let mut continued = false;
    let mut told = false;
    loop {
        let count = match stderr.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        let mut text = String::new();
        for byte in &chunk[..count] {
            let ends = matches!(byte, b'\n' | b'\r');
            if !ends {
                line.push(*byte);
            }
            if ends || line.len() >= LINE {
                keep(&mut line, continued, &mut text, &last_line);
                continued = !ends;
            }
        }
        write(&log, &text, &mut told).await;
    }
    let mut text = String::new();
    keep(&mut line, continued, &mut text, &last_line);
    write(&log, &text, &mut told).await;
}

async fn write(log: &tokio::sync::Mutex<LogFile>, text: &str, told: &mut bool) {
    if text.is_empty() {
        return;
    }
    let mut log = log.lock().await;
    if let Err(error) = log.append(text).await
        && !std::mem::replace(told, true)
    {
        tracing::warn!(path = %log.path.display(), %error, "cannot write a server's log");
    }
}

fn keep(line: &mut Vec<u8>, continued: bool, text: &mut String, last_line: &Mutex<Option<String>>) {
    let clean = clean(line);
    line.clear();
    if clean.is_empty() {
        return;
    }
    if !continued {
        let head = clean.chars().take(TOLD).collect();
        *last_line.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
    }
    text.push_str(&clean);
    text.push('\n');
}

/// Text without escape sequences and control characters, as it may reach a terminal.
fn clean(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => match rest.next() {
                // A control sequence ends with its first letter (or @[\]^_`{|}~).
                Some('[') => while rest.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                // An operating system command ends with BEL or ESC \.
                Some(']') => {
                    while let Some(c) = rest.next() {
                        if c == '\u{7}' || (c == '\u{1b}' && rest.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                _ => {}
            },
            '\t' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> InstanceName {
        "time/0".parse().unwrap()
    }

    async fn fed(logs: &Logs, text: &[u8]) -> Option<String> {
        let last = Arc::default();
        follow(text, logs.of(&name()), Arc::clone(&last)).await;
        let last = last.lock().unwrap();
        last.clone()
    }

    #[tokio::test]
    async fn the_last_line_that_says_something_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(folder.path().join("logs"));
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

    #[tokio::test]
    async fn a_log_is_bounded_and_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(folder.path().join("logs"));
        assert_eq!(logs.tail(&name(), 100).await.unwrap(), "");
        let line = format!("{}\n", "x".repeat(999));
        for n in 0..4 {
            let text = format!("{}last {n}\n", line.repeat(1_000));
            fed(&logs, text.as_bytes()).await;
        }
        assert_eq!(logs.tail(&name(), 12).await.unwrap(), "last 3\n");
        assert!(
            logs.tail(&name(), 600_000).await.unwrap().len() > 590_000,
            "the file before is read too"
        );
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
}
