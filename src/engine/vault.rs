//! Secrets while they are used: opened where an identity fits, resolved for the one server that asked, encrypted before
//! anything is written. No value leaves this file but as `Redacted`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};

use crate::kit::time::Timestamp;
use crate::kit::{Diagnostic, Digest, Masks, Redacted};
use crate::repo::Snapshot;
use crate::resource::{Declared as _, Document, Id, Opening, Placed, Problem, Secret, Tree, Unreadable};
use crate::secret::sops::{self, OpenError, SealError};
use crate::secret::{self, Identities, Recipient, Recipients};

use super::lock;

/// Opened files that are remembered; beyond, all are forgotten and opened again when they are asked for.
const REMEMBERED: usize = 4096;
/// Trees that are remembered with their secrets opened: the branch's, and one that was pushed.
const TREES: usize = 2;

/// What opens, resolves and encrypts.
pub struct Vault {
    identities: Identities,
    /// What digests of values are keyed with: the store's own random id.
    salt: String,
    masks: Masks,
    /// mcpd's own environment, for `fromEnv`.
    environment: BTreeMap<String, Redacted<String>>,
    opened: Mutex<HashMap<(Digest, u64), Tried>>,
    trees: Mutex<Vec<Known>>,
}

/// What came of opening a text.
type Tried = Arc<Result<Open, Closed>>;

/// A tree and what it is with its secrets opened.
struct Known {
    head: Option<String>,
    read: Arc<Tree>,
    generation: u64,
    opened: Arc<Tree>,
    /// Whether none of its secrets is broken.
    whole: bool,
}

/// A secret that was opened.
pub(super) struct Open {
    /// The document by whose digests it is compared.
    pub document: Arc<Document>,
    /// `data`, in the clear.
    values: Redacted<Value>,
}

/// Why a secret is not opened.
#[derive(Debug, Clone)]
pub(super) enum Closed {
    /// None of the identities here fits: it is kept as it is, and opens when one arrives.
    Sealed(String),
    /// Nobody can use it as it stands.
    Broken(Box<Diagnostic>),
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sealed(why) => write!(f, "sealed: {why}"),
            Self::Broken(diagnostic) => f.write_str(&diagnostic.message),
        }
    }
}

/// The name of the fact that keeps a value which mcpd made.
pub(super) fn fact_of(id: &Id, key: &str, length: u32) -> String {
    format!("generated:{id}:{length}:{key}")
}

impl Vault {
    /// A vault over the keys of this host. `salt` is the store's own id.
    #[must_use]
    pub fn new(
        identities: Identities,
        salt: String,
        masks: Masks,
        environment: BTreeMap<String, Redacted<String>>,
    ) -> Self {
        Self {
            identities,
            salt,
            masks,
            environment,
            opened: Mutex::default(),
            trees: Mutex::default(),
        }
    }

    /// Looks for identities that have arrived. Whether the set changed.
    pub(super) fn reload(&self) -> bool {
        self.identities.reload()
    }

    /// Rises when what is sealed may have become open.
    pub(super) fn generation(&self) -> u64 {
        self.identities.generation()
    }

    /// What can't be used of the identity files, a line each.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.identities.warnings().iter().map(ToString::to_string).collect()
    }

    /// The private half of this host's identity.
    pub(super) fn export(&self) -> Redacted<String> {
        self.identities.export()
    }

    /// The public half of this host's identity.
    pub(super) fn own_recipient(&self) -> String {
        self.identities.own_recipient().to_string()
    }

    /// For whom secrets are encrypted: this host, and who stands in `.mcpctl/recipients`; and what is wrong with that file.
    pub(super) fn recipients(&self, text: Option<&str>) -> (Vec<Recipient>, Vec<Diagnostic>) {
        let own = self.identities.own_recipient().clone();
        if text == Some(crate::repo::UNREADABLE) {
            let fault = Diagnostic::of_file(crate::repo::RECIPIENTS, "it can't be read")
                .hint("a plain file of at most 64 KiB is needed; secrets stay encrypted as they are until then");
            return (vec![own], vec![fault]);
        }
        let said = text
            .map(|text| Recipients::parse(crate::repo::RECIPIENTS, text))
            .unwrap_or_default();
        let others = said.known.into_iter().filter(|other| *other != own);
        (std::iter::once(own.clone()).chain(others).collect(), said.diagnostics)
    }

    /// Opens an encrypted secret; what was opened once is remembered.
    pub(super) fn open(&self, document: &Document) -> Tried {
        let text = document.text.as_deref().unwrap_or_default();
        let key = (Digest::of(text), self.generation());
        if let Some(known) = lock(&self.opened).get(&key) {
            return Arc::clone(known);
        }
        let result = Arc::new(self.open_text(document, text));
        if let Ok(open) = &*result {
            let mut values = vec![];
            texts(open.values.reveal(), &mut values);
            self.masks.add(&values);
        }
        let mut opened = lock(&self.opened);
        if opened.len() >= REMEMBERED {
            opened.clear();
        }
        opened.insert(key, Arc::clone(&result));
        result
    }

    fn open_text(&self, document: &Document, text: &str) -> Result<Open, Closed> {
        let path = document.id.canonical_path();
        let opened = sops::open(text, &self.identities).map_err(|error| match error {
            OpenError::NoIdentity { .. } => Closed::Sealed(error.to_string()),
            OpenError::Broken(broken) => Closed::Broken(Box::new(broken.diagnostic(&path, text))),
        })?;
        let whole = |message: &str| Closed::Broken(Box::new(Diagnostic::of_file(&path, message)));
        if !opened.bound {
            let fault = Diagnostic::of_file(
                &path,
                "its MAC does not cover kind and name, so its values might be another secret's",
            )
            .hint("encrypt it without --mac-only-encrypted, with kind and name before data");
            return Err(Closed::Broken(Box::new(fault)));
        }
        let values = as_texts(opened.data.reveal());
        // Its form is judged as that of a plain one; no message of that repeats a value.
        Document::new(document.id.clone(), &json!({"data": values}))
            .map_err(|problems| whole(&without_values(&problems)))?;
        let digests = values.as_object().into_iter().flatten().map(|(key, value)| {
            let digest = secret::fingerprint(self.salt.as_bytes(), &format!("{}:{key}", document.id), value);
            (key.clone(), digest.to_string())
        });
        Ok(Open {
            document: Arc::new(document.opened(&digests.collect())),
            values: Redacted::new(values),
        })
    }

    /// The same document, opened where that is possible. A value in the clear stays one: see [`Vault::seal`].
    pub(super) fn opened(&self, document: &Arc<Document>) -> Result<Arc<Document>, Box<Diagnostic>> {
        if document.text.is_none() {
            return Ok(Arc::clone(document));
        }
        match &*self.open(document) {
            Ok(open) => Ok(Arc::clone(&open.document)),
            Err(Closed::Sealed(_)) => Ok(Arc::new(
                document
                    .written()
                    .into_owned()
                    .with_text(document.text.as_deref().unwrap_or_default()),
            )),
            Err(Closed::Broken(diagnostic)) => Err(diagnostic.clone()),
        }
    }

    /// A tree with its secrets opened; those that nobody can use as they stand are held, with a diagnostic. Where it says
    /// what it differs in from a tree that was opened before, only that is looked at.
    pub(super) fn open_tree(&self, seen: &Snapshot) -> Arc<Tree> {
        let read = &seen.tree;
        let encrypted = |placed: &&Placed| placed.document.text.is_some();
        let generation = self.generation();
        let mut known = lock(&self.trees);
        if let Some(known) = known
            .iter()
            .find(|known| Arc::ptr_eq(&known.read, read) && known.generation == generation)
        {
            return Arc::clone(&known.opened);
        }
        let earlier = seen.since.as_ref().and_then(|(head, ids)| {
            let usable = |it: &&Known| it.whole && it.generation == generation && it.head.as_ref() == Some(head);
            known.iter().find(usable).map(|it| (&it.opened.documents, ids))
        });
        let mut tree = Tree::clone(read);
        let due: Vec<&Placed> = match earlier {
            Some((opened, ids)) => {
                tree.documents = opened.clone();
                for id in ids.iter() {
                    match read.documents.get(id) {
                        Some(placed) => tree.documents.insert(placed.clone()),
                        None => drop(tree.documents.remove(id)),
                    }
                }
                let changed = ids.iter().filter_map(|id| read.documents.get(id));
                changed.filter(encrypted).collect()
            }
            None => read.documents.of_kind(Secret::NAME).filter(encrypted).collect(),
        };
        if earlier.is_none() && due.is_empty() {
            return Arc::clone(read);
        }
        let mut whole = true;
        for placed in due {
            let id = &placed.document.id;
            match self.opened(&placed.document) {
                Ok(document) => tree.documents.insert(Placed {
                    digest: document.digest(),
                    document,
                    ..placed.clone()
                }),
                Err(diagnostic) => {
                    whole = false;
                    tree.documents.remove(id);
                    tree.held.insert(id.clone());
                    tree.unreadable.push(Unreadable {
                        path: placed.path.clone(),
                        id: Some(id.clone()),
                        whole_file: false,
                        bytes: None,
                    });
                    tree.diagnostics.push(Diagnostic {
                        file: placed.path.clone(),
                        ..*diagnostic
                    });
                }
            }
        }
        tree.diagnostics
            .sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        let opened = Arc::new(tree);
        known.truncate(TREES - 1);
        known.insert(
            0,
            Known {
                head: seen.head.clone(),
                read: Arc::clone(read),
                generation,
                opened: Arc::clone(&opened),
                whole,
            },
        );
        opened
    }

    /// The fields of a secret in the clear: what a change is applied to, and what `--reveal` shows.
    pub(super) fn clear_spec(&self, document: &Document) -> Result<Redacted<Value>, Closed> {
        if document.text.is_none() {
            return Ok(Redacted::new(document.spec.clone()));
        }
        match &*self.open(document) {
            Ok(open) => Ok(Redacted::new(json!({"data": open.values.reveal()}))),
            Err(closed) => Err(closed.clone()),
        }
    }

    /// What is to be stored of a secret that people sent: encrypted, and where its values are those that are there already,
    /// what is there.
    pub(super) fn seal(
        &self,
        wanted: &Arc<Document>,
        present: Option<&Arc<Document>>,
        recipients: &[Recipient],
        now: Timestamp,
    ) -> Result<Arc<Document>, SealError> {
        if wanted.opening() != Opening::Clear {
            return Ok(Arc::clone(wanted));
        }
        let present = present.filter(|present| present.text.is_some());
        let values = wanted
            .spec
            .get("data")
            .cloned()
            .unwrap_or_else(|| Value::Object(Map::new()));
        let mut known = vec![];
        texts(&values, &mut known);
        self.masks.add(&known);
        if let Some(present) = present
            && let Ok(open) = &*self.open(present)
            && *open.values.reveal() == values
        {
            return Ok(Arc::clone(present));
        }
        let fields = [
            ("kind".to_owned(), Value::from(Secret::NAME)),
            ("name".to_owned(), Value::from(wanted.id.name.as_str())),
        ];
        let values = Redacted::new(values);
        let old = present.and_then(|present| present.text.as_deref());
        let kept = old.map(|old| sops::reseal(old, &self.identities, &fields, &values, recipients, now));
        let text = match kept {
            Some(Ok(text)) => text,
            // What nobody here can open is replaced whole.
            Some(Err(SealError::Old(_))) | None => sops::seal(&fields, &values, recipients, now)?,
            Some(Err(error)) => return Err(error),
        };
        Ok(self.of_text(&wanted.id, &text))
    }

    /// The same values for other recipients; nothing where they are encrypted for these already.
    pub(super) fn rekey(
        &self,
        document: &Arc<Document>,
        recipients: &[Recipient],
        now: Timestamp,
    ) -> Result<Option<Arc<Document>>, SealError> {
        let Some(text) = document
            .text
            .as_deref()
            .filter(|_| document.opening() == Opening::Opened)
        else {
            return Ok(None);
        };
        let is_for: std::collections::BTreeSet<String> =
            sops::recipients_of(text).unwrap_or_default().into_iter().collect();
        if is_for == recipients.iter().map(ToString::to_string).collect() {
            return Ok(None);
        }
        let fields = [
            ("kind".to_owned(), Value::from(Secret::NAME)),
            ("name".to_owned(), Value::from(document.id.name.as_str())),
        ];
        let open = self.open(document);
        let Ok(open) = &*open else { return Ok(None) };
        let text = sops::reseal(text, &self.identities, &fields, &open.values, recipients, now)?;
        Ok(Some(self.of_text(&document.id, &text)))
    }

    fn of_text(&self, id: &Id, text: &str) -> Arc<Document> {
        let sealed = Document {
            id: id.clone(),
            spec: Value::Null,
            text: Some(text.into()),
        };
        match &*self.open(&sealed) {
            Ok(open) => Arc::clone(&open.document),
            // What was encrypted for others alone: as it is written.
            Err(_) => Arc::new(sealed.written().into_owned()),
        }
    }

    /// One value of a secret as a server gets it, or why it can't be had.
    pub(super) fn value(
        &self,
        document: &Document,
        key: &str,
        kept: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Redacted<String>, String> {
        let name = &document.id.name;
        let spec = self
            .clear_spec(document)
            .map_err(|closed| format!("{name} is {closed}"))?;
        let value = spec.reveal().get("data").and_then(|data| data.get(key));
        let found = match value {
            None => return Err(format!("{name} has no key {key}")),
            Some(Value::String(text)) => Redacted::new(text.clone()),
            Some(other) => self
                .made(&document.id, key, other, kept)
                .map_err(|why| format!("{name}: {key}: {why}"))?,
        };
        self.masks.add([&found]);
        Ok(found)
    }

    /// A value that comes from the environment, or that mcpd makes.
    fn made(
        &self,
        id: &Id,
        key: &str,
        value: &Value,
        kept: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Redacted<String>, String> {
        if let Some(variable) = value.get("fromEnv").and_then(Value::as_str) {
            let found = self.environment.get(variable).cloned();
            return found.ok_or_else(|| format!("{variable} is not set in mcpd's environment"));
        }
        let length = value["generate"]["length"]
            .as_u64()
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(32);
        match kept(&fact_of(id, key, length)) {
            Some(blob) => secret::open_blob(&self.identities, &blob)
                .map_err(|error| format!("the value made before can't be opened: {error}")),
            None => secret::generate(&self.identities, &id.to_string(), key, length as usize)
                .map_err(|error| format!("a value can't be made: {error}")),
        }
    }

    /// The values of a secret that mcpd makes, each with the name of the fact that keeps it and in the form in which it is
    /// kept.
    pub(super) fn to_keep(
        &self,
        document: &Document,
        kept: &dyn Fn(&str) -> Option<String>,
    ) -> Vec<(String, Option<String>)> {
        let Ok(spec) = self.clear_spec(document) else {
            return vec![];
        };
        let data = spec
            .reveal()
            .get("data")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let made = data.iter().filter_map(|(key, value)| {
            let length = value
                .get("generate")?
                .get("length")
                .and_then(Value::as_u64)
                .unwrap_or(32);
            let fact = fact_of(&document.id, key, u32::try_from(length).ok()?);
            if kept(&fact).is_some() {
                return Some((fact, None));
            }
            let value = self.made(&document.id, key, value, kept).ok()?;
            let blob = secret::seal_blob(&self.identities, &value).ok()?;
            Some((fact, Some(blob)))
        });
        made.collect()
    }

    /// A digest of what a secret means, equal on every host that can open it: of its values in the clear, and of those that
    /// mcpd made. A sealed one is taken as it stands.
    pub(super) fn meaning(&self, document: &Document, kept: &dyn Fn(&str) -> Option<String>) -> Digest {
        let Ok(spec) = self.clear_spec(document) else {
            return document.digest();
        };
        let mut parts = vec![document.id.to_string(), spec.reveal().to_string()];
        for (key, value) in spec
            .reveal()
            .get("data")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            if value.get("generate").is_some()
                && let Ok(made) = self.made(&document.id, key, value, kept)
            {
                parts.push(made.reveal().clone());
            }
        }
        Digest::of_parts(parts.iter().map(String::as_bytes))
    }
}

/// Numbers and truth values of SOPS files as the texts that a variable holds.
fn as_texts(data: &Value) -> Value {
    let text = |value: &Value| match value {
        Value::Number(number) => number.to_string().into(),
        Value::Bool(truth) => truth.to_string().into(),
        other => other.clone(),
    };
    match data {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// The texts that are values; names of variables are none.
fn texts(data: &Value, out: &mut Vec<Redacted<String>>) {
    let values = data.as_object().into_iter().flatten();
    out.extend(values.filter_map(|(_, value)| Some(Redacted::new(value.as_str()?.to_owned()))));
}

/// What is wrong with an opened secret, without what stands in it.
fn without_values(problems: &[Problem]) -> String {
    let told: Vec<String> = problems
        .iter()
        .take(3)
        .map(|problem| {
            let text = problem.to_string();
            text.split_once(", found ")
                .map_or(text.clone(), |(told, _)| told.to_owned())
        })
        .collect();
    told.join("; ")
}
