//! Values by identity that many may hold at once while they change.

use std::fmt;
use std::ops::Index;

use rpds::RedBlackTreeMapSync;
use serde::{Serialize, Serializer};

use crate::kit::Name;
use crate::resource::{Id, kind_named};

/// Values by identity, in order. A copy shares everything with what it was made from, and a change costs the logarithm of
/// the number of values: who holds an old state does not make the next one dear.
#[derive(Clone)]
pub struct ById<V>(RedBlackTreeMapSync<Id, V>);

impl<V> ById<V> {
    /// The value of an identity.
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<&V> {
        self.0.get(id)
    }

    /// Whether there is a value of an identity.
    #[must_use]
    pub fn contains_key(&self, id: &Id) -> bool {
        self.0.contains_key(id)
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

    /// Identities and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Id, &V)> {
        self.0.iter()
    }

    /// The identities, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Id> {
        self.0.keys()
    }

    /// The values, in order of identity.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.values()
    }

    /// The values of the kind of this name, in order. It costs what there is of that kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a Id, &'a V)> {
        // No name sorts before this one, and no scope before the global one.
        let first: Option<Name> = "0".parse().ok();
        let first = kind_named(kind).zip(first).map(|(kind, name)| Id::new(kind, name));
        let from = first.into_iter().flat_map(|first| self.0.range::<Id, _>(first..));
        from.take_while(move |(id, _)| id.kind().answers_to(kind))
    }
}

impl<V: Clone> ById<V> {
    /// Puts a value in, in place of the one that is there.
    pub fn insert(&mut self, id: Id, value: V) {
        self.0.insert_mut(id, value);
    }

    /// Takes a value out; whether there was one.
    pub fn remove(&mut self, id: &Id) -> bool {
        self.0.remove_mut(id)
    }
}

impl<V> Default for ById<V> {
    fn default() -> Self {
        Self(RedBlackTreeMapSync::new_sync())
    }
}

impl<V: PartialEq> PartialEq for ById<V> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<V: Eq> Eq for ById<V> {}

impl<V: fmt::Debug> fmt::Debug for ById<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter()).finish()
    }
}

impl<V> Index<&Id> for ById<V> {
    type Output = V;

    fn index(&self, id: &Id) -> &V {
        &self.0[id]
    }
}

impl<V: Clone> FromIterator<(Id, V)> for ById<V> {
    fn from_iter<I: IntoIterator<Item = (Id, V)>>(values: I) -> Self {
        let mut all = Self::default();
        for (id, value) in values {
            all.insert(id, value);
        }
        all
    }
}

impl<V: Serialize> Serialize for ById<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_without_the_others() {
        let all: ById<u32> = [
            "secret/a",
            "server/0",
            "server/z",
            "project/a",
            "prompt/a",
            "prompt/ops/a",
        ]
        .iter()
        .zip(0..)
        .map(|(id, n)| (id.parse().unwrap(), n))
        .collect();
        let of = |kind: &str| all.of_kind(kind).map(|(id, _)| id.to_string()).collect::<Vec<_>>();
        assert_eq!(of("server"), ["server/0", "server/z"]);
        assert_eq!(of("prompt"), ["prompt/a", "prompt/ops/a"]);
        assert_eq!(of("template"), Vec::<String>::new());
        let mut later = all.clone();
        assert!(later.remove(&"server/0".parse().unwrap()) && !later.remove(&"server/0".parse().unwrap()));
        assert_eq!((all.len(), later.len()), (6, 5));
    }
}
