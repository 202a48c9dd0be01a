//! Where secrets meet the engine: trees opened as they are read, servers given their values, changes encrypted before they
//! are stored, and everything encrypted anew where it is to be read by others.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::kit::{Diagnostic, Digest, Name, Redacted};
use crate::reconcile::converge::Declaration;
use crate::record::{Actor, AuditEvent, ById, Decision, Edit, EditChange, Mutation, Row, StoreView, Workload};
use crate::repo::Snapshot;
use crate::resource::{Declared as _, Document, Id, Opening, Secret, SecretReference, Server, TOOLS_LOCK, ToolsLock};
use crate::secret::Recipient;

use super::agree::Pass;
use super::edit::Wanted;
use super::observe::{declared, of_kind};
use super::report::now;
use super::{Engine, EngineError, Inner, Vault, lock};

/// The fact that says that the identity was given out for safe-keeping.
const EXPORTED: &str = "identity-exported";

impl Inner {
    /// What the repository says now, its secrets opened.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, EngineError> {
        Ok(self.opened(self.parts.source.snapshot().await?))
    }

    /// The same with its secrets opened. What is wrong with the list of recipients is told with the rest.
    pub(super) fn opened(&self, read: Snapshot) -> Snapshot {
        opened(&self.parts.vault, read)
    }

    /// A small fact of the store.
    fn kept(&self) -> impl Fn(&str) -> Option<String> + '_ {
        |fact| self.parts.store.meta(fact)
    }

    /// The servers that these rows ask for, each with what could be resolved of it.
    pub(super) fn resolved(&self, rows: &ById<Row>) -> Vec<Declaration> {
        let secrets: BTreeMap<&Name, &Arc<Document>> = of_kind(rows, Secret::NAME)
            .map(|document| (&document.id.name, document))
            .collect();
        let servers = of_kind(rows, Server::NAME);
        let declare = |document: &Arc<Document>| {
            let server: Server = document.typed().ok()?;
            let mut values = BTreeMap::new();
            let mut missing = None;
            for variable in &server.env {
                let Some(from) = &variable.value_from else { continue };
                match self.value(&secrets, &from.secret_ref) {
                    Ok(value) => drop(values.insert(variable.name.clone(), value)),
                    Err(why) => drop(missing.get_or_insert(why)),
                }
            }
            let server = Workload {
                secrets: values,
                setup: self.parts.runtime.setup(&server),
                ..Workload::from(server)
            };
            Some(Declaration {
                name: document.id.name.clone(),
                server: Arc::new(server),
                missing,
            })
        };
        servers.filter_map(declare).collect()
    }

    fn value(
        &self,
        secrets: &BTreeMap<&Name, &Arc<Document>>,
        reference: &SecretReference,
    ) -> Result<Redacted<String>, String> {
        let name = reference.name.parse::<Name>().ok();
        let document = name.as_ref().and_then(|name| secrets.get(name));
        let document = document.ok_or_else(|| format!("{} is not declared", reference.name))?;
        self.parts.vault.value(document, &reference.key, &self.kept())
    }

    /// Keeps the values that mcpd made, and forgets those of secrets that are gone.
    pub(super) async fn keep_made(&self, view: &StoreView) -> Result<(), EngineError> {
        let store = &self.parts.store;
        let mut facts: BTreeMap<String, Option<String>> =
            store.metas("generated:").into_keys().map(|fact| (fact, None)).collect();
        let mut new = BTreeMap::new();
        for document in declared(view).filter(|document| document.id.kind().name == Secret::NAME) {
            if document.opening() == Opening::Sealed {
                // Whether it still has them can't be told.
                let own = format!("generated:{}:", document.id);
                facts.retain(|fact, _| !fact.starts_with(&own));
            }
            for (fact, blob) in self.parts.vault.to_keep(document, &self.kept()) {
                facts.remove(&fact);
                if blob.is_some() {
                    new.insert(fact, blob);
                }
            }
        }
        facts.extend(new);
        if facts.is_empty() {
            return Ok(());
        }
        Ok(store.set_metas(facts).await?)
    }

    /// Makes what people sent fit to be stored: encrypted, or what is there where the values are the same.
    pub(super) fn seal(
        &self,
        wanted: &mut [Wanted],
        view: &StoreView,
        recipients: &[Recipient],
    ) -> Result<(), EngineError> {
        let mut faults = vec![];
        for one in wanted {
            let Some(after) = one.after.clone().filter(|after| after.id.kind().name == Secret::NAME) else {
                continue;
            };
            let present = view.rows.get(&one.id).and_then(|row| row.document.as_ref());
            // What `get` printed, in whatever order and form, is what is there.
            if let Some(present) = present.filter(|present| present.written().spec == after.spec) {
                one.after = Some(Arc::clone(present));
                continue;
            }
            if present.is_some_and(|present| present.opening() == Opening::Sealed) && after.text.is_none() {
                // What nobody here can read is never written over.
                return Err(EngineError::Closed(
                    one.id.clone(),
                    "sealed: no identity of this host opens it".to_owned(),
                ));
            }
            let sealed = match self.parts.vault.seal(&after, present, recipients, now()) {
                Ok(sealed) => sealed,
                Err(error) => {
                    faults.push(fault(one, error.to_string()));
                    continue;
                }
            };
            match self.parts.vault.opened(&sealed) {
                // The same values in another encryption, as `get` printed them a while ago.
                Ok(opened) => {
                    let same = present.filter(|present| present.spec == opened.spec);
                    one.after = Some(same.map_or(opened, Arc::clone));
                }
                Err(broken) => faults.push(fault(one, broken.message)),
            }
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(EngineError::Invalid(faults))
        }
    }

    /// What follows for secrets once both sides agree: kept values, newer encryptions, other recipients.
    pub(super) async fn tend_secrets(&self, snapshot: &Snapshot, view: &StoreView) -> Result<Pass, EngineError> {
        self.keep_made(view).await?;
        self.refresh(snapshot, view).await?;
        let again = self.rekey(snapshot, view).await?.is_some();
        Ok(if again { Pass::Again } else { Pass::Rest })
    }

    /// Rows take the encryption that stands in the repository, where the values are the same.
    pub(super) async fn refresh(&self, snapshot: &Snapshot, view: &StoreView) -> Result<(), EngineError> {
        let newer = snapshot.tree.documents.of_kind(Secret::NAME).filter_map(|placed| {
            let id = &placed.document.id;
            placed.document.text.as_ref()?;
            let row = view.rows.get(id)?;
            let agreed = view.ledger.get(id)?.revision == row.revision;
            let ours = row.document.as_ref()?;
            (agreed && ours.spec == placed.document.spec && ours.text != placed.document.text)
                .then(|| (row.revision, Arc::clone(&placed.document)))
        });
        let newer: Vec<_> = newer.collect();
        if !newer.is_empty() {
            self.parts.store.refresh(newer).await?;
        }
        Ok(())
    }

    /// Encrypts every secret for those who are to read it now, as one mutation: after a restore under another identity, or
    /// where the list of recipients changed.
    pub(super) async fn rekey(&self, snapshot: &Snapshot, view: &StoreView) -> Result<Option<Mutation>, EngineError> {
        let (recipients, faults) = self.parts.vault.recipients(snapshot.recipients.as_deref());
        // Somebody who is left out by a slip of the pen would notice it when it is too late.
        if !faults.is_empty() {
            return Ok(None);
        }
        let mut changes = vec![];
        for (id, row) in view.rows.of_kind(Secret::NAME) {
            let Some(document) = &row.document else { continue };
            // What is not agreed on yet is looked at again when it is.
            if view.ledger.get(id).is_none_or(|ledger| ledger.revision != row.revision) {
                continue;
            }
            match self.parts.vault.rekey(document, &recipients, now()) {
                Ok(None) => {}
                Ok(Some(after)) => changes.push(EditChange {
                    id: id.clone(),
                    seen: Some(row.revision),
                    after: Some(after),
                }),
                Err(error) => tracing::warn!(%id, %error, "a secret can't be encrypted for its recipients"),
            }
        }
        if changes.is_empty() {
            return Ok(None);
        }
        let edit = Edit {
            at: now(),
            actor: Actor {
                name: "mcpd".to_owned(),
                door: "mcpd".to_owned(),
            },
            message: format!(
                "encrypt {} for {}",
                crate::kit::count(changes.len(), "secret"),
                crate::kit::count(recipients.len(), "recipient")
            ),
            changes,
            checked_at: None,
        };
        match self.parts.store.edit(edit).await {
            Ok(mutation) => Ok(mutation),
            // Somebody changed one meanwhile: the next round looks again.
            Err(crate::store::StoreError::Stale { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// How many secrets could not be read any more if this host were lost, and what to do.
    pub(super) fn warnings(&self, view: &StoreView) -> Vec<String> {
        let vault = &self.parts.vault;
        let mut out = vault.warnings();
        let secrets = of_kind(&view.rows, Secret::NAME);
        let with_values: Vec<&Arc<Document>> = secrets.filter(|document| needs_identity(document)).collect();
        let sealed = with_values
            .iter()
            .filter(|document| document.opening() == Opening::Sealed)
            .count();
        if sealed > 0 {
            out.push(format!(
                "{} sealed: no identity of this host opens them (give it in MCPD_IDENTITY_FILE)",
                crate::kit::count(sealed, "secret")
            ));
        }
        let recipients = lock(&self.recipients).clone();
        let others = vault.recipients(recipients.as_deref()).0.len() > 1;
        let exported = self.parts.store.meta(EXPORTED).as_deref() == Some(&vault.own_recipient());
        let lost = with_values.len() - sealed;
        if lost > 0 && !others && !exported {
            out.push(format!(
                "{} would be lost with this host: run mcpctl backup identity",
                crate::kit::count(lost, "secret")
            ));
        }
        out
    }
}

/// What was read with its secrets opened where the vault can, and with what is wrong with the list of recipients and
/// the tools' lock.
pub(super) fn opened(vault: &Vault, read: Snapshot) -> Snapshot {
    let tree = vault.open_tree(&read);
    let (_, mut faults) = vault.recipients(read.recipients.as_deref());
    if let Some(Err(fault)) = read
        .tools_lock
        .as_deref()
        .map(|text| ToolsLock::parse(text, TOOLS_LOCK))
    {
        faults.push(*fault);
    }
    if faults.is_empty() {
        return read.with_tree(tree);
    }
    let mut with_faults = crate::resource::Tree::clone(&tree);
    with_faults.diagnostics.splice(0..0, faults);
    read.with_tree(Arc::new(with_faults))
}

/// Whether a secret has values that only an identity brings back.
fn needs_identity(document: &Document) -> bool {
    let made = |value: &Value| value.get("generate").is_some();
    let data = document.spec.get("data").and_then(Value::as_object);
    document.text.is_some() || data.is_some_and(|data| data.values().any(made))
}

fn fault(wanted: &Wanted, message: String) -> Diagnostic {
    let place = wanted.source.clone();
    Diagnostic {
        message,
        excerpt: None,
        ..place.unwrap_or_else(|| Diagnostic::of_file(wanted.id.to_string(), ""))
    }
}

impl Engine {
    /// The fields of a document as a change is applied to them: of a secret its values in the clear.
    ///
    /// # Errors
    /// The secret is sealed, or broken.
    pub fn clear_spec(&self, document: &Document) -> Result<Redacted<Value>, EngineError> {
        let vault = &self.0.parts.vault;
        vault
            .clear_spec(document)
            .map_err(|closed| EngineError::Closed(document.id.clone(), closed.to_string()))
    }

    /// A digest of everything that is declared, equal wherever the same is declared and the same secrets can be opened.
    #[must_use]
    pub fn state_digest(&self) -> Digest {
        let view = self.store().view();
        let kept = self.0.kept();
        let parts: Vec<[u8; 32]> = declared(&view)
            .map(|document| match document.id.kind().name {
                Secret::NAME => *self.0.parts.vault.meaning(document, &kept).bytes(),
                _ => *document.digest().bytes(),
            })
            .collect();
        Digest::of_parts(parts.iter().map(<[u8; 32]>::as_slice))
    }

    /// The secrets that no identity of this host opens.
    #[must_use]
    pub fn sealed(&self) -> Vec<Id> {
        let view = self.store().view();
        let sealed = of_kind(&view.rows, Secret::NAME).filter(|document| document.opening() == Opening::Sealed);
        sealed.map(|document| document.id.clone()).collect()
    }

    /// Writes down that somebody was allowed to do what leaves no other trace.
    pub async fn audit(&self, actor: &Actor, action: String) -> Result<(), EngineError> {
        let event = AuditEvent {
            sequence: 0,
            at: now(),
            actor: actor.name.clone(),
            door: actor.door.clone(),
            action,
            decision: Decision::Allowed,
            revision: None,
        };
        Ok(self.store().record(vec![], vec![event]).await?)
    }

    /// For whom secrets are encrypted now, this host first.
    #[must_use]
    pub fn recipients(&self) -> Vec<String> {
        let said = lock(&self.0.recipients).clone();
        let (recipients, _) = self.0.parts.vault.recipients(said.as_deref());
        recipients.iter().map(ToString::to_string).collect()
    }

    /// The private half of this host's identity, for safe-keeping. That it was given out is written down.
    pub async fn export_identity(&self, actor: &Actor) -> Result<Redacted<String>, EngineError> {
        let vault = &self.0.parts.vault;
        self.audit(actor, "export identity".to_owned()).await?;
        self.store().set_meta(EXPORTED, &vault.own_recipient()).await?;
        // So that the next look no longer warns of it.
        self.0.wake.notify_one();
        Ok(vault.export())
    }
}
