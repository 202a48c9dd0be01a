//! What one endpoint shows: each merged list as the bytes that are sent, and where each of its names leads. Made when
//! lists or routes change, so that a call costs one look-up.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::sync::Arc;

use bytes::Bytes;

use crate::kit::{Digest, Name};
use crate::mcp::envelope::splice;
use crate::mcp::lists::{Each, Entry, Kind};

use super::{names, templates};

/// Where a shown name or URI leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The server.
    pub server: Name,
    /// The JSON text of its own name for it; nothing where that is the shown one (URIs are never rewritten).
    pub own: Option<String>,
}

/// A server with what is known of one of its lists.
pub type Part = (Name, Option<Arc<Vec<Entry>>>);

/// What one endpoint shows, by kind.
pub type Tables = Each<Arc<Table>>;

/// One merged list.
#[derive(Debug)]
pub struct Table {
    /// The JSON text of the merged list.
    pub list: Bytes,
    /// The digest of the list: clients are told only where it changed.
    pub digest: Digest,
    /// Whether names are `server__name`.
    prefixed: bool,
    parts: Vec<Part>,
    targets: HashMap<String, Target>,
}

impl Table {
    /// Merges in the order given: first the servers', then each server's own. An entry changes in its name alone.
    #[must_use]
    pub fn new(kind: Kind, parts: Vec<Part>, prefixed: bool) -> Self {
        let named = matches!(kind, Kind::Tools | Kind::Prompts);
        let prefixed = prefixed && named;
        let mut list = vec![b'['];
        let mut targets = HashMap::new();
        for (server, entries) in &parts {
            for entry in entries.iter().flat_map(|entries| entries.iter()) {
                let shown = if prefixed {
                    names::shown(server, &entry.key)
                } else {
                    entry.key.clone()
                };
                let renamed = prefixed.then(|| (entry.key_at.clone(), format!("\"{shown}\"")));
                // Two servers may list one URI: the first of them has it. Within one server two names can only meet by
                // forging a digest.
                if let Place::Vacant(free) = targets.entry(shown) {
                    free.insert(Target {
                        server: server.clone(),
                        own: named.then(|| entry.own_key().to_owned()),
                    });
                    if list.len() > 1 {
                        list.push(b',');
                    }
                    match &renamed {
                        Some((place, name)) => {
                            list.extend(splice(entry.text.as_bytes(), &[(place.clone(), name)], false));
                        }
                        None => list.extend(entry.text.as_bytes()),
                    }
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
        let unknown = self.parts.iter().filter(|(_, entries)| entries.is_none());
        unknown.map(|(server, _)| server).find(|server| owner(server))
    }

    /// The servers that it is made of, in order.
    pub fn servers(&self) -> impl Iterator<Item = &Name> {
        self.parts.iter().map(|(server, _)| server)
    }

    /// The servers of which an entry, read as a template, could make this URI, in order.
    pub fn could_make<'a>(&'a self, uri: &'a str) -> impl Iterator<Item = &'a Name> {
        let parts = self.parts.iter().filter(move |(_, entries)| {
            let mut entries = entries.iter().flat_map(|entries| entries.iter());
            entries.any(|entry| templates::could_make(&entry.key, uri))
        });
        parts.map(|(server, _)| server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(kind: Kind, server: &str, entries: &[&str]) -> Part {
        let entries = entries.iter().map(|entry| Entry::read(kind, entry).unwrap());
        (server.parse().unwrap(), Some(Arc::new(entries.collect())))
    }

    #[test]
    fn entries_keep_every_byte_but_the_name() {
        let parts = vec![
            part(
                Kind::Tools,
                "time",
                &[
                    r#"{"x": 1e3, "name" : "now", "_meta":{"name":"now"}}"#,
                    r#"{"name":"a\u0062","annotations":{}}"#,
                ],
            ),
            ("none".parse().unwrap(), None),
            part(Kind::Tools, "git", &[r#"{"name":"now"}"#]),
        ];
        let table = Table::new(Kind::Tools, parts.clone(), true);
        assert_eq!(
            table.list,
            r#"[{"x": 1e3, "name" : "time__now", "_meta":{"name":"now"}},{"name":"time__ab","annotations":{}},{"name":"git__now"}]"#
        );
        assert_eq!(
            table.target("time__ab").and_then(|t| t.own.as_deref()),
            Some(r#""a\u0062""#)
        );
        assert_eq!(table.target("now"), None);
        assert_eq!(table.owner_to_be("none__now").map(Name::as_str), Some("none"));
        assert_eq!(table.owner_to_be("git__later"), None, "its list is known");
        assert!(table.is_of(&parts));
        assert!(!table.is_of(&[part(Kind::Tools, "time", &[]), parts[1].clone(), parts[2].clone()]));
    }

    /// pitfalls.md, Upstreams: "tool names that change when a second server joins", "one bad server empties the whole
    /// tool list".
    #[test]
    fn another_server_changes_nothing_of_the_first() {
        let alone = Table::new(
            Kind::Tools,
            vec![part(Kind::Tools, "time", &[r#"{"name":"now"}"#])],
            true,
        );
        let bad = ("bad".parse().unwrap(), None);
        let both = Table::new(
            Kind::Tools,
            vec![part(Kind::Tools, "time", &[r#"{"name":"now"}"#]), bad],
            true,
        );
        assert_eq!(alone.list, both.list);
        assert_eq!(alone.digest, both.digest);
    }

    #[test]
    fn one_server_alone_keeps_its_names() {
        let table = Table::new(
            Kind::Tools,
            vec![part(Kind::Tools, "time", &[r#"{"name":"a\u0062/c"}"#])],
            false,
        );
        assert_eq!(table.list, r#"[{"name":"a\u0062/c"}]"#);
        assert!(table.target("ab/c").is_some());
    }

    /// URIs are not rewritten, and one that two servers list is the first's; prompts are named as tools are.
    #[test]
    fn uris_stay_and_prompts_are_named_as_tools_are() {
        for (kind, entries, want) in [
            (
                Kind::Resources,
                [r#"{"uri":"a:\/b","name":"1"}"#, r#"{"name":"2","uri":"a:/b"}"#],
                r#"[{"uri":"a:\/b","name":"1"}]"#,
            ),
            (
                Kind::Templates,
                [r#"{"uriTemplate":"a:{x}"}"#, r#"{"uriTemplate":"b:{x}"}"#],
                r#"[{"uriTemplate":"a:{x}"},{"uriTemplate":"b:{x}"}]"#,
            ),
            (
                Kind::Prompts,
                [r#"{"name":"p","arguments":[{"name":"p"}]}"#, r#"{"name":"p"}"#],
                r#"[{"name":"time__p","arguments":[{"name":"p"}]},{"name":"git__p"}]"#,
            ),
        ] {
            let parts = vec![part(kind, "time", &entries[..1]), part(kind, "git", &entries[1..])];
            assert_eq!(Table::new(kind, parts, true).list, want);
        }
        let table = Table::new(
            Kind::Resources,
            vec![part(Kind::Resources, "time", &[r#"{"uri":"a:/b"}"#])],
            true,
        );
        let want = Target {
            server: "time".parse().unwrap(),
            own: None,
        };
        assert_eq!(table.target("a:/b"), Some(&want));
    }
}
