//! Lists in pages. A cursor is bound to the list that it was given out for: of a list that changed meanwhile no client puts
//! together a whole that never was.

use std::ops::Range;

use crate::kit::Digest;
use crate::mcp::lists::Kind;

use super::merge::Tables;

/// Entries of a page.
const MOST_ENTRIES: usize = 1_000;
/// Bytes of a page; an entry that is larger has a page of its own.
const MOST_BYTES: usize = 1 << 20;
/// Digits of the list's digest in a cursor.
const DIGITS: usize = 16;

/// The result of a request for a list, a JSON text. `modern`: as the era of 2026-07-28 wants it.
///
/// # Errors
/// The cursor was not given out for this list; in words for the client.
pub fn page(tables: &Tables, kind: Kind, cursor: Option<&str>, modern: bool) -> Result<Vec<u8>, &'static str> {
    let table = tables.of(kind);
    let number = match cursor {
        None => 0,
        Some(cursor) => number_of(cursor, table.digest, table.pages.len())?,
    };
    let range = table.pages.get(number).cloned().unwrap_or(0..0);
    let entries = table.list.get(range).unwrap_or_default();
    let mut out = Vec::with_capacity(entries.len() + 256);
    out.push(b'{');
    if modern {
        out.extend(br#""resultType":"complete","#);
    }
    out.extend(format!(r#""{}":["#, kind.field()).as_bytes());
    out.extend(entries);
    out.push(b']');
    if number + 1 < table.pages.len() {
        let next = cursor_of(table.digest, number + 1);
        out.extend(format!(r#","nextCursor":"{next}""#).as_bytes());
    }
    if modern {
        let scope = if table.freshness.public { "public" } else { "private" };
        let ttl = table.freshness.ttl_ms;
        out.extend(format!(r#","ttlMs":{ttl},"cacheScope":"{scope}""#).as_bytes());
    }
    let stale: Vec<&str> = table.stale().map(crate::kit::Name::as_str).collect();
    let mut meta = serde_json::Map::new();
    if modern {
        let server = serde_json::json!({"name": "mcpctl", "version": env!("CARGO_PKG_VERSION")});
        meta.insert("io.modelcontextprotocol/serverInfo".to_owned(), server);
    }
    if !stale.is_empty() {
        // Beside the list and not in its entries: a server that comes and goes changes no list, so that nobody reads it anew.
        meta.insert("mcpctl/stale".to_owned(), stale.into());
    }
    if !meta.is_empty() {
        out.extend(format!(r#","_meta":{}"#, serde_json::Value::Object(meta)).as_bytes());
    }
    out.push(b'}');
    Ok(out)
}

fn cursor_of(digest: Digest, page: usize) -> String {
    format!("{}-{page}", digest.short(DIGITS))
}

fn number_of(cursor: &str, digest: Digest, pages: usize) -> Result<usize, &'static str> {
    let number = |cursor: &str| {
        let (of, page) = cursor.split_once('-')?;
        let page: usize = page.parse().ok()?;
        let ours = of.len() == DIGITS && of.bytes().all(|b| b.is_ascii_hexdigit());
        // Ours alone, and written as we write it.
        (ours && page > 0 && cursor == format!("{of}-{page}")).then_some((of.to_owned(), page))
    };
    let (of, page) = number(cursor).ok_or("unknown cursor")?;
    if of != digest.short(DIGITS) {
        return Err("the list changed since this cursor was given out: list anew without a cursor");
    }
    if page < pages { Ok(page) } else { Err("unknown cursor") }
}

/// Where the pages of a list stand in its text.
#[derive(Debug)]
pub struct Pages {
    most: (usize, usize),
    done: Vec<Range<usize>>,
    here: Option<(Range<usize>, usize)>,
}

impl Default for Pages {
    fn default() -> Self {
        Self::of(MOST_ENTRIES, MOST_BYTES)
    }
}

impl Pages {
    /// Of so many entries and bytes at most.
    fn of(entries: usize, bytes: usize) -> Self {
        Self {
            most: (entries, bytes),
            done: vec![],
            here: None,
        }
    }

    /// Adds the next entry, which stands there.
    pub fn add(&mut self, entry: Range<usize>) {
        match &mut self.here {
            Some((page, entries)) if *entries < self.most.0 && entry.end - page.start <= self.most.1 => {
                page.end = entry.end;
                *entries += 1;
            }
            here => self.done.extend(here.replace((entry, 1)).map(|(page, _)| page)),
        }
    }

    /// All pages; of an empty list an empty one.
    #[must_use]
    pub fn done(mut self) -> Vec<Range<usize>> {
        self.done.push(self.here.map_or(0..0, |(page, _)| page));
        self.done
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use crate::gateway::merge::{Part, Table, Terms};
    use crate::gateway::names::Naming;
    use crate::mcp::lists::{Entry, Freshness, List};

    use super::*;

    fn tables(tools: usize, freshness: Freshness, stale: bool) -> Tables {
        let entry = |n| Entry::read(Kind::Tools, &json!({"name": format!("t{n}")}).to_string()).unwrap();
        let list = List {
            entries: (0..tools).map(entry).collect(),
            freshness,
        };
        let part = Part {
            server: "time".parse().unwrap(),
            list: Some(Arc::new(list)),
            stale,
        };
        let terms = Terms {
            naming: Naming::Prefixed,
            rules: None,
        };
        Tables::new(|kind| {
            let parts = if kind == Kind::Tools {
                vec![part.clone()]
            } else {
                vec![]
            };
            Arc::new(Table::new(kind, parts, terms.clone()))
        })
    }

    fn value(result: &[u8]) -> Value {
        serde_json::from_slice(result).unwrap()
    }

    const SAID: Freshness = Freshness {
        ttl_ms: 5_000,
        public: true,
    };

    #[test]
    fn each_era_has_its_form() {
        let short = tables(1, SAID, false);
        let legacy = page(&short, Kind::Tools, None, false).unwrap();
        assert_eq!(value(&legacy), json!({"tools": [{"name": "time__t0"}]}));
        let modern = page(&short, Kind::Tools, None, true).unwrap();
        let server = json!({"name": "mcpctl", "version": env!("CARGO_PKG_VERSION")});
        let want = json!({
            "resultType": "complete", "tools": [{"name": "time__t0"}], "ttlMs": 5000, "cacheScope": "public",
            "_meta": {"io.modelcontextprotocol/serverInfo": server},
        });
        assert_eq!(value(&modern), want);
        let prompts = page(&short, Kind::Prompts, None, true).unwrap();
        let said = value(&prompts);
        assert_eq!(
            (&said["prompts"], &said["ttlMs"], &said["cacheScope"]),
            (&json!([]), &json!(0), &json!("private"))
        );
        // Staleness is told beside the list.
        let old = tables(1, SAID, true);
        assert_eq!(old.of(Kind::Tools).digest, short.of(Kind::Tools).digest);
        for modern in [false, true] {
            let said = value(&page(&old, Kind::Tools, None, modern).unwrap());
            assert_eq!(said["_meta"]["mcpctl/stale"], json!(["time"]));
            assert_eq!(said["tools"], json!([{"name": "time__t0"}]));
        }
    }

    #[test]
    fn cursors_lead_on_and_are_bound_to_their_list() {
        let (long, longer) = (tables(2_500, SAID, false), tables(2_501, SAID, false));
        let mut cursor: Option<String> = None;
        let mut names = vec![];
        let mut pages = 0;
        loop {
            let said = value(&page(&long, Kind::Tools, cursor.as_deref(), true).unwrap());
            names.extend(
                said["tools"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|tool| tool["name"].as_str().unwrap().to_owned()),
            );
            pages += 1;
            let Some(next) = said["nextCursor"].as_str() else { break };
            cursor = Some(next.to_owned());
        }
        let all: Vec<String> = (0..2_500).map(|n| format!("time__t{n}")).collect();
        assert_eq!((names, pages), (all, 3));
        let cursor = cursor.unwrap();
        let changed = page(&longer, Kind::Tools, Some(&cursor), true).unwrap_err();
        assert!(changed.contains("anew"), "{changed}");
        let digest = &cursor[..DIGITS];
        for foreign in [
            "",
            "x",
            "-1",
            &format!("{digest}-0"),
            &format!("{digest}-01"),
            &format!("{digest}-3"),
            &format!("{digest}--1"),
        ] {
            assert_eq!(
                page(&long, Kind::Tools, Some(foreign), true),
                Err("unknown cursor"),
                "{foreign:?}"
            );
        }
    }

    proptest! {
        /// Whatever the size of a page: together they are the list, each entry once and whole, and none is larger than it may
        /// be but one of a single entry.
        #[test]
        fn pages_put_together_are_the_list(entries in prop::collection::vec("x{1,20}", 0..40), most in 1..8usize, bytes in 1..40usize) {
            let list = format!("[{}]", entries.join(","));
            let mut pages = Pages::of(most, bytes);
            let mut at = 1;
            for entry in &entries {
                pages.add(at..at + entry.len());
                at += entry.len() + 1;
            }
            let pages = pages.done();
            let texts: Vec<&str> = pages.iter().map(|page| &list[page.clone()]).collect();
            prop_assert_eq!(format!("[{}]", texts.join(",")), list.as_str());
            for text in texts {
                let entries = text.split(',').count();
                prop_assert!(entries <= most && (text.len() <= bytes || entries == 1));
            }
        }
    }
}
