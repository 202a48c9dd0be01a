//! Patterns for names: `*` stands for any text, `?` for one character. In linear space, and in the product of both lengths
//! at most, whatever the pattern.

/// Whether the whole text is what a pattern describes.
#[must_use]
pub fn is_like(text: &str, pattern: &str) -> bool {
    let (mut text, mut pattern) = (text.chars(), pattern.chars());
    // Where to go on when the last star has to stand for one character more.
    let mut again = None;
    loop {
        let (rest, wanted) = (text.clone(), pattern.next());
        if wanted == Some('*') {
            again = Some((rest, pattern.clone()));
            continue;
        }
        match (text.next(), wanted) {
            (None, None) => return true,
            (Some(_), Some('?')) => {}
            (Some(here), Some(wanted)) if here == wanted => {}
            (here, _) => {
                let Some((from, after)) = &mut again else { return false };
                if from.next().is_none() || here.is_none() {
                    return false;
                }
                text = from.clone();
                pattern = after.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::is_like;

    #[test]
    fn stars_and_marks() {
        for (pattern, text, want) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "abc", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("*b*", "abc", true),
            ("a?c", "aüc", true),
            ("a?c", "ac", false),
            ("time__*", "time__now", true),
            ("*__delete*", "git__delete_all", true),
            ("*ab", "aab", true),
            ("a*b*c", "a-b-b-c", true),
            ("[a]", "a", false),
        ] {
            assert_eq!(is_like(text, pattern), want, "{pattern} {text}");
        }
        // No pattern takes for ever.
        assert!(!is_like(&"a".repeat(128), &("*a".repeat(100) + "b")));
    }

    /// The plain definition of it.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => {
                slow(rest, text) || text.split_first().is_some_and(|(_, more)| slow(pattern, more))
            }
            (Some(('?', p)), Some((_, t))) => slow(p, t),
            (Some((a, p)), Some((b, t))) => a == b && slow(p, t),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_is_what_it_is_defined_as(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(is_like(&text, &pattern), slow(&chars(&pattern), &chars(&text)));
        }
    }
}
