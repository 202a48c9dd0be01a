//! Who gives way where there is no room: nobody is refused for what others have too much of. Pure.

use std::collections::HashMap;

/// Who gives something up, so that `who` can have `more`: whoever has the most, where that is more than `who` would have
/// then. Nobody: then `who` has its share, or would have the largest itself.
#[must_use]
pub fn gives_way<'a>(has: impl IntoIterator<Item = (&'a str, usize)>, who: &str, more: usize) -> Option<&'a str> {
    let mut shares: HashMap<&str, usize> = HashMap::new();
    for (whose, much) in has {
        *shares.entry(whose).or_default() += much;
    }
    let own = shares.get(who).copied().unwrap_or_default();
    // Of equals the first by name, so that the choice is the same each time.
    let (most, much) = shares.into_iter().max_by(|(a, x), (b, y)| x.cmp(y).then(b.cmp(a)))?;
    (most != who && much > own + more).then_some(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_the_most_gives_way() {
        for (has, who, want) in [
            (vec![], "a", None),
            (vec![("a", 9)], "a", None),
            (vec![("a", 9)], "b", Some("a")),
            (vec![("a", 2), ("b", 1)], "b", None),
            (vec![("a", 2), ("b", 1), ("a", 1)], "b", Some("a")),
            (vec![("a", 5), ("b", 6)], "a", None),
            (vec![("a", 5), ("b", 6)], "c", Some("b")),
            (vec![("b", 6), ("a", 6)], "c", Some("a")),
            (vec![("a", 1), ("b", 1)], "c", None),
        ] {
            assert_eq!(gives_way(has.clone(), who, 1), want, "{who} {has:?}");
        }
    }
}
