//! Kind `prompt`: a text that is offered to models, everywhere or in one project.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::document::Problem;
use super::kind::{Declared, Reference};
use super::project::Project;
use super::schema::one_of;
use super::server::Server;

/// A text for models: content of its own, or a link to what a server offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prompt {
    /// What the prompt says, in a line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 4096))]
    pub summary: String,
    /// How much it matters, from 1 to 10; what matters more comes first.
    #[serde(default = "usual_priority", skip_serializing_if = "is_usual_priority")]
    #[schemars(range(min = 1, max = 10), extend("default" = 5))]
    pub priority: u32,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub tags: Vec<String>,
    /// The resource of a server that holds the text, as project/server:uri.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub link: Option<String>,
    /// The text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 262_144))]
    pub content: Option<String>,
}

const fn usual_priority() -> u32 {
    5
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
const fn is_usual_priority(value: &u32) -> bool {
    *value == usual_priority()
}

/// The parts of `project/server:uri`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link<'a> {
    /// The project.
    pub project: &'a str,
    /// The server in it.
    pub server: &'a str,
    /// The resource that the server offers.
    pub uri: &'a str,
}

impl<'a> Link<'a> {
    /// Takes a link apart; nothing where it has another form.
    #[must_use]
    pub fn of(text: &'a str) -> Option<Self> {
        let (place, uri) = text.split_once(':')?;
        let (project, server) = place.split_once('/')?;
        let sound = !project.is_empty() && !server.is_empty() && !server.contains('/') && !uri.is_empty();
        let sound = sound && !text.contains(|c: char| c.is_whitespace() || c.is_control());
        sound.then_some(Self { project, server, uri })
    }
}

impl Declared for Prompt {
    const NAME: &'static str = "prompt";
    const PLURAL: &'static str = "prompts";
    const ALIASES: &'static [&'static str] = &[];
    const SCOPED: bool = true;

    fn check(&self) -> Vec<Problem> {
        let mut problems = vec![];
        match (&self.content, &self.link) {
            (None, None) => {
                problems.push(Problem::at("", "a prompt needs a text").hint("give one of content or link"));
            }
            (Some(_), Some(_)) => {
                problems.push(Problem::at_key(
                    "link",
                    "a prompt has one text, and content is given too",
                ));
            }
            _ => {}
        }
        if let Some(link) = &self.link
            && Link::of(link).is_none()
        {
            problems.push(
                Problem::at("link", "not of the form project/server:uri").hint(
                    "name a project, a server in it, and a resource of the server, as ops/docs:file:///runbook.md",
                ),
            );
        }
        for (n, tag) in self.tags.iter().enumerate() {
            if self.tags[..n].contains(tag) {
                problems.push(Problem::at(format!("tags[{n}]"), format!("{tag} is listed twice")));
            }
        }
        problems
    }

    fn references(&self) -> Vec<Reference> {
        let Some(link) = self.link.as_deref().and_then(Link::of) else {
            return vec![];
        };
        let named = |kind, name: &str| Reference {
            path: "link".to_owned(),
            kind,
            name: name.to_owned(),
        };
        vec![named(Project::NAME, link.project), named(Server::NAME, link.server)]
    }

    fn rules() -> Vec<Value> {
        vec![
            one_of("content", "link", "a prompt has one text: content or link"),
            json!({"properties": {
                "link": {"pattern": "^[^/:]+/[^/:]+:."},
                "tags": {"uniqueItems": true},
            }}),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Document;

    #[test]
    fn a_prompt_has_one_text() {
        for (spec, want) in [
            (json!({"content": "x"}), Ok(json!({"content": "x"}))),
            (
                json!({"content": "x", "priority": 5, "tags": [], "summary": ""}),
                Ok(json!({"content": "x"})),
            ),
            (
                json!({"link": "ops/docs:file:///a", "priority": 10}),
                Ok(json!({"link": "ops/docs:file:///a", "priority": 10})),
            ),
            (json!({}), Err("a prompt needs a text")),
            (
                json!({"content": "x", "link": "a/b:c"}),
                Err("link: a prompt has one text, and content is given too"),
            ),
            (
                json!({"content": "x", "priority": 11}),
                Err("priority: expected an integer from 1 to 10, found 11"),
            ),
            (
                json!({"content": "x", "priority": 0}),
                Err("priority: expected an integer from 1 to 10, found 0"),
            ),
            (
                json!({"content": "x", "tags": ["a", "a"]}),
                Err("tags[1]: a is listed twice"),
            ),
            (json!({"content": ""}), Err("content: must not be empty")),
            (
                json!({"content": "x", "agent": "helper"}),
                Err("agent: unknown field \"agent\" of a prompt"),
            ),
        ] {
            let got = Document::new("prompt/ops/old".parse().unwrap(), &spec);
            let got = got.map(|it| it.spec).map_err(|problems| problems[0].to_string());
            assert_eq!(got, want.map_err(str::to_owned), "{spec}");
        }
    }

    #[test]
    fn links_name_a_project_a_server_and_a_resource() {
        let link = Link::of("ops/docs:file:///a:b/c");
        let want = Link {
            project: "ops",
            server: "docs",
            uri: "file:///a:b/c",
        };
        assert_eq!(link, Some(want));
        for bad in [
            "",
            "docs:x",
            "ops/docs",
            "ops/docs:",
            "/docs:x",
            "ops/:x",
            "a/b/c:x",
            "ops/docs:a b",
            "ops/docs:\n",
        ] {
            assert_eq!(Link::of(bad), None, "{bad:?}");
            let spec = json!({"link": bad});
            assert!(Document::new("prompt/old".parse().unwrap(), &spec).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_a_prompt_needs_is_named_where_it_stands() {
        let spec = json!({"link": "ops/docs:x"});
        let document = Document::new("prompt/dev/old".parse().unwrap(), &spec).unwrap();
        let needs: Vec<_> = document
            .references()
            .into_iter()
            .map(|it| (it.path, it.kind, it.name))
            .collect();
        let want = [
            ("project", "project", "dev"),
            ("link", "project", "ops"),
            ("link", "server", "docs"),
        ];
        assert_eq!(
            needs,
            want.map(|(path, kind, name)| (path.to_owned(), kind, name.to_owned()))
        );
    }
}
