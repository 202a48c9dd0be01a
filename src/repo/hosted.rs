//! The bare repository that mcpd hosts, and the pushes to it that are under way.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::Principal;

use super::bare::{Bare, lock};
use super::hooks::PushJudge;

/// A bare repository in the data folder that is pushed to through mcpd. Clones share it.
#[derive(Clone)]
pub struct Hosted(pub(super) Arc<Inner>);

pub(super) struct Inner {
    /// The data folder, absolute.
    pub data: PathBuf,
    /// The repository, in the data folder.
    pub bare: Bare,
    /// The hooks' socket.
    pub socket: PathBuf,
    /// Where git's processes look for programs.
    pub search_path: std::ffi::OsString,
    /// The hooks' listener, until [`Hosted::serve_hooks`] takes it.
    pub listener: Mutex<Option<std::os::unix::net::UnixListener>>,
    /// The pushes under way, by their id.
    pub pushes: Mutex<HashMap<String, UnderWay>>,
    /// Who judges them.
    pub judge: Mutex<Option<Arc<dyn PushJudge>>>,
    /// How many `http-backend` processes may work.
    pub processes: Arc<Semaphore>,
    /// How many may, besides, only show what becomes of an accepted push.
    pub watching: Arc<Semaphore>,
}

/// A push that is under way.
pub(super) struct UnderWay {
    /// Whose it is.
    pub principal: Principal,
    /// Its right to a process.
    pub permit: Option<OwnedSemaphorePermit>,
}

impl Inner {
    /// A push that was accepted may wait for its servers for an hour: that must not keep others from pushing.
    pub fn only_watches(&self, push_id: &str) {
        let watching = Arc::clone(&self.watching).try_acquire_owned();
        if let (Ok(watching), Some(push)) = (watching, lock(&self.pushes).get_mut(push_id)) {
            push.permit = Some(watching);
        }
    }
}

impl Hosted {
    /// Whether a push is still under way: the process that serves it lives.
    #[must_use]
    pub fn is_under_way(&self, push_id: &str) -> bool {
        lock(&self.0.pushes).contains_key(push_id)
    }

    /// What serving a push begins with, for tests of judges.
    #[cfg(test)]
    pub fn begin_push(&self, push_id: &str, principal: &Principal) {
        let under_way = UnderWay {
            principal: principal.clone(),
            permit: None,
        };
        lock(&self.0.pushes).insert(push_id.to_owned(), under_way);
    }

    /// What serving a push ends with, for tests of judges.
    #[cfg(test)]
    pub fn end_push(&self, push_id: &str) {
        lock(&self.0.pushes).remove(push_id);
    }
}

impl std::fmt::Debug for Hosted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hosted({})", self.0.bare.0.git_folder.display())
    }
}

impl std::ops::Deref for Hosted {
    type Target = Bare;

    fn deref(&self) -> &Bare {
        &self.0.bare
    }
}

impl Inner {
    pub fn new(data: PathBuf, writer: &str, listener: std::os::unix::net::UnixListener) -> Self {
        Self {
            bare: Bare::new(data.join("config.git"), writer, ""),
            socket: data.join("hook.sock"),
            data,
            search_path: std::env::var_os("PATH").unwrap_or_default(),
            listener: Mutex::new(Some(listener)),
            pushes: Mutex::default(),
            judge: Mutex::default(),
            processes: Arc::new(Semaphore::new(32)),
            watching: Arc::new(Semaphore::new(128)),
        }
    }
}
