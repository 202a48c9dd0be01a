//! The hooks' end of the socket: what git runs, in a process of its own. It decides nothing.
//!
//! Where mcpd can't be asked, pre-receive refuses and post-receive, which only shows what happens, is content.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::hooks::{Answer, LONGEST_MESSAGE, RefUpdate, Request};

/// Where the socket is.
pub(super) const SOCKET: &str = "MCPD_HOOK_SOCKET";
/// Which push this is.
pub(super) const PUSH: &str = "MCPD_PUSH_ID";

/// The hidden subcommand `hook NAME`: `arguments` are what stands after `hook`.
#[must_use]
pub fn hook_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let hook = arguments.into_iter().next().unwrap_or_default();
    let variable = |name: &str| std::env::var_os(name);
    run(
        &hook.to_string_lossy(),
        &variable,
        &mut io::stdin().lock(),
        &mut io::stdout().lock(),
    )
    .into()
}

/// The same, with its surroundings as arguments. Gives the exit code.
pub(super) fn run(
    hook: &str,
    variable: &dyn Fn(&str) -> Option<OsString>,
    input: &mut dyn Read,
    output: &mut dyn Write,
) -> u8 {
    let before = match hook {
        "pre-receive" => true,
        "post-receive" => false,
        _ => {
            let _ = writeln!(output, "error: mcpd has no hook of that name");
            return 1;
        }
    };
    let refusal = match ask(hook, variable, input, output) {
        Ok(code) if before => return code,
        Ok(_) => return 0,
        Err(refusal) => refusal,
    };
    if before {
        let _ = writeln!(output, "error: {refusal}\nnothing was changed");
    }
    u8::from(before)
}

/// Asks mcpd, shows what it says and gives its verdict; an error is a line for people.
fn ask(
    hook: &str,
    variable: &dyn Fn(&str) -> Option<OsString>,
    input: &mut dyn Read,
    output: &mut dyn Write,
) -> Result<u8, String> {
    let text = |name: &str| variable(name).and_then(|value| value.into_string().ok());
    let (Some(socket), Some(push)) = (variable(SOCKET), text(PUSH)) else {
        return Err("mcpd is not running, or this push did not come through its address /git/config.git".into());
    };
    let mut lines = String::new();
    input
        .take(LONGEST_MESSAGE)
        .read_to_string(&mut lines)
        .map_err(|_| "the list of branches can't be read")?;
    let options = text("GIT_PUSH_OPTION_COUNT")
        .and_then(|count| count.parse().ok())
        .unwrap_or(0);
    let request = Request {
        hook: hook.to_owned(),
        push,
        quarantine: variable("GIT_QUARANTINE_PATH").map(PathBuf::from),
        options: (0..options.min(100))
            .filter_map(|n: usize| text(&format!("GIT_PUSH_OPTION_{n}")))
            .collect(),
        updates: lines
            .lines()
            .map(update)
            .collect::<Option<_>>()
            .ok_or("the list of branches can't be read")?,
    };
    let mut message = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
    message.push(b'\n');
    if message.len() as u64 > LONGEST_MESSAGE {
        return Err("too many branches in one push".into());
    }
    let gone = |_| "mcpd is not running".to_owned();
    let mut stream = connect(Path::new(&socket)).map_err(gone)?;
    stream.write_all(&message).map_err(gone)?;
    let stopped = "mcpd stopped before it decided; push again";
    for line in BufReader::new(stream).lines() {
        match line.ok().and_then(|line| serde_json::from_str(&line).ok()) {
            // A pusher who is gone does not end a push.
            Some(Answer::Line(line)) => drop(writeln!(output, "{line}").and_then(|()| output.flush())),
            Some(Answer::Exit(code)) => return Ok(code),
            None => break,
        }
    }
    Err(stopped.into())
}

/// `OLD NEW NAME`; zeros are nothing.
fn update(line: &str) -> Option<RefUpdate> {
    let commit = |text: &str| (!text.bytes().all(|byte| byte == b'0')).then(|| text.to_owned());
    let mut parts = line.splitn(3, ' ');
    Some(RefUpdate {
        old: commit(parts.next()?),
        new: commit(parts.next()?),
        name: parts.next()?.to_owned(),
    })
}

/// A socket's address is short; a deep data folder is reached by going there.
fn connect(socket: &Path) -> io::Result<UnixStream> {
    match (socket.parent(), socket.file_name()) {
        (Some(folder), Some(name)) if socket.as_os_str().len() > 100 => {
            std::env::set_current_dir(folder)?;
            UnixStream::connect(name)
        }
        _ => UnixStream::connect(socket),
    }
}
