//! The lists that a server may have, as data: what reads, merges and shows one of them serves them all.

use std::collections::HashSet;
use std::ops::{Deref, Range};
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::record::{Capability, Counts};

use super::definition::Definition;
use super::envelope::{Fault, members, place_of, text_of};
use super::headers::{self, Annotations};

/// One of the lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// What can be called.
    Tools,
    /// What can be read.
    Resources,
    /// The patterns of what can be read too.
    Templates,
    /// What can be said to a model.
    Prompts,
}

impl Kind {
    /// All of them, in the order in which they are read.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Resources, Self::Templates, Self::Prompts];

    /// The method that lists them.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
            Self::Prompts => "prompts/list",
        }
    }

    /// The kind that a method lists.
    #[must_use]
    pub fn listed_by(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.method() == method)
    }

    /// The member of the answer that holds the list; also what they are called in sentences.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
            Self::Prompts => "prompts",
        }
    }

    /// The member of an entry that tells it from the others.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    /// What a server that has such a list declares.
    #[must_use]
    pub fn capability(self) -> Capability {
        match self {
            Self::Tools => Capability::Tools,
            Self::Resources | Self::Templates => Capability::Resources,
            Self::Prompts => Capability::Prompts,
        }
    }

    /// The notification that says that such a list changed.
    #[must_use]
    pub fn changed(self) -> &'static str {
        match self {
            Self::Tools => "notifications/tools/list_changed",
            Self::Resources | Self::Templates => "notifications/resources/list_changed",
            Self::Prompts => "notifications/prompts/list_changed",
        }
    }
}

/// A value for each kind of list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Each<T>([T; 4]);

impl<T> Each<T> {
    /// Made by kind, in their order.
    pub fn new(make: impl FnMut(Kind) -> T) -> Self {
        Self(Kind::ALL.map(make))
    }

    /// That of one kind.
    pub fn of(&self, kind: Kind) -> &T {
        &self.0[kind as usize]
    }

    /// That of one kind, to change.
    pub fn of_mut(&mut self, kind: Kind) -> &mut T {
        &mut self.0[kind as usize]
    }
}

/// An entry as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What tells it from the others: a name or a URI.
    pub key: String,
    /// Its JSON text.
    pub text: String,
    /// Where in `text` the JSON text of the key stands.
    pub key_at: Range<usize>,
    /// Of a tool, what it promises.
    pub definition: Option<Definition>,
}

impl Entry {
    /// Reads an entry as far as its key; nothing where it has none.
    #[must_use]
    pub fn read(kind: Kind, text: &str) -> Option<Self> {
        let key: &RawValue = members(text, [kind.key()]).ok()?[0]?;
        let key_at = place_of(text, key.get());
        let key = text_of(key).filter(|key| !key.is_empty())?.into_owned();
        Some(Self {
            key,
            text: text.to_owned(),
            key_at,
            definition: (kind == Kind::Tools).then(|| Definition::of(text)),
        })
    }

    /// The JSON text of its key.
    #[must_use]
    pub fn own_key(&self) -> &str {
        &self.text[self.key_at.clone()]
    }
}

/// How long a list may be kept by who reads it, and for whom: what a server of the modern era says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// In milliseconds; 0 where nothing is said.
    pub ttl_ms: u64,
    /// Whether it is the same for everybody.
    pub public: bool,
}

impl Freshness {
    /// That of what never changes and is no secret: the list of a server that has no such list.
    pub const ALWAYS: Self = Self {
        ttl_ms: u64::MAX,
        public: true,
    };

    /// The least of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            ttl_ms: self.ttl_ms.min(other.ttl_ms),
            public: self.public && other.public,
        }
    }

    fn said(ttl: Option<&RawValue>, scope: Option<&RawValue>) -> Self {
        Self {
            // What is no whole number, or a negative one, is as if nothing had been said.
            ttl_ms: ttl.and_then(|ttl| ttl.get().parse().ok()).unwrap_or(0),
            public: scope.and_then(text_of).is_some_and(|scope| scope == "public"),
        }
    }
}

impl Default for Freshness {
    fn default() -> Self {
        Self::ALWAYS
    }
}

/// One list of one server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    /// Its entries, in the server's order.
    pub entries: Vec<Entry>,
    /// How long it may be kept.
    pub freshness: Freshness,
}

impl Deref for List {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        &self.entries
    }
}

impl From<Vec<Entry>> for List {
    fn from(entries: Vec<Entry>) -> Self {
        Self {
            entries,
            freshness: Freshness::ALWAYS,
        }
    }
}

impl Entry {
    /// The arguments of a tool that headers repeat (`x-mcp-header`), where there are any.
    ///
    /// # Errors
    /// The tool says so in a way that breaks the rules.
    pub fn annotations(&self) -> Result<Option<Annotations>, headers::Invalid> {
        // Most tools have none, and need no second look.
        if memchr::memmem::find(self.text.as_bytes(), b"x-mcp-header").is_none() {
            return Ok(None);
        }
        let schema = members(&self.text, ["inputSchema"]).ok().and_then(|[schema]| schema);
        schema.map_or(Ok(None), Annotations::of)
    }
}

impl List {
    /// The list without the tools that a client over HTTP must not offer (2026-07-28, Custom Headers from Tool Parameters),
    /// and what is wrong with each; nothing where all may be offered.
    #[must_use]
    pub fn without_invalid(&self) -> Option<(Self, Vec<String>)> {
        let mut wrong = vec![];
        let mut kept = self.clone();
        kept.entries.retain(|entry| match entry.annotations() {
            Ok(_) => true,
            Err(invalid) => {
                wrong.push(format!("{}: {invalid}", entry.key));
                false
            }
        });
        (!wrong.is_empty()).then_some((kept, wrong))
    }
}

/// What a server lists, by kind.
pub type Lists = Each<Arc<List>>;

impl Lists {
    /// How many there are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            tools: self.of(Kind::Tools).len(),
            resources: self.of(Kind::Resources).len(),
            prompts: self.of(Kind::Prompts).len(),
        }
    }
}

/// A list while its pages come in.
pub(super) struct Gathered {
    kind: Kind,
    keys: HashSet<String>,
    bytes: usize,
    pub(super) list: List,
}

impl Gathered {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            keys: HashSet::new(),
            bytes: 0,
            list: List::default(),
        }
    }

    /// Takes the result of one page; gives the cursor of the next. An entry without a key is left out, as is one whose key
    /// another has: one bad entry costs the server no other.
    pub(super) fn take(&mut self, page: &str) -> Result<Option<String>, Fault> {
        let [entries, cursor, ttl, scope] = members(page, [self.kind.field(), "nextCursor", "ttlMs", "cacheScope"])?;
        let entries = entries.ok_or(Fault::Invalid("the list is missing"))?;
        let entries: Vec<&RawValue> =
            serde_json::from_str(entries.get()).map_err(|_| Fault::Invalid("the list is no list"))?;
        for entry in entries {
            self.bytes += entry.get().len();
            self.list
                .entries
                .extend(Entry::read(self.kind, entry.get()).filter(|entry| self.keys.insert(entry.key.clone())));
        }
        self.list.freshness = self.list.freshness.and(Freshness::said(ttl, scope));
        Ok(cursor.and_then(text_of).map(std::borrow::Cow::into_owned))
    }

    /// Whether there is more than is kept of one server.
    pub(super) fn is_too_much(&self, most: usize, bytes: usize) -> bool {
        self.list.len() > most || self.bytes > bytes
    }
}
