//! The guard: a small process between mcpd and a server. It starts the server in a process group of its own with the
//! pipes that mcpd made, and ends the server's whole tree when it is told to, when the server ends, and when mcpd dies
//! in any way.
//!
//! It is this same program, called with a hidden word. Signals to it: TERM, INT, HUP or QUIT end the tree gently (TERM,
//! then KILL after a while), USR1 ends it at once. Its exit code is the server's, 128 + N where signal N ended it.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getppid, kill_process, kill_process_group, wait};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::{marks, table};

/// How long the tree has after TERM, while mcpd lives and can say USR1.
const ASKED: Duration = Duration::from_mins(2);
/// How long the tree has after TERM once mcpd is gone.
const ORPHANED: Duration = Duration::from_secs(5);
/// How long what a server leaves behind has after TERM.
const LEFT_BEHIND: Duration = Duration::from_secs(2);
/// How long the guard goes on killing; what then still lives hangs in the kernel.
const KILLING: Duration = Duration::from_secs(10);
/// The pace while a tree ends.
const STEP: Duration = Duration::from_millis(20);
/// The pace at which systems without a death signal look after their parent.
const WATCH: Duration = Duration::from_secs(1);

/// The guard's whole life. `arguments` follow the hidden word: mcpd's process id, the program, its arguments.
pub fn guard_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let parent = arguments
        .next()
        .and_then(|text| text.to_str()?.parse().ok())
        .and_then(Pid::from_raw);
    let (Some(parent), Some(program)) = (parent, arguments.next()) else {
        say("this word is mcpd's own: PARENT PROGRAM ARGUMENTS… are needed");
        return ExitCode::from(2);
    };
    let mut command = Command::new(&program);
    command.args(arguments).process_group(0).env_remove(marks::GUARD);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let code = runtime.and_then(|runtime| runtime.block_on(guard(parent, command)));
    match code {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&format!("cannot start {}: {error}", program.display()));
            ExitCode::from(if error.kind() == io::ErrorKind::PermissionDenied {
                126
            } else {
                127
            })
        }
    }
}

/// A line for the server's log; when nobody reads it, nothing is lost.
fn say(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}

async fn guard(parent: Pid, mut command: Command) -> io::Result<u8> {
    // Signals first: from here on none of them ends this process before its children.
    let mut gentle = [
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
        signal(SignalKind::quit())?,
    ];
    let mut at_once = signal(SignalKind::user_defined1())?;
    let mut child_ended = signal(SignalKind::child())?;
    watch_over(parent)?;
    let orphaned = || getppid() != Some(parent);
    if orphaned() {
        // mcpd died before the death signal was set: nothing was started yet.
        return Ok(128 + 15);
    }
    let child = command.spawn()?;
    let_go_of_the_pipes()?;
    let main = Pid::from_child(&child);
    let mut tree = Tree { main, status: None };
    let mut ending: Option<Instant> = None;
    let mut killing: Option<Instant> = None;
    loop {
        if !tree.reap() {
            return Ok(tree.status.unwrap_or(128 + 9));
        }
        if ending.is_none() && (tree.status.is_some() || orphaned()) {
            ending = Some(Instant::now());
            tree.signal(Signal::TERM);
        }
        if let Some(since) = ending {
            let limit = match tree.status {
                Some(_) => LEFT_BEHIND,
                None if orphaned() => ORPHANED,
                None => ASKED,
            };
            if since.elapsed() >= limit {
                killing.get_or_insert_with(Instant::now);
            }
        }
        if let Some(since) = killing {
            tree.signal(Signal::KILL);
            if since.elapsed() >= KILLING {
                return Ok(tree.status.unwrap_or(128 + 9));
            }
        }
        let pace = match (killing, ending) {
            (Some(_), _) => Some(STEP),
            (None, Some(_)) => Some(STEP * 5),
            (None, None) => (!cfg!(target_os = "linux")).then_some(WATCH),
        };
        let [terminate, interrupt, hang_up, quit] = &mut gentle;
        tokio::select! {
            _ = child_ended.recv() => {}
            _ = at_once.recv() => {
                ending.get_or_insert_with(Instant::now);
                killing.get_or_insert_with(Instant::now);
            }
            () = async { tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hang_up.recv() => {}
                _ = quit.recv() => {}
            }} => {
                if ending.is_none() {
                    ending = Some(Instant::now());
                    tree.signal(Signal::TERM);
                }
            }
            () = async { match pace {
                Some(pace) => tokio::time::sleep(pace).await,
                None => std::future::pending().await,
            }} => {}
        }
    }
}

/// The server and all that descends from it.
struct Tree {
    main: Pid,
    /// The server's own exit code, once it ended.
    status: Option<u8>,
}

impl Tree {
    /// Takes leave of every child that ended; false when there is none left.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if pid == self.main {
                        let code = match (status.exit_status(), status.terminating_signal()) {
                            (Some(code), _) => code,
                            (None, Some(signal)) => 128 + signal,
                            (None, None) => continue,
                        };
                        self.status = Some(u8::try_from(code).unwrap_or(255));
                    }
                }
                Err(Errno::INTR) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Signals everything that is left. Who is gone meanwhile is no error.
    fn signal(&self, signal: Signal) {
        // The group's number is only certain to be ours while its leader was not reaped.
        if self.status.is_none() {
            let _ = kill_process_group(self.main, signal);
        }
        for pid in table::descendants() {
            let in_group =
                self.status.is_none() && rustix::process::getpgid(Some(pid)).is_ok_and(|group| group == self.main);
            if !in_group {
                let _ = kill_process(pid, signal);
            }
        }
    }
}

/// Asks the kernel to say when mcpd dies, and to hand over what the server's processes leave behind.
#[cfg(target_os = "linux")]
fn watch_over(_parent: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

/// Elsewhere the parent is looked after once a second, and what leaves the group is not found.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "the same shape as on Linux")]
fn watch_over(_parent: Pid) -> io::Result<()> {
    Ok(())
}

/// The pipes belong to the server alone: when it closes one, mcpd shall see it.
fn let_go_of_the_pipes() -> io::Result<()> {
    let nowhere = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nowhere)?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&nowhere)?;
    Ok(())
}
