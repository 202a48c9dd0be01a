//! The documents of the simulated world: every one that there can be is made once, for all worlds.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use serde_json::json;

use crate::kit::Digest;
use crate::record::FieldPath;
use crate::resource::{Document, Id};

/// How many resources there are: three servers, and a project that may name the first two.
pub(super) const KEYS: usize = 4;
/// The project.
pub(super) const PROJECT: usize = 3;
/// How many parts a document has.
pub(super) const PARTS: usize = 4;
/// How many values a part can have.
pub(super) const VALUES: u8 = 4;

/// A document as numbers. Of a server: its source (two packages, two images, which exclude each other), its description, and
/// a variable and a limit; of a project: its servers, and its description. 0 is an absence, but for the source.
pub(super) type Spec = [u8; PARTS];
/// A document, or its absence.
pub(super) type Value = Option<Spec>;

type Known = (Arc<Document>, Digest);

struct Documents {
    ids: Vec<Id>,
    by_spec: Vec<HashMap<Spec, Known>>,
    by_digest: HashMap<Digest, Spec>,
}

static DOCUMENTS: LazyLock<Documents> = LazyLock::new(|| {
    let ids: Vec<Id> = ["server/k0", "server/k1", "server/k2", "project/p"]
        .iter()
        .map(|id| id.parse().expect("an identity"))
        .collect();
    let mut by_spec = vec![];
    let mut by_digest = HashMap::new();
    for (key, id) in ids.iter().enumerate() {
        let mut all = HashMap::new();
        for number in 0..u32::from(VALUES).pow(4) {
            let part = |n: u32| u8::try_from(number / u32::from(VALUES).pow(n) % u32::from(VALUES)).expect("small");
            let spec = [part(0), part(1), part(2), part(3)];
            if key == PROJECT && spec[2..] != [0, 0] {
                continue;
            }
            let document = Document::new(id.clone(), &written(key, spec)).expect("valid");
            let digest = document.digest();
            by_digest.insert(digest, spec);
            all.insert(spec, (Arc::new(document), digest));
        }
        by_spec.push(all);
    }
    Documents {
        ids,
        by_spec,
        by_digest,
    }
});

fn written(key: usize, [first, description, variable, memory]: Spec) -> serde_json::Value {
    let text = if description == 0 {
        String::new()
    } else {
        description.to_string()
    };
    if key == PROJECT {
        let servers: Vec<&str> = [(1, "k0"), (2, "k1")]
            .into_iter()
            .filter(|(bit, _)| first & bit != 0)
            .map(|(_, name)| name)
            .collect();
        return json!({"servers": servers, "description": text});
    }
    let (field, source) = match first {
        0 => ("packageName", "p@1"),
        1 => ("packageName", "p@2"),
        2 => ("dockerImage", "i:1"),
        _ => ("dockerImage", "i:2"),
    };
    let env = (variable != 0).then(|| json!([{"name": "A", "value": variable.to_string()}]));
    let resources = (memory != 0).then(|| json!({"memory": format!("{memory}g")}));
    json!({field: source, "description": text, "env": env, "resources": resources})
}

pub(super) fn id(key: usize) -> &'static Id {
    &DOCUMENTS.ids[key]
}

pub(super) fn key_of(wanted: &Id) -> usize {
    (0..KEYS)
        .find(|key| id(*key) == wanted)
        .expect("a resource of this world")
}

pub(super) fn document(key: usize, spec: Spec) -> Arc<Document> {
    Arc::clone(&DOCUMENTS.by_spec[key][&spec].0)
}

pub(super) fn digest(key: usize, spec: Spec) -> Digest {
    DOCUMENTS.by_spec[key][&spec].1
}

/// The numbers of a document.
pub(super) fn number(document: &Document) -> Spec {
    let text = |path: &str| {
        let found = document.spec.pointer(path);
        found.and_then(serde_json::Value::as_str).unwrap_or("0")
    };
    let digit = |text: &str| text.bytes().next().map_or(0, |byte| byte - b'0');
    let description = digit(text("/description"));
    if key_of(&document.id) == PROJECT {
        let names = document.spec.get("servers").and_then(serde_json::Value::as_array);
        let bits = names.into_iter().flatten().map(|name| if name == "k0" { 1 } else { 2 });
        return [bits.sum(), description, 0, 0];
    }
    let source = match (text("/packageName"), text("/dockerImage")) {
        ("p@1", _) => 0,
        ("p@2", _) => 1,
        (_, "i:1") => 2,
        _ => 3,
    };
    let (variable, memory) = (text("/env/0/value"), text("/resources/memory"));
    [source, description, digit(variable), digit(memory)]
}

pub(super) fn spec_of(digest: Digest) -> Spec {
    *DOCUMENTS.by_digest.get(&digest).expect("a document of this world")
}

/// The part that a field belongs to.
pub(super) fn part_of(path: &FieldPath) -> usize {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path[..] {
        ["packageName" | "dockerImage" | "servers"] => 0,
        ["description"] => 1,
        ["env", "A"] => 2,
        ["resources", "memory"] => 3,
        _ => panic!("no field of this world: {path:?}"),
    }
}

/// The servers that a project names.
pub(super) fn named(project: Spec) -> impl Iterator<Item = usize> {
    (0..2).filter(move |server| project[0] & (1 << server) != 0)
}
