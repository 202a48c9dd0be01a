//! What `-f` names: files, folders and stdin, put together into one request and told apart again in the answer.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::kit::Diagnostic;
use crate::resource::{FileText, yaml};

use super::error::Failure;

/// The longest file that is read, as in a repository.
const FILE: u64 = 1 << 20;
/// The most that stdin and all files may hold together.
const TOTAL: usize = 64 << 20;
/// How deep folders may be nested.
const DEPTH: usize = 64;

/// Where one file's text stands in the request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    path: String,
    /// The line of the request that holds the file's first line, from 1.
    first: u32,
}

/// Every file's text as one stream of YAML documents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Input {
    /// The text to send.
    pub text: String,
    parts: Vec<Part>,
}

impl Input {
    /// Reads what `-f` names and checks it as far as that is possible without mcpd.
    pub(super) fn read(folder: &Path, names: &[PathBuf]) -> Result<Self, Failure> {
        let mut files = vec![];
        let mut total = 0;
        for name in names {
            if name.as_os_str() == "-" {
                if files.iter().any(|file: &FileText| file.path == "<stdin>") {
                    return Err(Failure::usage(
                        "stdin can be read once only",
                        "give -f - once".to_owned(),
                    ));
                }
                let bytes = read_stdin(TOTAL)?;
                total += bytes.len();
                files.push(FileText {
                    path: "<stdin>".to_owned(),
                    bytes: Ok(bytes),
                });
            } else {
                let mut paths = vec![];
                let path = folder.join(name);
                if path.is_dir() {
                    collect(&path, name, &mut paths, 0)?;
                    if paths.is_empty() {
                        return Err(Failure::Given {
                            message: format!("{} holds no .yaml, .yml or .json file", name.display()),
                            hint: Some("hidden files and folders and symbolic links are passed over".to_owned()),
                        });
                    }
                } else {
                    paths.push((path, name.clone()));
                }
                for (path, shown) in paths {
                    let bytes = read_file(&path, &shown)?;
                    total += bytes.len();
                    files.push(FileText {
                        path: shown.display().to_string(),
                        bytes: Ok(bytes),
                    });
                }
            }
            if total > TOTAL {
                return Err(Failure::Given {
                    message: format!("more than {} MiB are too much for one request", TOTAL >> 20),
                    hint: None,
                });
            }
        }
        Self::of(&files.into_iter().flat_map(elements).collect::<Vec<_>>())
    }

    /// Checks the files and puts them together.
    fn of(files: &[FileText]) -> Result<Self, Failure> {
        let mut wrong = vec![];
        let mut documents = 0;
        for file in files {
            let parsed = yaml::read_body(file, yaml::LARGEST);
            documents += parsed.documents.len();
            wrong.extend(parsed.diagnostics);
        }
        if !wrong.is_empty() {
            return Err(Failure::Invalid(wrong));
        }
        if documents == 0 {
            return Err(Failure::Given {
                message: "nothing is declared in what was given".to_owned(),
                hint: Some("a declaration begins with \"kind: server\"".to_owned()),
            });
        }
        let texts = files
            .iter()
            .filter_map(|file| Some((file.path.as_str(), file.bytes.as_deref().ok()?)))
            .map(|(path, bytes)| (path, String::from_utf8_lossy(bytes)));
        Ok(Self::join(texts))
    }

    /// Joins texts into one stream of documents.
    fn join<'a>(texts: impl IntoIterator<Item = (&'a str, std::borrow::Cow<'a, str>)>) -> Self {
        let mut input = Self::default();
        let mut line = 1;
        for (path, text) in texts {
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            // A directive is only understood after the end of a document; "---" is not doubled, it would be a document of its own.
            let begins = |mark: &str| {
                text.lines()
                    .find(|line| !line.trim().is_empty() && !line.starts_with('#'))
                    .is_some_and(|line| line.starts_with(mark))
            };
            let separator = if input.parts.is_empty() || begins("---") {
                ""
            } else if begins("%") {
                "...\n"
            } else {
                "---\n"
            };
            input.text.push_str(separator);
            line += lines(separator);
            input.parts.push(Part {
                path: path.to_owned(),
                first: line,
            });
            input.text.push_str(text);
            line += lines(text);
            if !text.ends_with('\n') {
                input.text.push('\n');
                line += 1;
            }
        }
        input
    }

    /// The file and line behind a line of the request.
    fn origin(&self, line: u32) -> Option<(&str, u32)> {
        let part = self.parts.iter().rev().find(|part| part.first <= line)?;
        Some((&part.path, line - part.first + 1))
    }

    /// Turns `<request>:7` and `<request>:7:3: …` into the place in the file.
    pub(super) fn place(&self, text: &str) -> String {
        let Some((name, rest)) = text.split_once(':').filter(|(name, _)| is_request(name)) else {
            return if is_request(text) {
                self.whole()
            } else {
                text.to_owned()
            };
        };
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (line, tail) = rest.split_at(digits);
        match line.parse().ok().and_then(|line| self.origin(line)) {
            Some((path, line)) => format!("{path}:{line}{tail}"),
            None => format!("{name}:{rest}"),
        }
    }

    /// The name of all that was given.
    fn whole(&self) -> String {
        match self.parts.as_slice() {
            [only] => only.path.clone(),
            parts => format!("{} files", parts.len()),
        }
    }

    /// Points mcpd's diagnostics of the request at the files.
    pub(super) fn localise(&self, diagnostics: &mut [Diagnostic]) {
        for diagnostic in diagnostics {
            if let Some(note) = &diagnostic.note {
                diagnostic.note = Some(self.place(note));
            }
            if !is_request(&diagnostic.file) {
                continue;
            }
            match self.origin(diagnostic.line) {
                Some((path, line)) => {
                    path.clone_into(&mut diagnostic.file);
                    diagnostic.line = line;
                }
                None => diagnostic.file = self.whole(),
            }
        }
    }

    /// Points a refusal's diagnostics at the files.
    pub(super) fn localised(&self, mut failure: Failure) -> Failure {
        if let Failure::Refused { body, .. } = &mut failure {
            self.localise(&mut body.diagnostics);
        }
        failure
    }
}

/// The declarations of a JSON array, a file each; any other file as it is. `get -o json` writes such arrays.
fn elements(file: FileText) -> Vec<FileText> {
    let values = file
        .bytes
        .as_deref()
        .ok()
        .filter(|bytes| bytes.trim_ascii_start().starts_with(b"["))
        .and_then(|bytes| serde_json::from_slice::<Vec<serde_json::Value>>(bytes).ok());
    let Some(values) = values else { return vec![file] };
    values
        .iter()
        .enumerate()
        .map(|(n, value)| FileText {
            path: format!("{}[{n}]", file.path),
            bytes: Ok(format!("{value:#}\n").into_bytes()),
        })
        .collect()
}

/// Whether a file's name stands for the request: `<body>`, and no file of a repository.
fn is_request(name: &str) -> bool {
    name.starts_with('<') && name.ends_with('>')
}

fn lines(text: &str) -> u32 {
    u32::try_from(text.matches('\n').count()).unwrap_or(u32::MAX)
}

fn failed(path: &Path, cause: std::io::Error) -> Failure {
    Failure::File {
        path: path.to_owned(),
        cause,
    }
}

/// All of stdin, and one byte more than `most` where it is longer than that.
pub(super) fn read_stdin(most: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![];
    std::io::stdin()
        .lock()
        .take(most as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|cause| failed(Path::new("<stdin>"), cause))?;
    Ok(bytes)
}

/// The bytes of a file of at most 1 MiB; `shown` is how the user calls it.
pub(super) fn read_file(path: &Path, shown: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![];
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE + 1).read_to_end(&mut bytes))
        .map_err(|cause| failed(shown, cause))?;
    if bytes.len() as u64 > FILE {
        return Err(Failure::Given {
            message: format!("{} is longer than 1 MiB", shown.display()),
            hint: Some("split it: mcpd's repositories take no longer files either".to_owned()),
        });
    }
    Ok(bytes)
}

/// The files of a folder in order of name; hidden ones and links are passed over.
fn collect(path: &Path, shown: &Path, out: &mut Vec<(PathBuf, PathBuf)>, depth: usize) -> Result<(), Failure> {
    if depth > DEPTH {
        return Err(failed(shown, std::io::Error::other("folders are nested too deep")));
    }
    let mut entries = std::fs::read_dir(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|cause| failed(shown, cause))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let kind = entry.file_type().map_err(|cause| failed(shown, cause))?;
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        // `-f .` shows `servers/a.yaml`, not `./servers/a.yaml`.
        let shown = if shown == Path::new(".") {
            PathBuf::from(&name)
        } else {
            shown.join(&name)
        };
        let path = entry.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if kind.is_dir() {
            collect(&path, &shown, out, depth + 1)?;
        } else if kind.is_file() && matches!(ending, Some("yaml" | "yml" | "json")) {
            out.push((path, shown));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(texts: &[(&'static str, &'static str)]) -> Input {
        Input::join(texts.iter().map(|(path, text)| (*path, (*text).into())))
    }

    #[test]
    fn files_are_joined_and_told_apart() {
        let input = join(&[
            ("a.yaml", "kind: server\nname: a"),
            ("b.yaml", "# b\n---\nkind: server\nname: b\n"),
            ("c.json", "\u{feff}{\"kind\": \"server\"}\n"),
            ("d.yaml", "%YAML 1.2\n---\nkind: x\n"),
        ]);
        let want = "kind: server\nname: a\n# b\n---\nkind: server\nname: b\n---\n{\"kind\": \"server\"}\n...\n%YAML 1.2\n---\nkind: x\n";
        assert_eq!(input.text, want);
        for (line, path, own) in [
            (1, "a.yaml", 1),
            (2, "a.yaml", 2),
            (3, "b.yaml", 1),
            (8, "c.json", 1),
            (12, "d.yaml", 3),
        ] {
            assert_eq!(input.origin(line), Some((path, own)), "{line}");
        }
        for (text, want) in [
            ("<body>:6:3: also here", "b.yaml:4:3: also here"),
            ("<body>:2", "a.yaml:2"),
            ("<body>", "4 files"),
            ("servers/x.yaml:2:1", "servers/x.yaml:2:1"),
            ("store", "store"),
        ] {
            assert_eq!(input.place(text), want);
        }
    }

    #[test]
    fn diagnostics_point_at_files() {
        let input = join(&[("a.yaml", "kind: server\n"), ("b.yaml", "kind: project\n")]);
        let mut all = [
            Diagnostic {
                line: 3,
                column: 7,
                ..Diagnostic::of_file("<request>", "bad")
            },
            Diagnostic::of_file("servers/x.yaml", "held"),
        ];
        input.localise(&mut all);
        assert_eq!(all.each_ref().map(Diagnostic::place), ["b.yaml:1:7", "servers/x.yaml"]);
    }

    #[test]
    fn a_json_array_is_its_elements() {
        let file = |text: &str| FileText {
            path: "all.json".into(),
            bytes: Ok(text.into()),
        };
        let paths = |text: &str| {
            elements(file(text))
                .into_iter()
                .map(|file| file.path)
                .collect::<Vec<_>>()
        };
        assert_eq!(paths(" [{\"kind\": \"server\"}, 7]"), ["all.json[0]", "all.json[1]"]);
        assert_eq!(paths("[a, b]"), ["all.json"]);
        assert_eq!(paths("kind: server"), ["all.json"]);
        let array =
            r#"[{"kind": "server", "name": "a", "command": ["a"]}, {"kind": "server", "name": "b", "command": ["b"]}]"#;
        let files = elements(file(array));
        assert_eq!(Input::of(&files).unwrap().parts.len(), 2);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test needs files")]
    fn folders_are_read_in_order_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("b.yml", "x");
        write("a/z.json", "x");
        write(".hidden/a.yaml", "x");
        write(".a.yaml", "x");
        write("notes.txt", "x");
        std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();
        let mut out = vec![];
        collect(folder.path(), Path::new("in"), &mut out, 0).unwrap();
        let shown: Vec<String> = out.iter().map(|(_, shown)| shown.display().to_string()).collect();
        assert_eq!(shown, ["in/a/z.json", "in/b.yml"]);
        write("long.yaml", &"#".repeat(1 << 21));
        assert!(read_file(&folder.path().join("long.yaml"), Path::new("long.yaml")).is_err());
        assert!(read_file(&folder.path().join("none.yaml"), Path::new("none.yaml")).is_err());
    }
}
