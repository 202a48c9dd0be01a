//! What a command is about: declared kinds, recorded kinds, names.

use clap::Args;

use crate::kit::{Name, NotAName, nearest};
use crate::resource::{Declared as _, Id, KINDS, Kind, NotAnId, Scope, Secret, kind_named};

use super::error::Failure;

/// A word for a kind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Noun {
    /// What people declare.
    Declared(&'static Kind),
    /// What mcpd writes down.
    Recorded(Recorded),
    /// Every declared kind.
    All,
}

/// A kind that is written down, not declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recorded {
    Instances,
    Conflicts,
    Events,
    Revisions,
    Runs,
    Tools,
}

const RECORDED: [(Recorded, &str, &str); 6] = [
    (Recorded::Instances, "instances", "instance"),
    (Recorded::Conflicts, "conflicts", "conflict"),
    (Recorded::Events, "events", "event"),
    (Recorded::Revisions, "revisions", "revision"),
    (Recorded::Runs, "runs", "run"),
    (Recorded::Tools, "tools", "tool"),
];

impl Recorded {
    /// The word in a path.
    pub(super) fn plural(self) -> &'static str {
        RECORDED
            .iter()
            .find(|(row, ..)| *row == self)
            .map_or("", |(_, plural, _)| plural)
    }
}

impl Recorded {
    /// What makes mcpd look for the records that a name means, as the rest of a query; empty where it lists all there are.
    pub(super) fn query(self, name: &str) -> String {
        let is_number = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
        // Beyond these characters a name is none, and needs no escapes.
        let is_word = name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'/' | b'@'));
        match self {
            // Numbers are of any age.
            Self::Events | Self::Revisions | Self::Runs if is_number => "&limit=10000".to_owned(),
            Self::Events if is_word => {
                let about = name.parse::<Id>().map_or_else(|_| name.to_owned(), |id| id.to_string());
                format!("&about={about}")
            }
            _ => String::new(),
        }
    }
}

/// The kind that a word stands for.
pub(super) fn noun(word: &str) -> Result<Noun, Failure> {
    if word == "all" {
        return Ok(Noun::All);
    }
    if let Some(kind) = kind_named(word) {
        return Ok(Noun::Declared(kind));
    }
    RECORDED
        .iter()
        .find(|(_, plural, singular)| [*plural, *singular].contains(&word))
        .map(|(recorded, ..)| Noun::Recorded(*recorded))
        .ok_or_else(|| unknown(word, true))
}

/// The recorded kind that a word stands for.
pub(super) fn recorded(word: &str) -> Option<Recorded> {
    match noun(word) {
        Ok(Noun::Recorded(recorded)) => Some(recorded),
        _ => None,
    }
}

/// The failure for a word that is no kind.
fn unknown(word: &str, recorded: bool) -> Failure {
    let more = RECORDED
        .iter()
        .filter(|_| recorded)
        .flat_map(|(_, plural, singular)| [*plural, *singular]);
    let known = KINDS
        .iter()
        .flat_map(|kind| [kind.name, kind.plural].into_iter().chain(kind.aliases.iter().copied()))
        .chain(more);
    let hint = nearest(word, known).map_or_else(
        || {
            let declared = KINDS.iter().map(|kind| kind.plural);
            let recorded = RECORDED.iter().filter(|_| recorded).map(|(_, plural, _)| *plural);
            format!("kinds are {}", declared.chain(recorded).collect::<Vec<_>>().join(", "))
        },
        |near| format!("did you mean \"{near}\"?"),
    );
    let word: String = word.chars().take(80).collect();
    Failure::usage(format!("no such kind: {word:?}"), hint)
}

/// The project in which a name counts.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct InProject {
    /// The project in which the name counts; KIND/PROJECT/NAME says the same
    #[arg(short, long, value_name = "PROJECT")]
    pub(super) project: Option<String>,
}

/// The resource that `KIND NAME`, `KIND/NAME` or `KIND/PROJECT/NAME` names.
pub(super) fn resource(kind: &str, name: Option<&str>, within: &InProject) -> Result<Id, Failure> {
    let text = match name {
        Some(name) => format!("{kind}/{name}"),
        None if kind.contains('/') => kind.to_owned(),
        None => {
            return Err(match kind_named(kind) {
                Some(row) => Failure::usage(
                    format!("which {}?", row.name),
                    format!("give a name, as {}/NAME", row.name),
                ),
                None => unknown(kind, false),
            });
        }
    };
    let id: Id = text.parse().map_err(|error| match error {
        NotAnId::Kind(word) => unknown(&word, false),
        other => Failure::usage(other.to_string(), None),
    })?;
    let Some(project) = &within.project else { return Ok(id) };
    let project = project_named(project)?;
    match &id.scope {
        Scope::Global if id.kind().scoped => Ok(Id::scoped(id.kind(), Scope::Project(project), id.name)),
        Scope::Global => Err(Failure::usage(
            format!("{} belong to no project", id.kind().plural),
            "leave --project out".to_owned(),
        )),
        Scope::Project(said) if *said == project => Ok(id),
        Scope::Project(said) => Err(Failure::usage(
            format!("{id} is in project {said}, and --project says {project}"),
            "say it once".to_owned(),
        )),
    }
}

/// The name of a project.
pub(super) fn project_named(word: &str) -> Result<Name, Failure> {
    word.parse()
        .map_err(|error: NotAName| Failure::usage(format!("--project: {error}"), None))
}

/// Whether values of a kind are never shown.
pub(super) fn is_confidential(kind: &Kind) -> bool {
    kind.name == Secret::NAME
}

/// The path of the list that a resource stands in, below `/api/v1`.
pub(super) fn list_path(id: &Id) -> String {
    let path = path(id);
    path.rsplit_once('/').map_or(path.clone(), |(list, _)| list.to_owned())
}

/// The path of a resource below `/api/v1`. Names need no escapes.
pub(super) fn path(id: &Id) -> String {
    let plural = id.kind().plural;
    match &id.scope {
        Scope::Global => format!("/{plural}/{}", id.name),
        Scope::Project(project) => format!("/projects/{project}/{plural}/{}", id.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_kinds() {
        for kind in KINDS {
            for word in [kind.name, kind.plural].iter().chain(kind.aliases) {
                assert!(
                    matches!(noun(word), Ok(Noun::Declared(row)) if row.name == kind.name),
                    "{word}"
                );
            }
        }
        for (recorded, plural, singular) in RECORDED {
            for word in [plural, singular] {
                assert!(
                    matches!(noun(word), Ok(Noun::Recorded(row)) if row == recorded),
                    "{word}"
                );
            }
        }
        for (word, hint) in [
            ("serverz", "did you mean \"server\"?"),
            ("evnets", "did you mean \"events\"?"),
            (
                "nonsense",
                "kinds are secrets, templates, servers, projects, prompts, instances, conflicts, events, revisions, runs, tools",
            ),
        ] {
            let failure = noun(word).unwrap_err();
            assert_eq!(failure.exit(), 2);
            assert_eq!(failure.lines()[1], format!("hint: {hint}"));
        }
    }

    fn within(project: Option<&str>) -> InProject {
        InProject {
            project: project.map(str::to_owned),
        }
    }

    #[test]
    fn resources_are_named_in_several_ways() {
        for (kind, name, project, want) in [
            ("srv", Some("time"), None, "server/time"),
            ("server/time", None, None, "server/time"),
            ("servers/time", None, None, "server/time"),
            ("prompt", Some("old"), None, "prompt/old"),
            ("prompt", Some("old"), Some("ops"), "prompt/ops/old"),
            ("prompts/old", None, Some("ops"), "prompt/ops/old"),
            ("prompt", Some("ops/old"), None, "prompt/ops/old"),
            ("prompt/ops/old", None, None, "prompt/ops/old"),
            ("prompt/ops/old", None, Some("ops"), "prompt/ops/old"),
        ] {
            let id = resource(kind, name, &within(project)).unwrap();
            assert_eq!(id.to_string(), want, "{kind} {name:?} {project:?}");
        }
        for (kind, name, project, want) in [
            ("server", None, None, "which server?"),
            ("serverz", Some("x"), None, "no such kind"),
            ("server", Some("A"), None, "is not a name"),
            ("server/a", Some("b"), None, "names a project"),
            ("server", Some("a"), Some("ops"), "servers belong to no project"),
            ("prompt", Some("old"), Some("OPS"), "--project: \"OPS\" is not a name"),
            ("prompt/ops/old", None, Some("dev"), "and --project says dev"),
        ] {
            let failure = resource(kind, name, &within(project)).unwrap_err();
            assert_eq!(failure.exit(), 2, "{kind} {name:?}");
            assert!(failure.to_string().contains(want), "{failure}");
        }
        let path_of = |word: &str| path(&resource(word, None, &within(None)).unwrap());
        assert_eq!(path_of("proj/demo"), "/projects/demo");
        assert_eq!(path_of("prompt/old"), "/prompts/old");
        assert_eq!(path_of("prompt/ops/old"), "/projects/ops/prompts/old");
    }
}
