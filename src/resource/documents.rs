//! The valid declarations of a repository, by identity.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Index;
use std::sync::Arc;

use rpds::RedBlackTreeSetSync;

use super::id::Id;
use super::kind::kind_named;
use super::tree::Placed;

/// Valid declarations in order of identity. A copy shares everything with the one that it was made from, and a change
/// costs the logarithm of the number of declarations, so a repository of any size can be kept as it was and as it is.
#[derive(Clone, Default)]
pub struct Documents(RedBlackTreeSetSync<ById>);

/// The first of all names.
const FIRST_NAME: &str = "0";

/// A declaration that is sought by its identity.
#[derive(Clone)]
struct ById(Arc<Placed>);

impl ById {
    fn id(&self) -> &Id {
        &self.0.document.id
    }
}

impl Borrow<Id> for ById {
    fn borrow(&self) -> &Id {
        self.id()
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for ById {}

impl PartialOrd for ById {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ById {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id().cmp(other.id())
    }
}

impl Documents {
    /// The declaration of a resource.
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<&Placed> {
        self.shared(id).map(AsRef::as_ref)
    }

    /// [`Documents::get`] of what is shared with the file that it was read from.
    pub(super) fn shared(&self, id: &Id) -> Option<&Arc<Placed>> {
        self.0.get(id).map(|it| &it.0)
    }

    /// Whether a resource is declared.
    #[must_use]
    pub fn contains_key(&self, id: &Id) -> bool {
        self.0.contains(id)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.size()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The declarations with their identities, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Id, &Placed)> {
        self.values().map(|placed| (&placed.document.id, placed))
    }

    /// The identities, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Id> {
        self.values().map(|placed| &placed.document.id)
    }

    /// The declarations, in order of identity.
    pub fn values(&self) -> impl Iterator<Item = &Placed> {
        self.0.iter().map(|it| it.0.as_ref())
    }

    /// The declarations of the kind of this name, in order. It costs what there is of that kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Placed> {
        // No name sorts before this one, and no scope before the global one.
        let first = kind_named(kind).zip(FIRST_NAME.parse().ok());
        let first = first.map(|(kind, name)| Id::new(kind, name));
        let from = first.into_iter().flat_map(|first| self.0.range::<Id, _>(first..));
        from.map(|it| it.0.as_ref())
            .take_while(move |placed| placed.document.id.kind().answers_to(kind))
    }

    /// Puts a declaration in, in place of the one of the same resource.
    pub fn insert(&mut self, placed: impl Into<Arc<Placed>>) {
        self.0.insert_mut(ById(placed.into()));
    }

    /// Takes a resource's declaration out; whether there was one.
    pub fn remove(&mut self, id: &Id) -> bool {
        self.0.remove_mut(id)
    }

    /// Where the two differ, in order of identity. What they share is passed over by its address.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<Id> {
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut found = vec![];
        loop {
            let order = match (ours.peek(), theirs.peek()) {
                (None, None) => return found,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.cmp(b),
            };
            let a = ours.next_if(|_| order.is_le());
            let b = theirs.next_if(|_| order.is_ge());
            let same = a.zip(b).is_some_and(|(a, b)| Arc::ptr_eq(&a.0, &b.0) || a.0 == b.0);
            found.extend(a.or(b).filter(|_| !same).map(|it| it.id().clone()));
        }
    }
}

impl Index<&Id> for Documents {
    type Output = Placed;

    /// # Panics
    /// Where the resource is not declared.
    fn index(&self, id: &Id) -> &Placed {
        match self.get(id) {
            Some(placed) => placed,
            None => panic!("{id} is not declared"),
        }
    }
}

impl PartialEq for Documents {
    fn eq(&self, other: &Self) -> bool {
        self.values().eq(other.values())
    }
}

impl Eq for Documents {}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl FromIterator<Arc<Placed>> for Documents {
    fn from_iter<T: IntoIterator<Item = Arc<Placed>>>(placed: T) -> Self {
        let mut documents = Self::default();
        for placed in placed {
            documents.insert(placed);
        }
        documents
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{FileText, KINDS, Tree, yaml};

    fn documents(text: &str) -> Documents {
        let bytes = Ok(text.as_bytes().to_vec());
        let path = "a.yaml".to_owned();
        Tree::assemble([Arc::new(yaml::read(&FileText { path, bytes }))]).documents
    }

    const ALL: &str = "kind: prompt
name: z
content: x
---
kind: server
name: '0'
command: [x]
---
kind: server
name: z
command: [x]
---
kind: project
name: a
---
kind: prompt
name: a
project: a
content: x
";

    #[test]
    fn each_kind_is_found_by_itself() {
        let documents = documents(ALL);
        let told = |kind: &str| -> Vec<String> {
            let of_kind = documents.of_kind(kind);
            of_kind.map(|placed| placed.document.id.to_string()).collect()
        };
        assert_eq!(told("secret"), [""; 0]);
        assert_eq!(told("server"), ["server/0", "server/z"]);
        assert_eq!(told("prompt"), ["prompt/z", "prompt/a/a"]);
        assert_eq!(told("nothing"), [""; 0]);
        let all: Vec<String> = KINDS.iter().flat_map(|kind| told(kind.name)).collect();
        assert_eq!(all, documents.keys().map(ToString::to_string).collect::<Vec<_>>());
    }

    #[test]
    fn a_copy_is_left_as_it_was() {
        let before = documents(ALL);
        let mut after = before.clone();
        let (a, z) = ("project/a".parse().unwrap(), "server/z".parse().unwrap());
        assert!(after.remove(&a) && !after.remove(&a));
        after.insert(Placed {
            path: "b.yaml".into(),
            ..before[&z].clone()
        });
        assert!(before.contains_key(&a) && before[&z].path == "a.yaml");
        assert_eq!((before.len(), after.len()), (5, 4));
        assert_eq!(before.differences(&after), [z.clone(), a.clone()]);
        assert_eq!(after.differences(&before), [z, a]);
        assert_eq!(before.differences(&before.clone()), []);
    }
}
