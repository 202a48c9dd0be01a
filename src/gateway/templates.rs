//! Whether a URI could have been made from a template (RFC 6570). The values are not worked out: what a template writes
//! itself must be there, in order, and anything may stand where it has an expression.

/// Whether `template` could make `uri`. A template without an end to its expression makes nothing.
#[must_use]
pub fn could_make(template: &str, uri: &str) -> bool {
    let Some((first, mut rest)) = template.split_once('{') else {
        return template == uri;
    };
    let Some(mut uri) = uri.strip_prefix(first) else {
        return false;
    };
    loop {
        let Some((_, after)) = rest.split_once('}') else {
            return false;
        };
        let Some((literal, next)) = after.split_once('{') else {
            return uri.ends_with(after);
        };
        let Some(at) = uri.find(literal) else { return false };
        uri = &uri[at + literal.len()..];
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn templates_match_by_what_they_write_themselves() {
        for (template, uri, want) in [
            ("a://b", "a://b", true),
            ("a://b", "a://bc", false),
            ("file:///{path}", "file:///x/y", true),
            ("file:///{path}", "file:/x", false),
            ("file:///{path}", "file:///", true),
            ("db://{table}/rows/{id}", "db://users/rows/7", true),
            ("db://{table}/rows/{id}", "db://users/columns/7", false),
            ("db://{table}/rows/{id}.json", "db://users/rows/7.json", true),
            ("db://{table}/rows/{id}.json", "db://users/rows/7.xml", false),
            ("{+any}", "what:ever", true),
            ("{a}-{b}-", "1-2-", true),
            ("{a}-{b}-", "1-", false),
            ("x{?q", "x?q=1", false),
            ("x{?q}", "x?q=1", true),
        ] {
            assert_eq!(could_make(template, uri), want, "{template} {uri}");
        }
    }

    proptest! {
        /// Whatever is put in the places of the expressions, the template could have made it.
        #[test]
        fn what_a_template_makes_it_could_have_made(parts in prop::collection::vec(("[a-z/:.]{0,5}", "[^{}]{0,6}"), 0..5), end in "[a-z/]{0,4}") {
            let (mut template, mut uri) = (String::new(), String::new());
            for (literal, value) in &parts {
                template.extend([literal.as_str(), "{x}"]);
                uri.extend([literal.as_str(), value]);
            }
            template.push_str(&end);
            uri.push_str(&end);
            prop_assert!(could_make(&template, &uri));
        }

        #[test]
        fn nothing_panics(template in ".{0,40}", uri in ".{0,40}") {
            let _ = could_make(&template, &uri);
        }
    }
}
