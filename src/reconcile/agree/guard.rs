//! The mass-delete guard: an emptied repository must not delete the world by itself.

use std::fmt;

use crate::kit::count;

/// A plan that would delete so much that a person must say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MassDelete {
    /// How many resources the plan would delete.
    pub deletions: usize,
    /// How many are declared.
    pub declared: usize,
}

impl MassDelete {
    /// Trips on more than half of what is declared (and more than 3), and on an empty tree.
    #[must_use]
    pub fn check(deletions: usize, declared: usize, tree_is_empty: bool) -> Option<Self> {
        let most = deletions > 3 && deletions * 2 > declared;
        let emptied = tree_is_empty && deletions > 0;
        (most || emptied).then_some(Self { deletions, declared })
    }
}

impl fmt::Display for MassDelete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this would delete {} of {}",
            self.deletions,
            count(self.declared, "resource")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_trips_on_most_and_on_all() {
        for (deletions, declared, empty, trips) in [
            (0, 0, true, false),
            (0, 10, false, false),
            (3, 4, false, false),
            (4, 8, false, false),
            (5, 8, false, true),
            (4, 7, false, true),
            (1, 1, true, true),
            (3, 3, true, true),
            (1, 2, false, false),
        ] {
            assert_eq!(
                MassDelete::check(deletions, declared, empty).is_some(),
                trips,
                "{deletions} of {declared}"
            );
        }
    }
}
