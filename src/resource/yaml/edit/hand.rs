//! Writes documents as people do, for the tests: any order, quoting and indentation, comments wherever one may stand.

use serde_json::{Map, Value};

use crate::resource::document::Document;
use crate::resource::id::Scope;
use crate::resource::kind::Kind;
use crate::resource::yaml::print::escaped;

/// A hand with its own habits, all drawn from one number.
pub struct Hand {
    state: u64,
    comments: usize,
    newline: &'static str,
    /// In hundredths, how often a comment is written where one may stand.
    talk: u64,
    json: bool,
    /// Anchors of this document, and the texts that have them.
    anchors: Vec<(Value, String)>,
    anchored: usize,
}

impl Hand {
    pub fn new(seed: u64) -> Self {
        let mut hand = Self {
            state: seed,
            comments: 0,
            newline: "\n",
            talk: 0,
            json: false,
            anchors: vec![],
            anchored: 0,
        };
        hand.talk = hand.of(&[0, 10, 40]);
        hand.newline = hand.of(&["\n", "\n", "\r\n"]);
        hand
    }

    pub fn draw(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        let n = self.draw(choices.len() as u64);
        choices[usize::try_from(n).unwrap()]
    }

    fn once_in(&mut self, n: u64) -> bool {
        self.draw(n) == 0
    }

    fn says_something(&mut self) -> Option<String> {
        let talks = !self.json && self.draw(100) < self.talk;
        talks.then(|| {
            self.comments += 1;
            let words = self.of(&["", " 'it", " \"so", " - x: [1", " a: b"]);
            format!("# c{}{words}", self.comments)
        })
    }

    fn end_line(&mut self, out: &mut String) {
        if let Some(comment) = self.says_something() {
            out.push_str(self.of(&[" ", "  ", "\t"]));
            out.push_str(&comment);
        }
        out.push_str(self.newline);
    }

    fn above(&mut self, out: &mut String, indent: usize) {
        if self.once_in(8) && !self.json {
            out.push_str(self.newline);
        }
        while let Some(comment) = self.says_something() {
            out.push_str(&" ".repeat(indent));
            out.push_str(&comment);
            out.push_str(self.newline);
            if self.once_in(6) {
                out.push_str(self.newline);
            }
        }
    }

    /// A file of several documents.
    pub fn file(&mut self, documents: &[Document]) -> String {
        let mut out = String::new();
        let grouped = self.once_in(3);
        if self.once_in(4) {
            self.above(&mut out, 0);
        }
        if grouped {
            let mut kinds: Vec<&'static Kind> = documents.iter().map(|it| it.id.kind()).collect();
            kinds.dedup_by_key(|kind| kind.name);
            let flow = self.once_in(4);
            let column = self.of(&[0, 2, 4]);
            for kind in kinds.into_iter().fold(vec![], |mut seen: Vec<&'static Kind>, kind| {
                if !seen.iter().any(|it| it.name == kind.name) {
                    seen.push(kind);
                }
                seen
            }) {
                let of_kind = documents.iter().filter(|it| it.id.kind().name == kind.name);
                let items: Vec<Value> = of_kind.map(|it| self.fields(it, false)).collect();
                self.above(&mut out, 0);
                out.push_str(kind.plural);
                out.push(':');
                if flow {
                    out.push(' ');
                    let text = self.flow(&Value::from(items), 0);
                    out.push_str(&text);
                    self.end_line(&mut out);
                } else {
                    self.end_line(&mut out);
                    self.items(&mut out, &items, column);
                }
            }
        } else {
            for (n, document) in documents.iter().enumerate() {
                self.anchors.clear();
                let fields = self.fields(document, true);
                if n > 0 || self.once_in(3) {
                    self.above(&mut out, 0);
                    out.push_str("---");
                    self.end_line(&mut out);
                }
                if self.once_in(6) {
                    self.json = self.once_in(2);
                    let text = self.flow(&fields, 0);
                    out.push_str(&text);
                    self.json = false;
                    self.end_line(&mut out);
                } else {
                    self.mapping(&mut out, &fields, 0, false);
                }
                if self.once_in(8) {
                    out.push_str("...");
                    out.push_str(self.newline);
                }
            }
        }
        if self.once_in(5) {
            let end = out.trim_end_matches(['\r', '\n']).len();
            out.truncate(end);
        }
        if self.once_in(8) {
            out.insert(0, '\u{feff}');
        }
        out
    }

    fn fields(&mut self, document: &Document, kind: bool) -> Value {
        let mut map = Map::new();
        if kind {
            map.insert("kind".to_owned(), document.id.kind().name.into());
            if self.once_in(4) {
                map.insert("apiVersion".to_owned(), "mcpctl/v1".into());
            }
        }
        map.insert("name".to_owned(), document.id.name.as_str().into());
        if let Scope::Project(project) = &document.id.scope {
            map.insert("project".to_owned(), project.as_str().into());
        }
        // What stands written though it needs not.
        for field in document.id.kind().shape.fields() {
            if let (Some(default), true) = (&field.default, self.once_in(6)) {
                map.insert(field.name.clone(), default.clone());
            }
        }
        if self.once_in(8) && document.id.kind().shape.field("env").is_some() {
            map.insert("env".to_owned(), self.of(&["null", "[]"]).parse().unwrap());
        }
        map.extend(
            document
                .spec
                .as_object()
                .into_iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone())),
        );
        Value::Object(map)
    }

    fn shuffled<'v>(&mut self, map: &'v Map<String, Value>) -> Vec<(&'v String, &'v Value)> {
        let mut entries: Vec<_> = map.iter().collect();
        for n in (1..entries.len()).rev() {
            let other = usize::try_from(self.draw(n as u64 + 1)).unwrap();
            entries.swap(n, other);
        }
        entries
    }

    fn mapping(&mut self, out: &mut String, value: &Value, indent: usize, on_dash: bool) {
        let map = value.as_object().unwrap();
        for (n, (key, value)) in self.shuffled(map).into_iter().enumerate() {
            if !(on_dash && n == 0) {
                self.above(out, indent);
                out.push_str(&" ".repeat(indent));
            }
            let key = self.key(key);
            out.push_str(&key);
            out.push(':');
            self.value(out, value, indent, false);
        }
    }

    fn key(&mut self, key: &str) -> String {
        let plain = serde_yaml::to_string(key).unwrap();
        if self.json || self.once_in(10) {
            Value::from(key).to_string()
        } else {
            plain.trim_end().to_owned()
        }
    }

    fn items(&mut self, out: &mut String, items: &[Value], column: usize) {
        let gap = self.of(&[1, 1, 1, 3]);
        for item in items {
            self.above(out, column);
            out.push_str(&" ".repeat(column));
            out.push('-');
            match item {
                Value::Object(map) if !map.is_empty() && !self.once_in(4) => {
                    if self.once_in(8) {
                        self.end_line(out);
                        self.mapping(out, item, column + 2, false);
                    } else {
                        out.push_str(&" ".repeat(gap));
                        self.mapping(out, item, column + 1 + gap, true);
                    }
                }
                _ => self.value(out, item, column, true),
            }
        }
    }

    /// What follows a colon or a dash, to the end of its lines.
    fn value(&mut self, out: &mut String, value: &Value, indent: usize, on_dash: bool) {
        let blanks = self.of(&[" ", " ", " ", "   "]);
        match value {
            Value::Array(list) if !list.is_empty() && !on_dash && !self.once_in(3) => {
                self.end_line(out);
                let column = indent + self.of(&[0, 2, 2, 4]);
                self.items(out, list, column);
            }
            Value::Object(map) if !map.is_empty() && !on_dash && !self.once_in(3) => {
                self.end_line(out);
                let column = indent + self.of(&[2, 2, 4]);
                self.mapping(out, value, column, false);
            }
            Value::Array(_) | Value::Object(_) => {
                out.push_str(blanks);
                let text = self.flow(value, indent);
                out.push_str(&text);
                self.end_line(out);
            }
            Value::Null if self.once_in(2) => self.end_line(out),
            Value::String(text) if self.block_text(out, text, indent) => {}
            scalar => {
                out.push_str(blanks);
                let text = self.scalar(scalar, false);
                out.push_str(&text);
                self.end_line(out);
            }
        }
    }

    fn block_text(&mut self, out: &mut String, text: &str, indent: usize) -> bool {
        let lines: Vec<&str> = text.trim_end_matches('\n').split('\n').collect();
        let odd = |c: char| c.is_control() && c != '\n' || ('\u{2028}'..='\u{2029}').contains(&c) || c == '\u{feff}';
        let plain =
            !text.contains(odd) && !text.trim().is_empty() && !lines.iter().any(|it| it.starts_with([' ', '\t']));
        if !plain || lines[0].is_empty() || !(text.contains('\n') || self.once_in(6)) || self.once_in(4) {
            return false;
        }
        let folded = self.once_in(2);
        let ends = text.len() - text.trim_end_matches('\n').len();
        let keep = match ends {
            0 => "-",
            1 => "",
            _ => "+",
        };
        let column = indent + self.of(&[2, 2, 4]);
        let hint = if self.once_in(4) {
            (column - indent).to_string()
        } else {
            String::new()
        };
        out.push_str(if folded { " >" } else { " |" });
        out.push_str(&hint);
        out.push_str(keep);
        self.end_line(out);
        let mut put = |line: &str, newline: &str| {
            if !line.is_empty() {
                out.push_str(&" ".repeat(column));
                out.push_str(line);
            }
            out.push_str(newline);
        };
        for (n, line) in lines.iter().enumerate() {
            if folded && n > 0 {
                put("", self.newline);
            }
            // Words of folded texts stand in lines of their own now and then.
            if folded && line.contains(' ') && !line.contains("  ") && !line.ends_with(' ') && !line.contains('\t') {
                line.split(' ').for_each(|word| put(word, self.newline));
            } else if !(folded && line.is_empty()) {
                put(line, self.newline);
            }
        }
        for _ in 1..ends {
            put("", self.newline);
        }
        true
    }

    /// A scalar, maybe with an anchor, or the alias of one that says the same.
    fn scalar(&mut self, value: &Value, flow: bool) -> String {
        if self.json || value.is_null() {
            return self.bare(value, flow);
        }
        let same = self.anchors.iter().find(|(it, _)| it == value);
        if let Some((_, name)) = same.cloned()
            && self.once_in(2)
        {
            return format!("*{name}");
        }
        let bare = self.bare(value, flow);
        if !self.once_in(25) {
            return bare;
        }
        self.anchored += 1;
        let name = format!("a{}", self.anchored);
        self.anchors.push((value.clone(), name.clone()));
        format!("&{name} {bare}")
    }

    fn bare(&mut self, value: &Value, flow: bool) -> String {
        match value {
            Value::String(text) => {
                let plain = serde_yaml::to_string(text).unwrap();
                let plain = plain.trim_end_matches('\n');
                let splits = flow && plain.contains([',', '[', ']', '{', '}']);
                let fits = !(splits || plain.contains('\n'));
                match self.draw(3) {
                    0 if fits && !self.json => plain.to_owned(),
                    1 if !self.json && !text.contains(char::is_control) => format!("'{}'", text.replace('\'', "''")),
                    _ => escaped(value),
                }
            }
            Value::Number(number) if number.is_u64() && !self.json && self.once_in(6) => {
                format!("0x{:x}", number.as_u64().unwrap())
            }
            Value::Null => self.of(&["null", "null", "~"]).to_owned(),
            other => other.to_string(),
        }
    }

    fn flow(&mut self, value: &Value, indent: usize) -> String {
        let (open, close, count) = match value {
            Value::Array(list) => ('[', ']', list.len()),
            Value::Object(map) => ('{', '}', map.len()),
            scalar => return self.scalar(scalar, true),
        };
        if count == 0 {
            return format!("{open}{close}");
        }
        let spread = self.once_in(3);
        let inner = if spread { indent + 2 } else { indent };
        let mut parts = vec![];
        for item in value.as_array().into_iter().flatten() {
            parts.push(self.flow(item, inner));
        }
        if let Value::Object(map) = value {
            for (key, value) in self.shuffled(map) {
                let key = self.key(key);
                parts.push(format!("{key}: {}", self.flow(value, inner)));
            }
        }
        let trailing = !self.json && self.once_in(4);
        let space = if open == '{' { self.of(&["", " "]) } else { "" };
        if !spread {
            let gap = self.of(&[", ", ", ", ","]);
            let gap = if open == '{' { ", " } else { gap };
            return format!(
                "{open}{space}{}{}{space}{close}",
                parts.join(gap),
                if trailing { "," } else { "" }
            );
        }
        let mut out = open.to_string();
        self.end_line(&mut out);
        for (n, part) in parts.iter().enumerate() {
            self.above(&mut out, inner);
            out.push_str(&" ".repeat(inner));
            out.push_str(part);
            if trailing || n + 1 < parts.len() {
                out.push(',');
            }
            self.end_line(&mut out);
        }
        // In the column of its key the parser takes it behind plain texts only.
        out.push_str(&" ".repeat(if self.json { indent } else { indent + 1 }));
        out.push(close);
        out
    }
}
