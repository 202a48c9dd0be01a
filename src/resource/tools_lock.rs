//! `.mcpctl/tools.lock`: the tools that were approved, each by the digest of what it promises. One line a tool, sorted, so
//! that two people's approvals merge as text; who and when is in the log of git.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::kit::{Diagnostic, Digest, Name, Position};

/// Where it stands, from the repository's root.
pub const TOOLS_LOCK: &str = ".mcpctl/tools.lock";

/// What a digest is written with.
const SHA256: &str = "sha256:";
/// What stands above it.
const HEAD: &str = "# Tools that were approved (mcpctl approve tool). Where a project has tools.lock: strict, a tool is shown\n\
                    # only while its name, description, schemas and annotations have the digest that stands here.\n";

/// The tools that were approved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolsLock {
    servers: BTreeMap<Name, BTreeMap<String, Digest>>,
}

impl ToolsLock {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// What is wrong with it, and where. A tool that stands there twice is an error too.
    pub fn parse(text: &str, file: &str) -> Result<Self, Box<Diagnostic>> {
        let hint = "restore the file from git, or take it out and approve the tools anew: mcpctl approve tool";
        if text.contains('\0') {
            let fault = Diagnostic::of_file(file, "the tools' lock is no plain text file of at most 1 MiB");
            return Err(Box::new(fault.hint(hint)));
        }
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let read: File = serde_yaml::from_str(text).map_err(|error| {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            let fault = match error.location() {
                Some(at) => {
                    let place = Position {
                        line: u32::try_from(at.line()).unwrap_or(0),
                        column: u32::try_from(at.column()).unwrap_or(0),
                    };
                    Diagnostic::at(file, text, place, 1, message)
                }
                None => Diagnostic::of_file(file, message),
            };
            Box::new(fault.hint(hint))
        })?;
        if read.version != 1 {
            let message = format!("version {} of the tools' lock is not known; version 1 is", read.version);
            return Err(Box::new(Diagnostic::of_file(file, message).hint(hint)));
        }
        let tools = |Unique(tools): Unique<String, Written>| {
            let tools = tools.into_iter();
            tools.map(|(tool, Written(digest))| (tool, digest)).collect()
        };
        let servers = read.servers.0.into_iter().map(|(name, of)| (name, tools(of)));
        Ok(Self {
            servers: servers.collect(),
        })
    }

    /// The text of the file.
    #[must_use]
    pub fn print(&self) -> String {
        #[derive(Serialize)]
        struct File {
            version: u32,
            servers: BTreeMap<String, BTreeMap<String, String>>,
        }
        let tools = |(name, of): (&'_ Name, &'_ BTreeMap<String, Digest>)| {
            let written = of
                .iter()
                .map(|(tool, digest)| (tool.clone(), format!("{SHA256}{digest}")));
            (name.to_string(), written.collect())
        };
        let file = File {
            version: 1,
            servers: self.servers.iter().map(tools).collect(),
        };
        let body = serde_yaml::to_string(&file).unwrap_or_default();
        format!("{HEAD}{body}")
    }

    /// The digest that a server's tool was approved with.
    #[must_use]
    pub fn approved(&self, server: &Name, tool: &str) -> Option<Digest> {
        self.servers.get(server)?.get(tool).copied()
    }

    /// Notes that a server's tool is approved as it has this digest.
    pub fn approve(&mut self, server: &Name, tool: &str, digest: Digest) {
        self.servers
            .entry(server.clone())
            .or_default()
            .insert(tool.to_owned(), digest);
    }

    /// Whether nothing was approved.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Whether both say the same of these servers.
    pub fn agrees<'a>(&self, other: &Self, servers: impl IntoIterator<Item = &'a Name>) -> bool {
        let mut servers = servers.into_iter();
        servers.all(|name| self.servers.get(name) == other.servers.get(name))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    servers: Unique<Name, Unique<String, Written>>,
}

/// A digest as it stands in the file.
struct Written(Digest);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digest = text.strip_prefix(SHA256).and_then(|digits| digits.parse().ok());
        let wanted = || D::Error::custom(format!("no digest: {SHA256} and 64 hex digits are needed"));
        digest.map(Self).ok_or_else(wanted)
    }
}

/// A mapping that gives no key twice: of two approvals nobody could tell which one counts.
struct Unique<K, V>(BTreeMap<K, V>);

impl<K, V> Default for Unique<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, K: DeserializeOwned + Ord + fmt::Display, V: DeserializeOwned> Deserialize<'de> for Unique<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each<K, V>(PhantomData<(K, V)>);
        impl<'de, K: DeserializeOwned + Ord + fmt::Display, V: DeserializeOwned> Visitor<'de> for Each<K, V> {
            type Value = Unique<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Unique::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = BTreeMap::new();
                while let Some(key) = map.next_key::<K>()? {
                    if all.contains_key(&key) {
                        return Err(A::Error::custom(format!("{key} stands here twice")));
                    }
                    all.insert(key, map.next_value()?);
                }
                Ok(Unique(all))
            }
        }
        deserializer.deserialize_any(Each(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str = ".mcpctl/tools.lock";

    #[test]
    fn it_is_read_or_its_place_is_told() {
        let digest = Digest::of("x");
        let good = format!("version: 1\nservers:\n  time:\n    now: sha256:{digest}\n");
        let lock = ToolsLock::parse(&good, FILE).unwrap();
        let time: Name = "time".parse().unwrap();
        assert_eq!(lock.approved(&time, "now"), Some(digest));
        assert_eq!(lock.approved(&time, "later"), None);
        assert_eq!(lock.print(), format!("{HEAD}{good}"));
        assert!(ToolsLock::parse("", FILE).unwrap().is_empty());
        assert!(ToolsLock::parse("version: 1\nservers:\n", FILE).unwrap().is_empty());
        for (text, place, message) in [
            (good.replace("sha256:", "md5:"), ".mcpctl/tools.lock:4:", "no digest"),
            (
                format!("{good}    now: sha256:{digest}\n"),
                ".mcpctl/tools.lock:4:",
                "now stands here twice",
            ),
            (good.replace("time", "TIME"), ".mcpctl/tools.lock:3:", "is not a name"),
            (
                good.replace("version: 1", "version: 2"),
                ".mcpctl/tools.lock",
                "version 2",
            ),
            (
                format!("{good}more: 1\n"),
                ".mcpctl/tools.lock:5:",
                "unknown field `more`",
            ),
            ("<<<<<<< HEAD\n".to_owned(), ".mcpctl/tools.lock:1:", ""),
            ("\0".to_owned(), ".mcpctl/tools.lock", "no plain text"),
        ] {
            let fault = ToolsLock::parse(&text, FILE).unwrap_err();
            assert!(fault.place().starts_with(place), "{text}: {fault}");
            assert!(fault.message.contains(message), "{text}: {fault}");
            assert!(fault.hint.is_some());
        }
    }

    proptest! {
        /// Whatever a tool is called: the file says it again.
        #[test]
        fn what_is_printed_reads_back(all in prop::collection::vec(("[a-z0-9]{1,4}", any::<String>()), 0..20)) {
            let mut lock = ToolsLock::default();
            for (server, tool) in &all {
                // A text with a NUL is none of YAML's, and no approval can be written for such a tool.
                let tool = tool.replace('\0', "");
                lock.approve(&server.parse().unwrap(), &tool, Digest::of(&tool));
            }
            prop_assert_eq!(ToolsLock::parse(&lock.print(), FILE).unwrap(), lock);
        }
    }
}
