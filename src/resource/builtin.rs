//! What ships in the binary: shown, never agreed, exported or counted. A document of the same identity takes its place.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::document::Document;
use super::id::Id;
use super::tree::FileText;
use super::yaml;

/// The origin that such a resource is shown with.
pub const BUILT_IN: &str = "builtin";

/// The files, each read as a file of a repository is.
const FILES: &[(&str, &str)] = &[
    ("builtin/everything.yaml", include_str!("builtin/everything.yaml")),
    ("builtin/filesystem.yaml", include_str!("builtin/filesystem.yaml")),
    ("builtin/time.yaml", include_str!("builtin/time.yaml")),
];

static DOCUMENTS: LazyLock<BTreeMap<Id, Arc<Document>>> = LazyLock::new(|| {
    let documents = FILES.iter().flat_map(|(path, text)| read(path, text).documents);
    documents
        .map(|parsed| (parsed.placed.document.id.clone(), Arc::clone(&parsed.placed.document)))
        .collect()
});

fn read(path: &str, text: &str) -> yaml::ParsedFile {
    yaml::read(&FileText {
        path: path.to_owned(),
        bytes: Ok(text.as_bytes().to_vec()),
    })
}

/// Everything that ships in the binary.
#[must_use]
pub fn built_in() -> &'static BTreeMap<Id, Arc<Document>> {
    &DOCUMENTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Template;

    #[test]
    fn what_ships_is_without_a_fault() {
        for (path, text) in FILES {
            let file = read(path, text);
            assert_eq!((file.diagnostics, file.unreadable.len()), (vec![], 0), "{path}");
            for parsed in &file.documents {
                let id = &parsed.placed.document.id;
                assert_eq!(*path, format!("builtin/{}.yaml", id.name));
                assert!(parsed.placed.document.references().is_empty(), "{id}");
            }
        }
        let names: Vec<String> = built_in().keys().map(ToString::to_string).collect();
        assert_eq!(names, ["template/everything", "template/filesystem", "template/time"]);
    }

    /// A template is a promise that the same thing starts tomorrow: its package has a version.
    #[test]
    fn what_ships_is_pinned_and_described() {
        for (id, document) in built_in() {
            let template: Template = document.typed().unwrap();
            let package = template.server.package_name.unwrap();
            let version = package.rsplit(['@', '=']).next().unwrap();
            assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{id}: {package}");
            assert!(
                !template.version.is_empty() && !template.server.description.is_empty(),
                "{id}"
            );
            for variable in template.env {
                assert!(!variable.description.is_empty(), "{id}: {}", variable.name);
            }
        }
    }
}
