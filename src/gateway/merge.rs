//! What one endpoint shows: the merged list as the bytes that are sent, and where each of its names leads. Made when
//! tools or routes change, so that a call costs one look-up.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::kit::{Digest, Name};
use crate::mcp::envelope::splice;
use crate::mcp::handshake::Tool;

use super::names;

/// Where a shown name leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The server.
    pub server: Name,
    /// The JSON text of the tool's own name there.
    pub name: String,
}

/// A server with the tools that are known of it.
pub type Part = (Name, Option<Arc<Vec<Tool>>>);

/// What one endpoint shows.
#[derive(Debug)]
pub struct Table {
    /// The JSON text of the merged list.
    pub list: Bytes,
    /// The digest of the list: clients are told only where it changed.
    pub digest: Digest,
    /// Whether names are `server__tool`.
    pub prefixed: bool,
    parts: Vec<Part>,
    targets: HashMap<String, Target>,
}

impl Table {
    /// Merges in the order given: first the servers', then each server's own. An entry changes in its name alone.
    #[must_use]
    pub fn new(parts: Vec<Part>, prefixed: bool) -> Self {
        let mut list = vec![b'['];
        let mut targets = HashMap::new();
        for (server, tools) in &parts {
            for tool in tools.iter().flat_map(|tools| tools.iter()) {
                let own = &tool.entry[tool.name_at.clone()];
                let shown = if prefixed {
                    names::shown(server, &tool.name)
                } else {
                    tool.name.clone()
                };
                let quoted = if prefixed {
                    format!("\"{shown}\"")
                } else {
                    own.to_owned()
                };
                let target = Target {
                    server: server.clone(),
                    name: own.to_owned(),
                };
                // Within one server two names can only meet by forging a digest; the first one listed stays.
                if let std::collections::hash_map::Entry::Vacant(free) = targets.entry(shown) {
                    free.insert(target);
                    if list.len() > 1 {
                        list.push(b',');
                    }
                    list.extend(splice(tool.entry.as_bytes(), &[(tool.name_at.clone(), &quoted)], false));
                }
            }
        }
        list.push(b']');
        Self {
            digest: Digest::of(&list),
            list: list.into(),
            prefixed,
            parts,
            targets,
        }
    }

    /// Whether it was made of the same lists (the very same, not equal ones).
    #[must_use]
    pub fn is_of(&self, parts: &[Part]) -> bool {
        let same = |(a, x): &Part, (b, y): &Part| {
            a == b
                && match (x, y) {
                    (Some(x), Some(y)) => Arc::ptr_eq(x, y),
                    (None, None) => true,
                    _ => false,
                }
        };
        self.parts.len() == parts.len() && self.parts.iter().zip(parts).all(|(a, b)| same(a, b))
    }

    /// Where a name leads.
    #[must_use]
    pub fn target(&self, shown: &str) -> Option<&Target> {
        self.targets.get(shown)
    }

    /// The server to ask about a name that is in no list: the one of which no list is known yet.
    #[must_use]
    pub fn owner_to_be(&self, shown: &str) -> Option<&Name> {
        let owner = |server: &Name| !self.prefixed || names::server_of(shown) == Some(server.as_str());
        let unknown = self.parts.iter().filter(|(_, tools)| tools.is_none());
        unknown.map(|(server, _)| server).find(|server| owner(server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(server: &str, entries: &[&str]) -> Part {
        let tools = entries.iter().map(|entry| {
            let [name] = crate::mcp::envelope::members(entry, ["name"]).unwrap();
            let name = name.unwrap();
            Tool {
                name: crate::mcp::envelope::text_of(name).unwrap().into_owned(),
                entry: (*entry).to_owned(),
                name_at: crate::mcp::envelope::place_of(entry, name.get()),
            }
        });
        (server.parse().unwrap(), Some(Arc::new(tools.collect())))
    }

    #[test]
    fn entries_keep_every_byte_but_the_name() {
        let parts = vec![
            part(
                "time",
                &[
                    r#"{"x": 1e3, "name" : "now", "_meta":{"name":"now"}}"#,
                    r#"{"name":"a\u0062","annotations":{}}"#,
                ],
            ),
            ("none".parse().unwrap(), None),
            part("git", &[r#"{"name":"now"}"#]),
        ];
        let table = Table::new(parts.clone(), true);
        assert_eq!(
            table.list,
            r#"[{"x": 1e3, "name" : "time__now", "_meta":{"name":"now"}},{"name":"time__ab","annotations":{}},{"name":"git__now"}]"#
        );
        assert_eq!(table.target("time__ab").map(|t| &*t.name), Some(r#""a\u0062""#));
        assert_eq!(table.target("now"), None);
        assert_eq!(table.owner_to_be("none__now").map(Name::as_str), Some("none"));
        assert_eq!(table.owner_to_be("git__later"), None, "its list is known");
        assert!(table.is_of(&parts));
        assert!(!table.is_of(&[part("time", &[]), parts[1].clone(), parts[2].clone()]));
    }

    /// pitfalls.md, Upstreams: "tool names that change when a second server joins", "one bad server empties the whole
    /// tool list".
    #[test]
    fn another_server_changes_nothing_of_the_first() {
        let alone = Table::new(vec![part("time", &[r#"{"name":"now"}"#])], true);
        let bad = ("bad".parse().unwrap(), None);
        let both = Table::new(vec![part("time", &[r#"{"name":"now"}"#]), bad], true);
        assert_eq!(alone.list, both.list);
        assert_eq!(alone.digest, both.digest);
    }

    #[test]
    fn one_server_alone_keeps_its_names() {
        let table = Table::new(vec![part("time", &[r#"{"name":"a\u0062/c"}"#])], false);
        assert_eq!(table.list, r#"[{"name":"a\u0062/c"}]"#);
        assert!(table.target("ab/c").is_some());
    }
}
