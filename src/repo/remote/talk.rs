//! Asking the process that talks to the remote, and giving it up where it says nothing any more.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::{Instant, timeout};
use tokio_util::codec::{FramedRead, LinesCodec};

use super::order::{Answer, Order, Told};

/// The longest line of the process, in bytes.
const LONGEST_LINE: usize = 64 << 10;

/// How long a remote may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest time without a word.
    pub silence: Duration,
    /// The longest time in all.
    pub whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(45),
            whole: Duration::from_hours(1),
        }
    }
}

/// How the process is started.
#[derive(Debug, Clone)]
pub(super) struct Talk {
    /// The program and its leading arguments.
    pub program: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    pub limits: Limits,
}

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    pub objects: usize,
    pub of: usize,
    pub bytes: usize,
}

impl Talk {
    /// Has an order carried out. When this is dropped the process ends.
    ///
    /// Whatever goes wrong is [`Answer::Failed`], and of a push then nobody knows whether it landed.
    pub async fn ask(&self, order: &Order, heard: impl FnMut(Progress)) -> Answer {
        match timeout(self.limits.whole, self.asked(order, heard)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(text)) => Answer::Failed(text),
            Err(_) => Answer::Failed(format!("it took longer than {} s", self.limits.whole.as_secs())),
        }
    }

    async fn asked(&self, order: &Order, mut heard: impl FnMut(Progress)) -> Result<Answer, String> {
        let (program, arguments) = self.program.split_first().ok_or("there is no program to ask")?;
        let broken = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(broken("the process that talks to the remote can't be started"))?;
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the process that talks to the remote has no pipes".to_owned());
        };
        let mut text = serde_json::to_vec(order).map_err(|error| error.to_string())?;
        text.push(b'\n');
        input
            .write_all(&text)
            .await
            .map_err(broken("the process that talks to the remote does not listen"))?;
        let mut lines = FramedRead::new(output, LinesCodec::new_with_max_length(LONGEST_LINE));
        let began = Instant::now();
        loop {
            let line = match timeout(self.limits.silence, lines.next()).await {
                Err(_) => {
                    return Err(format!(
                        "the remote said nothing for {} s",
                        self.limits.silence.as_secs()
                    ));
                }
                Ok(None) => return Err("the process that talks to the remote ended without an answer".to_owned()),
                Ok(Some(Err(error))) => return Err(error.to_string()),
                Ok(Some(Ok(line))) => line,
            };
            match serde_json::from_str(&line) {
                Ok(Told::Progress { objects, of, bytes }) => heard(Progress { objects, of, bytes }),
                Ok(Told::Done(answer)) => {
                    tracing::debug!(elapsed = ?began.elapsed(), ?answer, "the remote answered");
                    drop(input);
                    // It has nothing left to do; one that stays is ended.
                    let _ = timeout(Duration::from_secs(1), child.wait()).await;
                    return Ok(answer);
                }
                Err(_) => return Err("the process that talks to the remote can't be understood".to_owned()),
            }
        }
    }
}
