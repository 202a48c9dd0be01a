//! The comments of a file, so that writing it again keeps them.
//!
//! As with `sops`, a comment belongs to what follows it, and one behind a value moves above it.

use std::collections::{BTreeSet, HashMap};

use super::tree::{Data, Node};

/// A step from a value to one of its parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// The way from the root to a value.
pub type Path = Vec<Step>;

/// The comments of a file, each line as it stands there, from its `#` on.
#[derive(Debug, Default)]
pub struct Comments {
    above: HashMap<Path, Vec<String>>,
    /// Behind the last value of `data`.
    pub below_data: Vec<String>,
    /// Behind everything.
    pub last: Vec<String>,
}

/// A key or an item, in the order of the file.
struct Part {
    path: Path,
    line: u32,
    /// Where the value begins that may have a comment behind it in its line.
    behind: (u32, u32),
}

impl Comments {
    /// The lines above a value.
    pub fn above(&self, path: &[Step]) -> &[String] {
        self.above.get(path).map_or(&[], Vec::as_slice)
    }

    /// Finds them; `root` is the tree of `text`.
    pub fn of(text: &str, root: &Node) -> Self {
        let (mut parts, mut texts) = (vec![], BTreeSet::new());
        collect(root, &mut vec![], &mut parts, &mut texts);
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut it = Self::default();
        let mut next = 0;
        for (number, line) in (1_u32..).zip(text.lines()) {
            while parts.get(next).is_some_and(|part| part.line < number) {
                next += 1;
            }
            if line.trim_start().starts_with('#') && !texts.contains(&number) {
                let comment = line.trim().to_owned();
                let indented = line.starts_with([' ', '\t']);
                let in_data =
                    |part: Option<&Part>| part.is_some_and(|it| it.path.first() == Some(&Step::Key("data".into())));
                match parts.get(next) {
                    target if indented && !in_data(target) && next > 0 && in_data(parts.get(next - 1)) => {
                        it.below_data.push(comment);
                    }
                    Some(part) => it.above.entry(part.path.clone()).or_default().push(comment),
                    None => it.last.push(comment),
                }
                continue;
            }
            // Of several values in one line the last one has the comment behind it.
            let here = parts[next..].iter().take_while(|part| part.line == number).last();
            if let Some(part) = here
                && let Some(comment) = behind(line, number, part.behind)
            {
                it.above.entry(part.path.clone()).or_default().push(comment);
            }
        }
        it
    }
}

fn collect(node: &Node, path: &mut Path, parts: &mut Vec<Part>, texts: &mut BTreeSet<u32>) {
    let mut part = |step: Step, line: u32, column: u32, value: &Node| {
        path.push(step);
        let begins = if value.at.line == line {
            (line, value.at.column)
        } else {
            (line, column)
        };
        parts.push(Part {
            path: path.clone(),
            line,
            behind: begins,
        });
        if matches!(value.data, Data::Scalar(_)) {
            // The first line of a block text counts as its begin; of no other scalar does that line begin with a #.
            texts.extend(value.at.line..=value.last_line);
        }
        collect(value, path, parts, texts);
        path.pop();
    };
    match &node.data {
        Data::Scalar(_) => {}
        Data::List(items) => {
            for (number, item) in items.iter().enumerate() {
                part(Step::Index(number), item.at.line, item.at.column, item);
            }
        }
        Data::Mapping(entries) => {
            for entry in entries {
                part(
                    Step::Key(entry.key.clone()),
                    entry.at.line,
                    entry.at.column,
                    &entry.value,
                );
            }
        }
    }
}

/// The comment behind the value that begins at a place of this line.
fn behind(line: &str, number: u32, (at, column): (u32, u32)) -> Option<String> {
    if at != number {
        return None;
    }
    let from = line.char_indices().nth(column.saturating_sub(1) as usize)?.0;
    let value = &line[from..];
    let rest = match value.chars().next()? {
        quote @ ('"' | '\'') => {
            let mut escaped = false;
            let end = value.char_indices().skip(1).find(|(_, c)| {
                let ends = *c == quote && !escaped;
                escaped = quote == '"' && *c == '\\' && !escaped;
                ends
            })?;
            &value[end.0 + 1..]
        }
        _ => value,
    };
    let hash = rest.find(" #").or_else(|| rest.find("\t#"))?;
    Some(rest[hash + 1..].trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::sops::tree;

    #[test]
    fn comments_belong_to_what_follows() {
        let text = "# head\nkind: secret # behind\ntext: |\n    # no comment\n    x\n# above\ndata: # of data\n    # a\n    \
                    a: \"x # y\" # q\n    l:\n        # item\n        - 1\n    # foot\nsops:\n    # dropped\n    mac: x\n# end\n";
        let root = tree::parse(text).unwrap();
        let it = Comments::of(text, &root);
        let key = |keys: &[&str]| keys.iter().map(|it| Step::Key((*it).into())).collect::<Path>();
        assert_eq!(it.above(&key(&["kind"])), ["# head", "# behind"]);
        assert_eq!(it.above(&key(&["data"])), ["# above", "# of data"]);
        assert_eq!(it.above(&key(&["data", "a"])), ["# a", "# q"]);
        let item = [key(&["data", "l"]), vec![Step::Index(0)]].concat();
        assert_eq!(it.above(&item), ["# item"]);
        assert_eq!(
            (it.below_data, it.last),
            (vec!["# foot".to_owned()], vec!["# end".to_owned()])
        );
    }
}
