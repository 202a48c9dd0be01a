//! What a change of one resource needs, whichever door it comes through.

use crate::resource::{Declared as _, Document, Id, Secret};

use super::decision::Action;

/// What has to be allowed for a resource to become `after` (nothing: it goes), where `there` says whether it is declared.
#[must_use]
pub fn change(id: &Id, there: bool, after: Option<&Document>) -> Vec<Action> {
    let change = match (there, after) {
        (false, None) => return vec![],
        (true, None) => Action::Delete(id.clone()),
        (false, Some(_)) => Action::Create(id.clone()),
        (true, Some(_)) => Action::Edit(id.clone()),
    };
    let naming = after.map(naming).unwrap_or_default();
    std::iter::once(change).chain(naming).collect()
}

/// What has to be allowed for what a document names: who says what is run with a secret can read it, so that each
/// declaration that names one needs `run` on it, whether it named it before or not.
#[must_use]
pub fn naming(document: &Document) -> Vec<Action> {
    let secrets = document.needs().into_iter().filter(|id| id.kind().name == Secret::NAME);
    secrets.map(Action::Run).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_change_needs_its_right() {
        let id: Id = "server/web".parse().expect("an identity");
        let secret =
            |name: &str| json!({"name": name.to_uppercase(), "valueFrom": {"secretRef": {"name": name, "key": "k"}}});
        let plain = Document::new(id.clone(), &json!({"command": ["x"]})).expect("a server");
        let env = json!([secret("one"), secret("two"), {"name": "P", "value": "three"}]);
        let naming = Document::new(id.clone(), &json!({"command": ["x"], "env": env})).expect("a server");
        for (there, after, want) in [
            (false, None, &[][..]),
            (true, None, &["delete servers/web"]),
            (false, Some(&plain), &["create servers/web"]),
            (true, Some(&plain), &["edit servers/web"]),
            (
                false,
                Some(&naming),
                &["create servers/web", "run secrets/one", "run secrets/two"],
            ),
            (
                true,
                Some(&naming),
                &["edit servers/web", "run secrets/one", "run secrets/two"],
            ),
        ] {
            let needs: Vec<String> = change(&id, there, after).iter().map(ToString::to_string).collect();
            assert_eq!(needs, want);
        }
        // What it names besides is no matter of use.
        let project = Document::new("project/p".parse().expect("an identity"), &json!({"servers": ["web"]}));
        assert!(super::naming(&project.expect("a project")).is_empty());
    }
}
