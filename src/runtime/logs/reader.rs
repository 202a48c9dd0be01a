//! Reads a server's stderr to its end: whole lines, masked before anybody sees a part of them.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::sync::CancellationToken;

use crate::record::{Life, LogKind, LogLine};

use super::{Log, Mask, line};

/// How much is read at once.
const CHUNK: usize = 8 * 1024;
/// A longer line is cut here before it is masked.
const GATHERED: usize = 256 * 1024;
/// A secret that this cuts in two must not show its first half: as much as an environment variable may be long is thrown
/// away before the cut.
const SEVERED: usize = 128 * 1024;
/// The longest line that is kept, in bytes.
const KEPT: usize = 16 * 1024;
/// The longest last line that is told with an ending, in characters.
const TOLD: usize = 500;

/// Bytes on their way to lines.
#[derive(Default)]
struct Gathering {
    line: Vec<u8>,
    /// What was beyond [`GATHERED`] in this line.
    left_out: usize,
}

/// The log of one life while it is written.
pub struct Writer {
    log: Log,
    mask: Mask,
    life: String,
    gathering: Gathering,
    last: Option<String>,
    told: bool,
}

impl Writer {
    pub(super) fn new(log: Log, mask: Mask, life: &Life) -> Self {
        Self {
            log,
            mask,
            life: line::short(life),
            gathering: Gathering::default(),
            last: None,
            told: false,
        }
    }

    /// Marks that the life begins, unless the log says already that it does: it may have been found running.
    pub(super) async fn begin(&mut self) {
        let mark = self.mark(LogKind::Began, String::new());
        let mut file = self.log.lock().await;
        if !file.all().await.is_ok_and(|lines| line::goes_on(&lines, &self.life)) {
            file.append(vec![mark], &mut self.told).await;
        }
    }

    /// Reads to the end, or until `stop` is cancelled; what is not read would stop the server. A last line without an end
    /// is kept too. May be called again for another pipe of the same life.
    pub async fn read(&mut self, mut from: impl AsyncRead + Unpin, stop: &CancellationToken) {
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                count = from.read(&mut chunk) => match count {
                    Ok(0) | Err(_) => break,
                    Ok(count) => count,
                },
            };
            self.take(&chunk[..count]).await;
        }
        self.flush().await;
    }

    /// Takes bytes as they come; whole lines go out, the rest waits.
    pub async fn take(&mut self, bytes: &[u8]) {
        let mut lines = vec![];
        let mut rest = bytes;
        while let Some(end) = memchr::memchr2(b'\n', b'\r', rest) {
            self.gather(&rest[..end]);
            lines.extend(self.line());
            rest = &rest[end + 1..];
        }
        self.gather(rest);
        self.write(lines).await;
    }

    /// What has no end yet is a line too.
    pub async fn flush(&mut self) {
        let line = self.line();
        self.write(line.into_iter().collect()).await;
    }

    /// Marks that the life ended and how: a few words without its last line.
    pub async fn end(&mut self, how: String) {
        let how = (self.mask)(&how).into_owned();
        let mark = self.mark(LogKind::Ended, clean(&how));
        self.write(vec![mark]).await;
    }

    /// The head of the last line that said something, masked.
    #[must_use]
    pub fn last_line(&self) -> Option<String> {
        self.last.clone()
    }

    fn gather(&mut self, bytes: &[u8]) {
        let room = GATHERED - self.gathering.line.len();
        let (kept, left) = bytes.split_at(bytes.len().min(room));
        self.gathering.line.extend_from_slice(kept);
        self.gathering.left_out += left.len();
    }

    /// The line that was gathered; nothing where it says nothing.
    fn line(&mut self) -> Option<LogLine> {
        let Gathering { line, left_out } = std::mem::take(&mut self.gathering);
        let raw = String::from_utf8_lossy(&line);
        // Once as it came, for values that hold control characters, and once as it is shown, for values that escape
        // sequences were mixed into.
        let mut masked = (self.mask)(&raw);
        if left_out > 0 {
            let end = masked.floor_char_boundary(masked.len().saturating_sub(SEVERED));
            masked.to_mut().truncate(end);
        }
        let once = clean(&masked);
        let mut text = (self.mask)(&once).into_owned();
        if text.is_empty() {
            return None;
        }
        if left_out > 0 || text.len() > KEPT {
            text.truncate(text.floor_char_boundary(KEPT));
            text = format!("{text}… ({} bytes in all)", line.len() + left_out);
        }
        self.last = Some(text.chars().take(TOLD).collect());
        Some(self.mark(LogKind::Line, text))
    }

    fn mark(&self, kind: LogKind, text: String) -> LogLine {
        LogLine {
            at: Some(crate::kit::time::now()),
            life: Some(self.life.clone()),
            kind,
            text,
        }
    }

    async fn write(&mut self, lines: Vec<LogLine>) {
        if !lines.is_empty() {
            let log = Arc::clone(&self.log);
            log.lock().await.append(lines, &mut self.told).await;
        }
    }
}

/// Text without escape sequences and control characters, as it may reach a terminal.
fn clean(text: &str) -> String {
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
