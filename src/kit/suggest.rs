//! "Did you mean": the nearest known word.

/// The candidate nearest to `word`, where it is near enough to be a slip of the fingers.
///
/// Distance is optimal string alignment (an edit, a swap of neighbours), at most a third of the word's length,
/// which is the rule that rustc uses for its own suggestions.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count().max(3)) / 3;
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= allowed + 4)
        .map(|candidate| {
            let folded = word.eq_ignore_ascii_case(candidate);
            (
                if folded {
                    0
                } else {
                    strsim::osa_distance(word, candidate)
                },
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let words = ["replicas", "packageName", "env", "description"];
        for (word, want) in [
            ("replica", Some("replicas")),
            ("relpicas", Some("replicas")),
            ("packagename", Some("packageName")),
            ("ENV", Some("env")),
            ("image", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, words), want, "{word}");
        }
    }
}
