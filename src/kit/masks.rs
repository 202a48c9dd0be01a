//! Known secret values, so that no text that leaves mcpd shows one.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};

use super::Redacted;

/// What stands in place of a secret value.
pub const MASK: &str = "***";
/// Shorter values are not looked for: they stand in every other line by chance, and masking them would tell them.
pub const SHORTEST: usize = 4;

/// A set of known secret values; clones share it.
///
/// # Caveats
/// A value is found as it is, and line by line where it has several; not in another encoding.
#[derive(Clone, Default)]
pub struct Masks(Arc<RwLock<Known>>);

#[derive(Default)]
struct Known {
    values: BTreeSet<String>,
    search: Option<AhoCorasick>,
}

impl fmt::Debug for Masks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masks")
    }
}

impl Masks {
    /// Adds values. They stay known while the process lives: what was a secret a minute ago is still none of a log's
    /// business.
    pub fn add<'a>(&self, values: impl IntoIterator<Item = &'a Redacted<String>>) {
        let new: Vec<String> = values.into_iter().flat_map(|value| parts(value.reveal())).collect();
        {
            let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if new.iter().all(|value| known.values.contains(value)) {
                return;
            }
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.values.extend(new);
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&known.values);
        known.search = search.ok();
    }

    /// The text with every known value masked.
    #[must_use]
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match &known.search {
            Some(search) if search.is_match(text) => {
                let mut out = String::with_capacity(text.len());
                search.replace_all_with(text, &mut out, |_, _, out| {
                    out.push_str(MASK);
                    true
                });
                Cow::Owned(out)
            }
            // Without a search (values beyond any measure) nothing may be shown rather than everything.
            None if !known.values.is_empty() => Cow::Borrowed(MASK),
            _ => Cow::Borrowed(text),
        }
    }
}

/// What is looked for of a value: the whole, and each of its lines, because logs are read by the line.
fn parts(value: &str) -> Vec<String> {
    let mut parts: Vec<String> = value.lines().map(str::trim).map(str::to_owned).collect();
    parts.push(value.to_owned());
    parts.push(value.trim().to_owned());
    parts.retain(|part| part.chars().count() >= SHORTEST);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(values: &[&str]) -> Masks {
        let masks = Masks::default();
        let values: Vec<Redacted<String>> = values.iter().map(|value| Redacted::new((*value).to_owned())).collect();
        masks.add(&values);
        masks
    }

    #[test]
    fn known_values_are_masked_wherever_they_stand() {
        let masks = known(&["hunter2", "hunter2-and-more", "abc", "line one\n  line two\n"]);
        for (text, want) in [
            ("nothing here", "nothing here"),
            ("password hunter2!", "password ***!"),
            ("hunter2hunter2", "******"),
            ("hunter2-and-more", "***"),
            ("abc is too short to be looked for", "abc is too short to be looked for"),
            ("of a longer one, line two alone", "of a longer one, *** alone"),
            ("", ""),
        ] {
            assert_eq!(masks.mask(text), want);
        }
        let clone = masks.clone();
        clone.add(&[Redacted::new("später".to_owned())]);
        assert_eq!(masks.mask("für später"), "für ***", "clones share what they know");
        assert_eq!(format!("{masks:?}"), "Masks");
    }
}
