//! A folder as a push of it would be seen: the commit that git would make of everything in it, made in memory and read by
//! the readers of a push. Nothing is written, and no branch, index or object of the folder's own repository is touched.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::{Odb, Oid, Repository};

use crate::resource::yaml::ParsedFile;

use crate::resource::TOOLS_LOCK;

use super::error::{RepoError, at, git};
use super::history::{Files, LARGEST, NewFile};
use super::read;
use super::reading::{Place, Reading};
use super::{MOST_RECIPIENTS, RECIPIENTS, Snapshot};

/// What mcpctl dev keeps in a folder.
const LOCAL: &str = ".mcpctl/local";
/// The deepest nesting of folders, as in a push.
const DEEPEST: usize = 256;
/// The most files and folders that are taken.
const MOST_ENTRIES: usize = 200_000;
/// The most bytes that are held at once: the commit is made in memory.
const MOST_BYTES: u64 = 1 << 30;
const GITLINK: i32 = 0o160_000;
const FOLDER: i32 = 0o040_000;
const FILE: i32 = 0o100_644;
const LINK: i32 = 0o120_000;

/// What a folder holds, as a push of it would bring it.
#[derive(Debug)]
pub struct AsPushed {
    /// What it declares.
    pub snapshot: Snapshot,
    /// Its files of declarations, one by one, in order of path.
    pub files: Vec<Arc<ParsedFile>>,
    /// Where it stands in the repository that it is part of, as `deploy/mcp/`; empty where it is the whole.
    pub below: String,
}

/// Reads a folder. Every file that a push would bring, declarations or not, is handed to `each` in the order of a push.
///
/// What git would not push is not looked at: `.git`, what is ignored and not tracked, and what mcpctl dev keeps there.
///
/// # Errors
/// Something can't be read, or there is more than a push may bring.
pub fn as_pushed(root: &Path, mut each: impl FnMut(&NewFile)) -> Result<AsPushed, RepoError> {
    let root = &root.canonicalize().map_err(at("looked at", root))?;
    let objects = Odb::new().map_err(git(MEMORY))?;
    objects.add_new_mempack_backend(1000).map_err(git(MEMORY))?;
    let repository = Repository::from_odb(objects).map_err(git(MEMORY))?;
    let rules = Rules::of(root)?;
    let below = rules.below.clone();
    let mut taking = Taking {
        repository: &repository,
        rules,
        entries: 0,
        bytes: 0,
    };
    let id = match taking.folder(root, "", 0)? {
        Some(id) => id,
        None => repository
            .treebuilder(None)
            .and_then(|builder| builder.write())
            .map_err(git(MEMORY))?,
    };
    let tree = repository.find_tree(id).map_err(git(MEMORY))?;
    let mut files = Files::new(&repository);
    for (path, id) in files.new_in(&tree)? {
        each(&NewFile {
            path,
            commit: String::new(),
            bytes: files.bytes(id)?,
        });
    }
    // A further handle on what is in this memory alone can't be had: one thread reads all of it.
    let alone = || Err(RepoError::Stopped);
    let place = Place { top: &tree, within: "" };
    let (reading, _) = Reading::default().next(&repository, &place, &tree, &Reading::default(), &alone)?;
    Ok(AsPushed {
        snapshot: Snapshot {
            recipients: read::small_file(&repository, &tree, RECIPIENTS, MOST_RECIPIENTS)?,
            tools_lock: read::small_file(&repository, &tree, TOOLS_LOCK, super::MOST_TOOLS_LOCK)?,
            ..Snapshot::new(None, Arc::clone(reading.assembly.tree()))
        },
        files: reading.parsed(),
        below,
    })
}

/// The root of the repository that a file or folder stands in: the nearest folder above with `.mcpctl` or `.git` in it;
/// where there is none, nothing.
#[must_use]
pub fn root_above(path: &Path) -> Option<PathBuf> {
    let mut folders = path.ancestors();
    folders
        .find(|folder| folder.join(".mcpctl").is_dir() || folder.join(".git").exists())
        .map(Path::to_owned)
}

/// Whether a repository begins at this folder or above it.
#[must_use]
pub fn is_in_a_repository(folder: &Path) -> bool {
    folder.ancestors().any(|folder| folder.join(".git").exists())
}

/// Makes an empty repository of a folder, with a branch called main.
pub fn begin(folder: &Path) -> Result<(), RepoError> {
    let mut options = git2::RepositoryInitOptions::new();
    options.initial_head("main").no_reinit(true);
    Repository::init_opts(folder, &options)
        .map(drop)
        .map_err(git("making a repository"))
}

/// What is said to be done where something in memory fails.
const MEMORY: &str = "putting the folder's files together";

/// What git would take of a folder.
struct Rules {
    /// What knows what is ignored: the repository that the folder is in, or an empty one laid over it.
    repository: Repository,
    below: String,
    /// What is tracked, files and the folders above them, from the repository's root. It is taken even where it is ignored.
    tracked: HashSet<Vec<u8>>,
}

impl Rules {
    fn of(root: &Path) -> Result<Self, RepoError> {
        let found = Repository::discover(root).ok().and_then(|repository| {
            let above = repository.workdir()?.canonicalize().ok()?;
            let below = root.strip_prefix(above).ok()?.to_str()?.to_owned();
            Some((repository, below))
        });
        let Some((repository, below)) = found else {
            // No repository is needed to mean what a .gitignore says.
            let repository = Repository::from_odb(Odb::new().map_err(git(MEMORY))?).map_err(git(MEMORY))?;
            repository.set_workdir(root, false).map_err(git(MEMORY))?;
            return Ok(Self {
                repository,
                below: String::new(),
                tracked: HashSet::new(),
            });
        };
        let mut tracked = HashSet::new();
        if let Ok(index) = repository.index() {
            for entry in index.iter() {
                let mut path = entry.path.as_slice();
                // Folders that were met have met theirs.
                while tracked.insert(path.to_owned()) {
                    match path.iter().rposition(|byte| *byte == b'/') {
                        Some(slash) => path = &path[..slash],
                        None => break,
                    }
                }
            }
        }
        Ok(Self {
            repository,
            below: if below.is_empty() { below } else { format!("{below}/") },
            tracked,
        })
    }

    /// Whether git passes over it; `path` is from the folder's root.
    fn pass_over(&self, path: &[u8]) -> bool {
        let path = [self.below.as_bytes(), path].concat();
        let ignored = self.repository.is_path_ignored(Path::new(OsStr::from_bytes(&path)));
        ignored.unwrap_or(false) && !self.tracked.contains(&path)
    }
}

/// The making of the commit's tree.
struct Taking<'r> {
    repository: &'r Repository,
    rules: Rules,
    entries: usize,
    bytes: u64,
}

impl Taking<'_> {
    /// The tree of a folder; nothing where it holds nothing that git takes.
    fn folder(&mut self, folder: &Path, path: &str, depth: usize) -> Result<Option<Oid>, RepoError> {
        if depth > DEEPEST {
            return Err(RepoError::TooDeep(path.chars().take(200).collect()));
        }
        let mut builder = self.repository.treebuilder(None).map_err(git(MEMORY))?;
        for entry in fs::read_dir(folder).map_err(at("read", folder))? {
            let entry = entry.map_err(at("read", folder))?;
            let (name, file) = (entry.file_name(), entry.path());
            let slash = if path.is_empty() { "" } else { "/" };
            let place = [path.as_bytes(), slash.as_bytes(), name.as_bytes()].concat();
            let kind = entry.file_type().map_err(at("looked at", &file))?;
            let takes = kind.is_dir() || kind.is_file() || kind.is_symlink();
            if !takes || name == ".git" || place == LOCAL.as_bytes() || self.rules.pass_over(&place) {
                continue;
            }
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                return Err(RepoError::TooManyFiles(MOST_ENTRIES));
            }
            let (id, mode) = if kind.is_dir() && file.join(".git").exists() {
                // A repository within another is a submodule to git. Which commit it is at matters to nobody here.
                let any = Oid::from_bytes(&[1; 20]).map_err(git(MEMORY))?;
                (any, GITLINK)
            } else if kind.is_dir() {
                let below = String::from_utf8_lossy(&place).into_owned();
                match self.folder(&file, &below, depth + 1)? {
                    Some(id) => (id, FOLDER),
                    None => continue,
                }
            } else if kind.is_symlink() {
                let target = fs::read_link(&file).map_err(at("read", &file))?;
                (self.blob(target.as_os_str().as_bytes())?, LINK)
            } else {
                (self.file(&file)?, FILE)
            };
            builder.insert(&*name, id, mode).map_err(git(MEMORY))?;
        }
        if builder.is_empty() {
            return Ok(None);
        }
        builder.write().map(Some).map_err(git(MEMORY))
    }

    fn file(&mut self, file: &Path) -> Result<Oid, RepoError> {
        let most = LARGEST as u64 + 1;
        let mut bytes = vec![];
        fs::File::open(file)
            .and_then(|file| file.take(most).read_to_end(&mut bytes))
            .map_err(at("read", file))?;
        if bytes.len() > LARGEST {
            // It is not looked into, only its size counts: one stands for all of them.
            bytes.fill(0);
        }
        self.blob(&bytes)
    }

    fn blob(&mut self, bytes: &[u8]) -> Result<Oid, RepoError> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        if self.bytes > MOST_BYTES {
            return Err(RepoError::TooMuch(MOST_BYTES >> 20));
        }
        self.repository.blob(bytes).map_err(git(MEMORY))
    }
}
