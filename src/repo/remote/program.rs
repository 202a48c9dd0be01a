//! The process that talks to a remote by libgit2: `mcpd remote`. One order, one answer, then it ends.
//!
//! It is a process of its own because nothing else can be given up: libgit2 waits for a silent server for ever, and a thread
//! that waits in it can't be ended. Its environment holds nothing but what TLS, SSH and proxies need. It decides nothing.

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead as _, Read as _, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use git2::{
    AutotagOption, CertificateCheckStatus, Cred, CredentialType, Direction, ErrorClass, ErrorCode, FetchOptions, Oid,
    ProxyOptions, PushOptions, RemoteCallbacks, RemoteRedirect, Repository,
};

use super::hosts::{self, Pinned};
use super::order::{Answer, Order, Told, Work, clean};

/// The longest order, in bytes.
const LONGEST_ORDER: u64 = 1 << 20;
/// What is to be pushed, in the mirror: libgit2 pushes references.
const OUTGOING: &str = "refs/mcpd/outgoing";
/// How often it says that it goes on.
const PACE: Duration = Duration::from_millis(500);
/// The most of `known_hosts` that is read, in bytes.
const MOST_KNOWN_HOSTS: u64 = 4 << 20;

/// The hidden subcommand `remote`.
#[must_use]
pub fn remote_main() -> ExitCode {
    run(io::stdin(), &mut io::stdout().lock())
}

/// The same with its pipes as arguments. When `input` ends, mcpd has ended or does not want the answer any more: then this
/// process ends too, whatever it waits for.
pub(in crate::repo) fn run(input: impl io::Read + Send + 'static, output: &mut dyn Write) -> ExitCode {
    let mut input = io::BufReader::new(input);
    let mut text = String::new();
    let read = input.by_ref().take(LONGEST_ORDER).read_line(&mut text);
    let order: Order = match read.map(|_| serde_json::from_str(&text)) {
        Ok(Ok(order)) => order,
        _ => return ExitCode::from(2),
    };
    let watcher = std::thread::Builder::new().spawn(move || {
        let _ = io::copy(&mut input, &mut io::sink());
        std::process::exit(1);
    });
    if watcher.is_err() {
        return ExitCode::FAILURE;
    }
    let output = RefCell::new(output);
    let told = Cell::new(None::<Instant>);
    let tell = |objects: usize, of: usize, bytes: usize| {
        if told.get().is_none_or(|last| last.elapsed() >= PACE) {
            told.set(Some(Instant::now()));
            say(&output, &Told::Progress { objects, of, bytes });
        }
    };
    let answer = Talk {
        order: &order,
        tell: &tell,
    }
    .answer();
    if say(&output, &Told::Done(answer)) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn say(output: &RefCell<&mut dyn Write>, told: &Told) -> bool {
    let Ok(mut line) = serde_json::to_vec(told) else {
        return false;
    };
    line.push(b'\n');
    let mut output = output.borrow_mut();
    output.write_all(&line).and_then(|()| output.flush()).is_ok()
}

/// Why it does not go on.
enum Fault {
    Git(git2::Error),
    Text(String),
}

impl From<git2::Error> for Fault {
    fn from(error: git2::Error) -> Self {
        Self::Git(error)
    }
}

struct Talk<'o> {
    order: &'o Order,
    tell: &'o dyn Fn(usize, usize, usize),
}

/// What callbacks find out. libgit2 loses the words of their errors on some ways, so they are kept here.
#[derive(Default)]
struct Found {
    fault: RefCell<Option<String>>,
    /// The host key that was shown.
    key: RefCell<Option<Vec<u8>>>,
    asked: Cell<u32>,
    elsewhere: Cell<bool>,
    there: Cell<bool>,
    accepted: Cell<bool>,
    refused: RefCell<Option<String>>,
}

impl Found {
    fn fail(&self, text: impl Into<String>) -> git2::Error {
        let text = text.into();
        let error = git2::Error::new(ErrorCode::User, ErrorClass::Callback, &text);
        self.fault.borrow_mut().get_or_insert(text);
        error
    }
}

impl Talk<'_> {
    fn answer(&self) -> Answer {
        let found = Found::default();
        let done = match &self.order.work {
            Work::Fetch => self.fetch(&found).map(Answer::At),
            Work::Push { from, to } => self.push(from.as_deref(), to, &found),
        };
        match done {
            Ok(answer) => answer,
            Err(fault) => Answer::Failed(self.explain(fault, &found)),
        }
    }

    /// Words for people: what was found out before what libgit2 says.
    fn explain(&self, fault: Fault, found: &Found) -> String {
        if let Some(text) = found.fault.take() {
            return text;
        }
        match fault {
            Fault::Text(text) => text,
            Fault::Git(error) if error.code() == ErrorCode::Certificate => match &*found.key.borrow() {
                Some(key) => self.unpinned(key),
                None => format!(
                    "the certificate of {} is not trusted: {}",
                    self.order.host,
                    clean(error.message())
                ),
            },
            Fault::Git(error) => words(error.message()),
        }
    }

    fn unpinned(&self, key: &[u8]) -> String {
        let name = &self.order.host_name;
        format!(
            "the host key of {name} is not pinned: it shows {} {}. Compare that with what the host's owner publishes, and \
             pin it by a line in {}: {}",
            hosts::kind(key),
            hosts::fingerprint(key),
            self.order.known_hosts.display(),
            hosts::line(name, key)
        )
    }

    fn fetch(&self, found: &Found) -> Result<Option<String>, Fault> {
        self.is_there()?;
        let repository = Repository::open_bare(&self.order.mirror)?;
        let mut remote = repository.remote_anonymous(&self.order.address)?;
        let mut connection = remote.connect_auth(Direction::Fetch, Some(self.callbacks(found)), Some(proxy()))?;
        (self.tell)(0, 0, 0);
        let reference = &self.order.reference;
        let heads = connection.list()?;
        let Some(head) = heads
            .iter()
            .find(|head| head.name() == reference)
            .map(git2::RemoteHead::oid)
        else {
            return Ok(None);
        };
        if repository.find_commit(head).is_err() {
            let mut options = FetchOptions::new();
            options.remote_callbacks(self.callbacks(found));
            options.proxy_options(proxy());
            options.download_tags(AutotagOption::None);
            options.follow_redirects(RemoteRedirect::None);
            connection.remote().download(&[reference], Some(&mut options))?;
            drop(connection);
            let come = Repository::open_bare(&self.order.mirror)?;
            come.find_commit(head)
                .map_err(|_| Fault::Text(format!("the branch is at {head}, which is no commit that came")))?;
        }
        Ok(Some(head.to_string()))
    }

    /// libgit2 takes a folder that is gone for a kind of URL.
    fn is_there(&self) -> Result<(), Fault> {
        if self.order.host.is_empty() {
            let folder = Path::new(&self.order.address);
            std::fs::read_dir(folder).map_err(|error| Fault::Text(format!("the folder can't be read: {error}")))?;
            Repository::open(folder)
                .map_err(|error| Fault::Text(format!("it is no git repository: {}", clean(error.message()))))?;
        }
        Ok(())
    }

    fn push(&self, from: Option<&str>, to: &str, found: &Found) -> Result<Answer, Fault> {
        let (from, to) = (from.map_or(Ok(Oid::ZERO_SHA1), Oid::from_str)?, Oid::from_str(to)?);
        let repository = Repository::open_bare(&self.order.mirror)?;
        repository.reference(OUTGOING, to, true, "mcpd")?;
        if self.order.host.is_empty() {
            return self.push_here(from, to);
        }
        let reference = &self.order.reference;
        let mut callbacks = self.callbacks(found);
        // libgit2 tells what the server's branch is at; by that very commit the server compares and sets.
        callbacks.push_negotiation(|updates| {
            for update in updates {
                found.there.set(update.src() == to);
                if update.src() != from {
                    found.elsewhere.set(true);
                    return Err(git2::Error::from_str("the branch moved"));
                }
            }
            Ok(())
        });
        callbacks.push_update_reference(|_, refused| {
            match refused {
                Some(why) => *found.refused.borrow_mut() = Some(clean(why)),
                None => found.accepted.set(true),
            }
            Ok(())
        });
        callbacks.push_transfer_progress(|objects, of, bytes| (self.tell)(objects, of, bytes));
        callbacks.pack_progress(|_, objects, of| (self.tell)(objects, of, 0));
        let mut options = PushOptions::new();
        options.remote_callbacks(callbacks);
        options.proxy_options(proxy());
        // Left alone, git2 follows to any host here, whatever the mirror's settings say.
        options.follow_redirects(RemoteRedirect::None);
        let mut remote = repository.remote_anonymous(&self.order.address)?;
        let done = remote.push(&[format!("{OUTGOING}:{reference}")], Some(&mut options));
        drop(options);
        if let Some(why) = found.refused.take() {
            return Ok(Answer::Refused(why));
        }
        match done {
            _ if found.there.get() => Ok(Answer::Pushed),
            _ if found.elsewhere.get() => Ok(Answer::Elsewhere),
            Ok(()) if found.accepted.get() => Ok(Answer::Pushed),
            Ok(()) => Err(Fault::Text(
                "the remote does not say whether it took the push".to_owned(),
            )),
            Err(error) if error.code() == ErrorCode::NotFastForward => Ok(Answer::Elsewhere),
            Err(error) => Err(error.into()),
        }
    }

    /// libgit2's own push into a folder replaces the branch whatever it is at: here it is compared and set.
    fn push_here(&self, from: Oid, to: Oid) -> Result<Answer, Fault> {
        self.is_there()?;
        let target = Repository::open(&self.order.address)?;
        let reference = self.order.reference.as_str();
        let checked_out = target.find_reference("HEAD").ok();
        let checked_out = checked_out.and_then(|head| head.symbolic_target().ok().flatten().map(str::to_owned));
        if !target.is_bare() && checked_out.as_deref() == Some(reference) {
            let text = format!(
                "{} has {reference} checked out, and a push would part it from its files: give a bare repository, or \
                 have the folder watched (MCPD_WATCH)",
                self.order.address
            );
            return Ok(Answer::Refused(text));
        }
        let mirror = self.order.mirror.to_string_lossy();
        let mut options = FetchOptions::new();
        options.download_tags(AutotagOption::None);
        options.update_fetchhead(false);
        target
            .remote_anonymous(&mirror)?
            .download(&[OUTGOING], Some(&mut options))?;
        flush(target.path());
        for _ in 0..200 {
            let moved = target.reference_matching(reference, to, true, from, "mcpd");
            let Err(error) = moved else {
                flush(target.path());
                return Ok(Answer::Pushed);
            };
            match error.code() {
                ErrorCode::Locked => std::thread::sleep(Duration::from_millis(25)),
                ErrorCode::Modified | ErrorCode::NotFound | ErrorCode::Exists => {
                    let there = target.refname_to_id(reference).is_ok_and(|id| id == to);
                    return Ok(if there { Answer::Pushed } else { Answer::Elsewhere });
                }
                _ => return Err(error.into()),
            }
        }
        Err(Fault::Text("the branch is locked by another git process".to_owned()))
    }

    fn callbacks<'c>(&'c self, found: &'c Found) -> RemoteCallbacks<'c> {
        let mut callbacks = RemoteCallbacks::new();
        callbacks.credentials(move |_, _, allowed| self.credential(allowed, found));
        callbacks.certificate_check(move |certificate, _| match certificate.as_hostkey() {
            Some(key) => self.host_key(key.hostkey(), found),
            None => Ok(CertificateCheckStatus::CertificatePassthrough),
        });
        callbacks.transfer_progress(move |progress| {
            let bytes = progress.received_bytes();
            (self.tell)(progress.received_objects(), progress.total_objects(), bytes);
            if bytes > self.order.most_bytes {
                let most = self.order.most_bytes >> 20;
                *found.fault.borrow_mut() = Some(format!("the repository is larger than {most} MiB"));
            }
            bytes <= self.order.most_bytes
        });
        callbacks.sideband_progress(move |_| {
            (self.tell)(0, 0, 0);
            true
        });
        callbacks
    }

    fn credential(&self, allowed: CredentialType, found: &Found) -> Result<Cred, git2::Error> {
        let order = self.order;
        if allowed.contains(CredentialType::USERNAME) {
            return Cred::username(&order.user);
        }
        found.asked.set(found.asked.get() + 1);
        let again = found.asked.get() > 1;
        if allowed.intersects(CredentialType::SSH_KEY | CredentialType::SSH_MEMORY) {
            if again {
                return Err(found.fail(format!(
                    "{} does not let {} in with mcpd's key: add the key that mcpctl backup key prints, with the right to \
                     write",
                    order.host, order.user
                )));
            }
            let key = std::fs::read_to_string(&order.key)
                .map_err(|error| found.fail(format!("{} can't be read: {error}", order.key.display())))?;
            return Cred::ssh_key_from_memory(&order.user, None, &key, None);
        }
        if allowed.contains(CredentialType::USER_PASS_PLAINTEXT) {
            return match &order.token {
                None => Err(found.fail(format!(
                    "{} asks for a token: set MCPD_REPO_TOKEN or MCPD_REPO_TOKEN_FILE",
                    order.host
                ))),
                Some(_) if again => Err(found.fail(format!("{} refuses the token", order.host))),
                Some(token) => Cred::userpass_plaintext(&order.user, token),
            };
        }
        Err(found.fail(format!("{} asks for a way to log in that mcpd has not", order.host)))
    }

    fn host_key(&self, key: Option<&[u8]>, found: &Found) -> Result<CertificateCheckStatus, git2::Error> {
        let order = self.order;
        let Some(key) = key else {
            return Err(found.fail(format!("{} shows no host key", order.host)));
        };
        *found.key.borrow_mut() = Some(key.to_owned());
        let known = read_some(&order.known_hosts)
            .map_err(|error| found.fail(format!("{} can't be read: {error}", order.known_hosts.display())))?;
        match hosts::pinned(&known, &order.host_name, key) {
            Pinned::Yes => Ok(CertificateCheckStatus::CertificateOk),
            // Names may be hashed there, which libssh2 reads; what it does not find is refused.
            Pinned::No => Ok(CertificateCheckStatus::CertificatePassthrough),
            Pinned::Other => Err(found.fail(format!(
                "THE HOST KEY OF {} HAS CHANGED: it shows {} {}, and {} holds another one. Somebody may stand between; \
                 where the host's owner says that the key is new, replace the line there",
                order.host_name,
                hosts::kind(key),
                hosts::fingerprint(key),
                order.known_hosts.display()
            ))),
            Pinned::Revoked => Err(found.fail(format!(
                "the host key of {} is marked as revoked in {}",
                order.host_name,
                order.known_hosts.display()
            ))),
        }
    }
}

/// libgit2's words; where they are a mere status of HTTP, with what it means.
fn words(message: &str) -> String {
    let message = clean(message);
    if message.starts_with("cannot redirect") {
        return format!("{message}: mcpd does not follow to another host; give the URL of that place");
    }
    let status = message.rsplit_once("http status code: ").map(|(_, status)| status);
    let meaning = match status.and_then(|status| status.get(..3)) {
        Some("401" | "403") => "the token is missing, or has not the right to do this",
        Some("404") => "there is no such repository, or the token has no right to see it",
        Some(_) => "the server fails",
        None => return message,
    };
    format!("{message}: {meaning}")
}

fn proxy() -> ProxyOptions<'static> {
    let mut options = ProxyOptions::new();
    options.auto();
    options
}

/// A file that need not be there.
fn read_some(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    match std::fs::File::open(path) {
        Ok(file) => file.take(MOST_KNOWN_HOSTS).read_to_string(&mut text).map(|_| text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(text),
        Err(error) => Err(error),
    }
}

/// libgit2 leaves what it writes to the kernel, and a branch must not point at what a power cut takes away.
fn flush(folder: &Path) {
    if let Ok(folder) = std::fs::File::open(folder) {
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::syncfs(&folder);
        let _ = folder.sync_all();
    }
}
