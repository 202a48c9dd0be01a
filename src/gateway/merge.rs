//! What one endpoint shows: each merged list as the bytes that are sent, and where each of its names leads. Made when
//! lists or routes change, so that a call costs one look-up.

use std::collections::hash_map::Entry as Place;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::kit::{Digest, Name};
use crate::mcp::envelope::splice;
use crate::mcp::headers::Annotations;
use crate::mcp::lists::{Each, Entry, Freshness, Kind, List};

use super::lock::{Rules, Verdict};
use super::names::{self, Naming};
use super::{page, templates};

/// Where a shown name or URI leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The server.
    pub server: Name,
    /// The JSON text of its own name for it; nothing where that is the shown one (URIs are never rewritten).
    pub own: Option<String>,
}

/// A server with what is known of one of its lists.
#[derive(Debug, Clone)]
pub struct Part {
    /// The server.
    pub server: Name,
    /// Its list, where one is known.
    pub list: Option<Arc<List>>,
    /// Whether it is the list that was known last, and the server can't be asked now.
    pub stale: bool,
}

/// What one endpoint shows, by kind.
pub type Tables = Each<Arc<Table>>;

/// How an endpoint shows what its servers list.
#[derive(Debug, Clone)]
pub struct Terms {
    /// How names are shown.
    pub naming: Naming,
    /// What its project lets through, where it belongs to one that hides anything.
    pub rules: Option<Arc<Rules>>,
}

/// One merged list.
#[derive(Debug)]
pub struct Table {
    /// The JSON text of the merged list.
    pub list: Bytes,
    /// The digest of the list: clients are told only where it changed.
    pub digest: Digest,
    /// Where in `list` the pages stand, each some entries with the commas between them; at least one.
    pub pages: Vec<Range<usize>>,
    /// How long the list may be kept.
    pub freshness: Freshness,
    /// What became of each entry, in the order of the parts.
    verdicts: Vec<Verdict>,
    terms: Terms,
    parts: Vec<Part>,
    targets: HashMap<String, Target>,
    /// The tools whose arguments headers repeat, by the name that is shown.
    annotations: HashMap<String, Annotations>,
}

impl Table {
    /// Merges in the order given: first the servers', then each server's own. An entry changes in its name alone.
    #[must_use]
    pub fn new(kind: Kind, parts: Vec<Part>, terms: Terms) -> Self {
        let named = matches!(kind, Kind::Tools | Kind::Prompts);
        let naming = if named { terms.naming } else { Naming::Own };
        let rules = terms.rules.as_deref().filter(|_| kind == Kind::Tools);
        let mut all: Vec<(&Name, &Entry, String, Verdict)> = vec![];
        for (part, entry) in entries(&parts) {
            let verdict = rules.map_or(Verdict::Shown, |rules| rules.verdict(&part.server, entry));
            all.push((&part.server, entry, naming.of(&part.server, &entry.key), verdict));
        }
        if naming == Naming::Plain {
            hide_clashes(&mut all);
        }
        let mut list = vec![b'['];
        let mut pages = page::Pages::default();
        let mut targets = HashMap::new();
        let mut annotations = HashMap::new();
        for (server, entry, shown, verdict) in &mut all {
            if *verdict != Verdict::Shown {
                continue;
            }
            let renamed = (naming != Naming::Own).then(|| (entry.key_at.clone(), format!("\"{shown}\"")));
            if kind == Kind::Tools
                && let Ok(Some(annotated)) = entry.annotations()
            {
                annotations.insert(shown.clone(), annotated);
            }
            // Two servers may list one URI: the first of them has it. Within one server two names can only meet by
            // forging a digest.
            let Place::Vacant(free) = targets.entry(std::mem::take(shown)) else {
                *verdict = Verdict::Taken;
                continue;
            };
            free.insert(Target {
                server: server.clone(),
                own: named.then(|| entry.own_key().to_owned()),
            });
            if list.len() > 1 {
                list.push(b',');
            }
            let begins = list.len();
            match &renamed {
                Some((place, name)) => {
                    list.extend(splice(entry.text.as_bytes(), &[(place.clone(), name)], false));
                }
                None => list.extend(entry.text.as_bytes()),
            }
            pages.add(begins..list.len());
        }
        list.push(b']');
        let verdicts = all.into_iter().map(|(.., verdict)| verdict).collect();
        Self {
            digest: Digest::of(&list),
            list: list.into(),
            pages: pages.done(),
            freshness: freshness(&parts, rules.is_some()),
            verdicts,
            terms,
            parts,
            targets,
            annotations,
        }
    }

    /// The arguments of a tool that headers repeat.
    #[must_use]
    pub fn annotations(&self, shown: &str) -> Option<&Annotations> {
        if self.annotations.is_empty() {
            return None;
        }
        self.annotations.get(shown)
    }

    /// Whether it was made of the same lists (the very same, not equal ones) on the same terms.
    #[must_use]
    pub fn is_of(&self, parts: &[Part], terms: &Terms) -> bool {
        let same = |a: &Part, b: &Part| {
            a.server == b.server
                && a.stale == b.stale
                && match (&a.list, &b.list) {
                    (Some(x), Some(y)) => Arc::ptr_eq(x, y),
                    (None, None) => true,
                    _ => false,
                }
        };
        let servers = || parts.iter().map(|part| &part.server);
        let rules = match (&self.terms.rules, &terms.rules) {
            (Some(a), Some(b)) => a.agrees(b, servers()),
            (None, None) => true,
            _ => false,
        };
        rules
            && self.terms.naming == terms.naming
            && self.parts.len() == parts.len()
            && self.parts.iter().zip(parts).all(|(a, b)| same(a, b))
    }

    /// Where a name leads.
    #[must_use]
    pub fn target(&self, shown: &str) -> Option<&Target> {
        self.targets.get(shown)
    }

    /// The server to ask about a name that is in no list: the one of which no list is known yet.
    #[must_use]
    pub fn owner_to_be(&self, kind: Kind, shown: &str) -> Option<&Name> {
        let rules = self.terms.rules.as_deref().filter(|_| kind == Kind::Tools);
        let owner = |server: &Name| {
            let its = self.terms.naming != Naming::Prefixed || names::server_of(shown) == Some(server.as_str());
            // What is hidden is not there, known or not.
            its && rules.is_none_or(|rules| match self.terms.naming {
                Naming::Own => rules.let_through(server, shown),
                Naming::Plain | Naming::Prefixed => rules.tools.let_through(shown),
            })
        };
        let unknown = self.parts.iter().filter(|part| part.list.is_none());
        unknown.map(|part| &part.server).find(|server| owner(server))
    }

    /// The servers that it is made of, in order.
    pub fn servers(&self) -> impl Iterator<Item = &Name> {
        self.parts.iter().map(|part| &part.server)
    }

    /// The servers whose part is what was known last, in order.
    pub fn stale(&self) -> impl Iterator<Item = &Name> {
        self.parts.iter().filter(|part| part.stale).map(|part| &part.server)
    }

    /// Every entry, shown or not, and what became of it.
    pub fn entries(&self) -> impl Iterator<Item = (&Part, &Entry, Verdict)> {
        entries(&self.parts)
            .zip(&self.verdicts)
            .map(|((part, entry), verdict)| (part, entry, *verdict))
    }

    /// The name under which an entry of a server is shown, or would be.
    #[must_use]
    pub fn shown(&self, server: &Name, own: &str) -> String {
        self.terms.naming.of(server, own)
    }

    /// The servers of which an entry, read as a template, could make this URI, in order.
    pub fn could_make<'a>(&'a self, uri: &'a str) -> impl Iterator<Item = &'a Name> {
        let parts = self.parts.iter().filter(move |part| {
            let mut entries = part.list.iter().flat_map(|list| list.iter());
            entries.any(|entry| templates::could_make(&entry.key, uri))
        });
        parts.map(|part| &part.server)
    }
}

fn entries(parts: &[Part]) -> impl Iterator<Item = (&Part, &Entry)> {
    let of = |part| Part::entries(part).map(move |entry| (part, entry));
    parts.iter().flat_map(of)
}

impl Part {
    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.list.iter().flat_map(|list| list.iter())
    }
}

/// A name that two servers claim is nobody's: whichever were shown, the other's caller would reach the wrong one. What waits
/// for approval claims nothing, so that a new server takes no approved tool away.
fn hide_clashes(all: &mut [(&Name, &Entry, String, Verdict)]) {
    let mut owners: HashMap<&str, &Name> = HashMap::new();
    let mut clashing: HashSet<String> = HashSet::new();
    for (server, _, shown, verdict) in all.iter() {
        if *verdict == Verdict::Shown && *owners.entry(shown).or_insert(server) != *server {
            clashing.insert(shown.clone());
        }
    }
    for (.., shown, verdict) in all {
        if *verdict == Verdict::Shown && clashing.contains(shown) {
            *verdict = Verdict::Clash;
        }
    }
}

/// The least that any part allows. What is not known, or was known last, may be another list in a moment; what rules shape
/// is for those alone to whom the rules apply.
fn freshness(parts: &[Part], shaped: bool) -> Freshness {
    let of = |part: &Part| match &part.list {
        Some(list) if !part.stale => list.freshness,
        _ => Freshness {
            ttl_ms: 0,
            public: false,
        },
    };
    let least = parts.iter().map(of).fold(Freshness::ALWAYS, Freshness::and);
    Freshness {
        // Where nothing was said by anybody there is nothing to go by.
        ttl_ms: if least.ttl_ms == u64::MAX { 0 } else { least.ttl_ms },
        public: least.public && !shaped && !parts.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::mcp::definition::Definition;
    use crate::resource::{Project, ToolsLock};

    use super::*;

    fn part(kind: Kind, server: &str, entries: &[&str]) -> Part {
        let entries: Vec<Entry> = entries.iter().map(|entry| Entry::read(kind, entry).unwrap()).collect();
        Part {
            server: server.parse().unwrap(),
            list: Some(Arc::new(entries.into())),
            stale: false,
        }
    }

    fn unknown(server: &str) -> Part {
        Part {
            server: server.parse().unwrap(),
            list: None,
            stale: false,
        }
    }

    fn terms(naming: Naming) -> Terms {
        Terms { naming, rules: None }
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
            unknown("none"),
            part(Kind::Tools, "git", &[r#"{"name":"now"}"#]),
        ];
        let table = Table::new(Kind::Tools, parts.clone(), terms(Naming::Prefixed));
        assert_eq!(
            table.list,
            r#"[{"x": 1e3, "name" : "time__now", "_meta":{"name":"now"}},{"name":"time__ab","annotations":{}},{"name":"git__now"}]"#
        );
        assert_eq!(
            table.target("time__ab").and_then(|t| t.own.as_deref()),
            Some(r#""a\u0062""#)
        );
        assert_eq!(table.target("now"), None);
        assert_eq!(
            table.owner_to_be(Kind::Tools, "none__now").map(Name::as_str),
            Some("none")
        );
        assert_eq!(table.owner_to_be(Kind::Tools, "git__later"), None, "its list is known");
        assert!(table.is_of(&parts, &terms(Naming::Prefixed)));
        assert!(!table.is_of(
            &[part(Kind::Tools, "time", &[]), parts[1].clone(), parts[2].clone()],
            &terms(Naming::Prefixed)
        ));
    }

    /// pitfalls.md, Upstreams: "tool names that change when a second server joins", "one bad server empties the whole
    /// tool list".
    #[test]
    fn another_server_changes_nothing_of_the_first() {
        let alone = Table::new(
            Kind::Tools,
            vec![part(Kind::Tools, "time", &[r#"{"name":"now"}"#])],
            terms(Naming::Prefixed),
        );
        let bad = unknown("bad");
        let both = Table::new(
            Kind::Tools,
            vec![part(Kind::Tools, "time", &[r#"{"name":"now"}"#]), bad],
            terms(Naming::Prefixed),
        );
        assert_eq!(alone.list, both.list);
        assert_eq!(alone.digest, both.digest);
    }

    #[test]
    fn one_server_alone_keeps_its_names() {
        let table = Table::new(
            Kind::Tools,
            vec![part(Kind::Tools, "time", &[r#"{"name":"a\u0062/c"}"#])],
            terms(Naming::Own),
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
            assert_eq!(Table::new(kind, parts, terms(Naming::Prefixed)).list, want);
        }
        let table = Table::new(
            Kind::Resources,
            vec![part(Kind::Resources, "time", &[r#"{"uri":"a:/b"}"#])],
            terms(Naming::Prefixed),
        );
        let want = Target {
            server: "time".parse().unwrap(),
            own: None,
        };
        assert_eq!(table.target("a:/b"), Some(&want));
    }

    /// A project over two servers, each with the tools that are told.
    fn merged(naming: Naming, rules: Option<Rules>, servers: &[(&str, &[&str])]) -> Table {
        let parts = servers.iter().map(|(server, tools)| {
            let entries: Vec<String> = tools.iter().map(|tool| format!(r#"{{"name":"{tool}"}}"#)).collect();
            let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
            part(Kind::Tools, server, &entries)
        });
        let rules = rules.map(Arc::new);
        Table::new(Kind::Tools, parts.collect(), Terms { naming, rules })
    }

    fn names_of(table: &Table) -> Vec<String> {
        let list: Vec<serde_json::Value> = serde_json::from_slice(&table.list).unwrap();
        list.iter()
            .map(|entry| entry["name"].as_str().unwrap().to_owned())
            .collect()
    }

    fn rules(prefix: &str, tools: &serde_json::Value, lock: ToolsLock) -> Rules {
        let spec = serde_json::json!({"toolPrefix": prefix, "tools": tools});
        let project = serde_json::from_value(spec).unwrap();
        Arc::unwrap_or_clone(Rules::of(&project, &Arc::new(lock)).unwrap())
    }

    #[test]
    fn a_name_of_two_servers_is_nobodys() {
        let both: &[(&str, &[&str])] = &[("a", &["x", "y"]), ("b", &["y", "z"])];
        let table = merged(Naming::Plain, None, both);
        assert_eq!(names_of(&table), ["x", "z"]);
        assert_eq!(table.target("y"), None);
        let verdicts: Vec<Verdict> = table.entries().map(|(.., verdict)| verdict).collect();
        assert_eq!(
            verdicts,
            [Verdict::Shown, Verdict::Clash, Verdict::Clash, Verdict::Shown]
        );
        assert_eq!(names_of(&merged(Naming::Plain, None, &both[..1])), ["x", "y"]);
        // What waits for approval takes nothing away from what was approved.
        let approved = Entry::read(Kind::Tools, r#"{"name":"y"}"#).unwrap();
        let mut lock = ToolsLock::default();
        lock.approve(&"a".parse().unwrap(), "y", approved.definition.unwrap().digest);
        let strict = rules("none", &serde_json::json!({"lock": "strict"}), lock);
        assert_eq!(names_of(&merged(Naming::Plain, Some(strict), both)), ["y"]);
        // Prompts are named as tools are.
        let parts = vec![
            part(Kind::Prompts, "a", &[r#"{"name":"p"}"#]),
            part(Kind::Prompts, "b", &[r#"{"name":"p"}"#]),
        ];
        assert_eq!(Table::new(Kind::Prompts, parts, terms(Naming::Plain)).list, "[]");
    }

    /// What a rule hides is in no list and leads nowhere, whether its server was ever heard of or not.
    #[test]
    fn rules_speak_of_the_names_that_the_project_shows() {
        let servers: &[(&str, &[&str])] = &[("a", &["x", "y"]), ("b", &["y"])];
        let no_y = || {
            rules(
                "server",
                &serde_json::json!({"allow": ["a__*"], "deny": ["*__y"]}),
                ToolsLock::default(),
            )
        };
        let table = merged(Naming::Prefixed, Some(no_y()), servers);
        assert_eq!(names_of(&table), ["a__x"]);
        // At the endpoint of one server the names are its own, and the rules are the project's.
        let own = merged(Naming::Own, Some(no_y()), &servers[..1]);
        assert_eq!(names_of(&own), ["x"]);
        assert_eq!((own.target("y"), own.target("a__x")), (None, None));
        for (naming, name, want) in [
            (Naming::Prefixed, "a__x", Some("a")),
            (Naming::Prefixed, "a__y", None),
            (Naming::Prefixed, "b__x", None),
            (Naming::Own, "x", Some("a")),
            (Naming::Own, "y", None),
        ] {
            let terms = Terms {
                naming,
                rules: Some(Arc::new(no_y())),
            };
            let table = Table::new(Kind::Tools, vec![unknown("a")], terms);
            assert_eq!(
                table.owner_to_be(Kind::Tools, name).map(Name::as_str),
                want,
                "{naming:?} {name}"
            );
        }
        // Prompts have no rules.
        let terms = Terms {
            naming: Naming::Prefixed,
            rules: Some(Arc::new(no_y())),
        };
        let prompts = Table::new(
            Kind::Prompts,
            vec![part(Kind::Prompts, "b", &[r#"{"name":"y"}"#])],
            terms,
        );
        assert_eq!(names_of(&prompts), ["b__y"]);
    }

    /// pitfalls.md: a tool that changes behind people's backs. It alone is held back.
    #[test]
    fn a_strict_lock_holds_back_what_is_not_as_it_was_approved() {
        let digest = |entry: &str| Definition::of(entry).digest;
        let mut lock = ToolsLock::default();
        let a: Name = "a".parse().unwrap();
        lock.approve(&a, "x", digest(r#"{"name":"x"}"#));
        lock.approve(&a, "y", digest(r#"{"name":"y","description":"before"}"#));
        let strict = rules(
            "server",
            &serde_json::json!({"lock": "strict", "deny": ["*__w"]}),
            lock.clone(),
        );
        let table = merged(
            Naming::Prefixed,
            Some(strict.clone()),
            &[("a", &["x", "y", "z", "w"]), ("b", &["x"])],
        );
        assert_eq!(names_of(&table), ["a__x"]);
        let verdicts: Vec<Verdict> = table.entries().map(|(.., verdict)| verdict).collect();
        let held = Verdict::Unapproved;
        assert_eq!(
            verdicts,
            [Verdict::Shown, Verdict::Changed, held, Verdict::ByRule, held]
        );
        // Another server's approval makes no other table.
        let with = |server: &str| {
            let mut more = lock.clone();
            more.approve(&server.parse().unwrap(), "q", digest("{}"));
            rules("server", &serde_json::json!({"lock": "strict", "deny": ["*__w"]}), more)
        };
        assert!(strict.agrees(&with("c"), [&a]) && !strict.agrees(&with("a"), [&a]));
    }

    #[test]
    fn a_list_may_be_kept_as_long_as_the_shortest_lived_part() {
        let list = |ttl_ms, public| Part {
            server: "a".parse().unwrap(),
            list: Some(Arc::new(List {
                entries: vec![],
                freshness: Freshness { ttl_ms, public },
            })),
            stale: false,
        };
        let none = || Part {
            list: Some(Arc::default()),
            ..list(0, false)
        };
        let stale = || Part {
            stale: true,
            ..list(9, true)
        };
        for (parts, shaped, ttl_ms, public) in [
            (vec![], false, 0, false),
            (vec![none()], false, 0, true),
            (vec![list(9, true)], false, 9, true),
            (vec![list(9, true), none()], false, 9, true),
            (vec![list(9, true), list(5, false)], false, 5, false),
            (vec![list(9, true), list(0, true)], false, 0, true),
            (vec![list(9, true)], true, 9, false),
            (vec![list(9, true), unknown("b")], false, 0, false),
            (vec![list(9, true), stale()], false, 0, false),
        ] {
            assert_eq!(
                freshness(&parts, shaped),
                Freshness { ttl_ms, public },
                "{parts:?} {shaped}"
            );
        }
    }

    proptest! {
        /// pitfalls.md, Upstreams: "tool names that change when a second server joins". With the prefix, whatever joins.
        #[test]
        fn no_name_changes_when_servers_join(
            first in prop::collection::btree_set("[a-zü/_]{1,6}", 0..6),
            more in prop::collection::vec(("[b-e]{1,2}", prop::collection::btree_set("[a-z]{1,3}", 0..4)), 0..3),
        ) {
            let as_part = |server: &str, tools: &std::collections::BTreeSet<String>| {
                let entries: Vec<String> = tools.iter().map(|tool| format!(r#"{{"name":"{tool}"}}"#)).collect();
                part(Kind::Tools, server, &entries.iter().map(String::as_str).collect::<Vec<_>>())
            };
            let mut parts = vec![as_part("a", &first)];
            let alone = Table::new(Kind::Tools, parts.clone(), terms(Naming::Prefixed));
            parts.extend(more.iter().map(|(server, tools)| as_part(server, tools)));
            let together = Table::new(Kind::Tools, parts, terms(Naming::Prefixed));
            for name in names_of(&alone) {
                prop_assert_eq!(alone.target(&name), together.target(&name));
                prop_assert!(alone.target(&name).is_some());
            }
        }

        /// Whatever the names, the rules and the lock: what is shown leads to its server, and nothing else leads anywhere.
        #[test]
        fn hidden_means_unknown(
            tools in prop::collection::vec(prop::collection::btree_set("[xyz]{1,2}", 0..5), 1..4),
            allow in prop::collection::vec("[abcxyz_*?]{1,4}", 0..3),
            deny in prop::collection::vec("[abcxyz_*?]{1,4}", 0..3),
            approved in prop::collection::vec(("[abc]", "[xyz]{1,2}", any::<bool>()), 0..6),
            strict in any::<bool>(),
            plain in any::<bool>(),
        ) {
            let mut lock = ToolsLock::default();
            for (server, tool, as_is) in &approved {
                let entry = if *as_is { format!(r#"{{"name":"{tool}"}}"#) } else { "{}".to_owned() };
                lock.approve(&server.parse().unwrap(), tool, Definition::of(&entry).digest);
            }
            let (prefix, naming) = if plain { ("none", Naming::Plain) } else { ("server", Naming::Prefixed) };
            let spec = serde_json::json!({"allow": allow, "deny": deny, "lock": if strict { "strict" } else { "off" }});
            let project: Project = serde_json::from_value(serde_json::json!({"toolPrefix": prefix, "tools": spec})).unwrap();
            let rules = Rules::of(&project, &Arc::new(lock.clone()));
            let parts: Vec<Part> = ["a", "b", "c"].iter().zip(&tools).map(|(server, tools)| {
                let entries: Vec<String> = tools.iter().map(|tool| format!(r#"{{"name":"{tool}"}}"#)).collect();
                part(Kind::Tools, server, &entries.iter().map(String::as_str).collect::<Vec<_>>())
            }).collect();
            let table = Table::new(Kind::Tools, parts, Terms { naming, rules });
            let listed: HashSet<String> = names_of(&table).into_iter().collect();
            for (part, entry, verdict) in table.entries() {
                let shown = table.shown(&part.server, &entry.key);
                let ours = table.target(&shown).filter(|target| target.server == part.server);
                prop_assert_eq!(verdict == Verdict::Shown, ours.is_some());
                prop_assert_eq!(table.target(&shown).is_some(), listed.contains(&shown));
                let is_approved = lock.approved(&part.server, &entry.key) == entry.definition.as_ref().map(|it| it.digest);
                prop_assert!(verdict != Verdict::Shown || project.tools.let_through(&shown) && (!strict || is_approved));
            }
            prop_assert_eq!(listed.len(), table.targets.len());
        }
    }
}
