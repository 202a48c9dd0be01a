//! A request that one server answers, read as far as it must be to find that server, and written anew for it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::kit::Digest;
use crate::mcp::envelope::{self, Id, code, members, place_of, splice, text_of};
use crate::mcp::lists::Kind;
use crate::mcp::meta::{self, Meta};
use crate::record::{Capability, Era};

use super::answer;

/// The longest name or URI that is taken, in bytes.
const LONGEST_KEY: usize = 8 << 10;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// `tools/call`.
    Tool,
    /// `prompts/get`.
    Prompt,
    /// `resources/read`.
    Read,
    /// `resources/subscribe`.
    Subscribe,
    /// `resources/unsubscribe`.
    Unsubscribe,
    /// `completion/complete` of a prompt's argument.
    CompletePrompt,
    /// `completion/complete` of a template's variable.
    CompleteResource,
    /// What is asked of a task: `tasks/get`, `tasks/result`, `tasks/update`, `tasks/cancel`.
    Task,
}

impl Ask {
    /// The list that says who answers.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Tool | Self::Task => Kind::Tools,
            Self::Prompt | Self::CompletePrompt => Kind::Prompts,
            Self::Read | Self::Subscribe | Self::Unsubscribe => Kind::Resources,
            Self::CompleteResource => Kind::Templates,
        }
    }

    /// What a server must have declared to be asked.
    #[must_use]
    pub fn needs(self) -> Capability {
        match self {
            Self::Tool | Self::Task => Capability::Tools,
            Self::Prompt => Capability::Prompts,
            Self::Read => Capability::Resources,
            Self::Subscribe | Self::Unsubscribe => Capability::Subscribe,
            Self::CompletePrompt | Self::CompleteResource => Capability::Completions,
        }
    }
}

/// A client's request, with the places that change on the way.
#[derive(Debug, Clone)]
pub struct Asked {
    body: Bytes,
    /// What is asked for.
    pub ask: Ask,
    id: Range<usize>,
    params: Range<usize>,
    /// The name or URI as the client wrote it.
    written: Range<usize>,
    /// The name or URI.
    pub key: String,
    meta: Option<Range<usize>>,
    token: Option<Range<usize>>,
    arguments: Option<Range<usize>>,
    state: Option<Range<usize>>,
    responses: Option<Range<usize>>,
}

/// What a request says that depends on the era, as a server gets it.
#[derive(Debug, Clone, Default)]
pub struct Crossing {
    /// The whole `_meta` (a JSON text) where it is another than the client's; its progress token is written by itself.
    pub meta: Option<String>,
    /// `requestState` and `inputResponses` (JSON texts), where they are others than the client's.
    pub round: Option<Round>,
}

/// One more round of a request that needed more to be answered.
#[derive(Debug, Clone, Default)]
pub struct Round {
    /// The server's `requestState`.
    pub state: Option<String>,
    /// The `inputResponses`.
    pub responses: Option<String>,
}

impl Asked {
    /// Reads a request of a method that one server answers; nothing where it is another method's. `text` is the whole of
    /// `body`. The error says what is wrong with its parameters.
    #[must_use]
    pub fn read(
        body: &Bytes,
        text: &str,
        id: Id<'_>,
        method: &str,
        params: Option<&RawValue>,
    ) -> Option<Result<Self, &'static str>> {
        let (ask, key, wrong) = match method {
            "tools/call" => (Ask::Tool, "name", "tools/call needs the name of a tool, given once"),
            "prompts/get" => (
                Ask::Prompt,
                "name",
                "prompts/get needs the name of a prompt, given once",
            ),
            "resources/read" => (Ask::Read, "uri", "resources/read needs a uri, given once"),
            "resources/subscribe" => (Ask::Subscribe, "uri", "resources/subscribe needs a uri, given once"),
            "resources/unsubscribe" => (Ask::Unsubscribe, "uri", "resources/unsubscribe needs a uri, given once"),
            "tasks/get" | "tasks/result" | "tasks/update" | "tasks/cancel" => (
                Ask::Task,
                "taskId",
                "what is asked of a task needs its taskId, given once",
            ),
            "completion/complete" => (
                Ask::CompletePrompt,
                "ref",
                "completion/complete needs a ref: a prompt by name, or a resource by uri",
            ),
            _ => return None,
        };
        let read = || {
            let params = params.ok_or(wrong)?;
            let parts = [key, "_meta", "arguments", "requestState", "inputResponses"];
            let [named, meta, arguments, state, responses] = members(params.get(), parts).map_err(|_| wrong)?;
            let (ask, named) = match ask {
                Ask::CompletePrompt => Self::completed(named.ok_or(wrong)?).ok_or(wrong)?,
                ask => (ask, named.ok_or(wrong)?),
            };
            let meta = Meta::of(meta.filter(|meta| meta.get() != "null"))?;
            let place = |part: &RawValue| place_of(text, part.get());
            let key = text_of(named).ok_or("a name or uri must be a text")?.into_owned();
            if key.len() > LONGEST_KEY {
                return Err("a name or uri may have 8192 bytes at most");
            }
            Ok(Self {
                body: body.clone(),
                ask,
                id: place_of(text, id.text()),
                params: place(params),
                written: place(named),
                key,
                meta: meta.raw.map(place),
                token: meta.token.map(place),
                arguments: arguments.map(place),
                state: state.map(place),
                responses: responses.map(place),
            })
        };
        Some(read())
    }

    /// What a completion's `ref` names.
    fn completed(reference: &RawValue) -> Option<(Ask, &RawValue)> {
        let [form, name, uri] = members(reference.get(), ["type", "name", "uri"]).ok()?;
        match &*text_of(form?)? {
            "ref/prompt" => Some((Ask::CompletePrompt, name?)),
            "ref/resource" => Some((Ask::CompleteResource, uri?)),
            _ => None,
        }
    }

    /// Lets go of the text: all that is left of the request is what it is about. Whoever made it asks it anew.
    pub fn forget_body(&mut self) {
        self.body = Bytes::new();
    }

    fn part(&self, place: &Range<usize>) -> &str {
        let part = self.body.get(place.clone()).unwrap_or_default();
        std::str::from_utf8(part).unwrap_or_default()
    }

    /// The client's id, a JSON text.
    #[must_use]
    pub fn id(&self) -> &str {
        self.part(&self.id)
    }

    /// The client's progress token, a JSON text.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_ref().map(|place| self.part(place))
    }

    /// The client's `_meta`.
    #[must_use]
    pub fn meta(&self) -> Option<&RawValue> {
        let place = self.meta.as_ref()?;
        serde_json::from_str(self.part(place)).ok()
    }

    /// The arguments, a JSON text.
    #[must_use]
    pub fn arguments(&self) -> Option<&RawValue> {
        let place = self.arguments.as_ref()?;
        serde_json::from_str(self.part(place)).ok()
    }

    /// The `requestState` that the client sends back; nothing where that is no text.
    #[must_use]
    pub fn state(&self) -> Option<String> {
        let place = self.state.as_ref()?;
        serde_json::from_str(self.part(place)).ok()
    }

    /// Whether this is one more round of a request that was asked before.
    #[must_use]
    pub fn is_another_round(&self) -> bool {
        self.state.is_some() || self.responses.is_some()
    }

    /// The `inputResponses` by key, as JSON texts.
    #[must_use]
    pub fn responses(&self) -> HashMap<String, String> {
        let place = self.responses.as_ref();
        let raw = place.and_then(|place| serde_json::from_str::<&RawValue>(self.part(place)).ok());
        let all = raw.and_then(|raw| meta::object(raw).ok()).unwrap_or_default();
        all.into_iter()
            .map(|(key, value)| (key.into_owned(), value.get().to_owned()))
            .collect()
    }

    /// What makes this request this one, whatever round it is in.
    #[must_use]
    pub fn subject(&self) -> String {
        let arguments = self.arguments.as_ref();
        // What can't be read as a value stands for itself: it must be the very same text then.
        let arguments = arguments.map(|place| {
            let text = self.part(place);
            serde_json::from_str::<serde_json::Value>(text).unwrap_or_else(|_| text.into())
        });
        let subject = serde_json::json!([format!("{:?}", self.ask), self.key, arguments]);
        Digest::of(subject.to_string()).to_string()
    }

    /// The request as a server gets it: our id, its own name for what is asked, our progress token, and what the eras
    /// differ in; the rest byte for byte.
    #[must_use]
    pub fn line(&self, id: u64, own: Option<&str>, crossing: &Crossing) -> Vec<u8> {
        let number = id.to_string();
        let mut edits: Vec<(Range<usize>, &str)> = vec![(self.id.clone(), &number)];
        let rewritten = (crossing.meta.is_some() || crossing.round.is_some())
            .then(|| self.rewritten(&number, own, crossing))
            .flatten();
        if let Some(params) = &rewritten {
            edits.push((self.params.clone(), params));
        } else {
            edits.extend(own.map(|own| (self.written.clone(), own)));
            edits.extend(self.token.clone().map(|token| (token, &*number)));
        }
        edits.sort_by_key(|(place, _)| place.start);
        splice(&self.body, &edits, true)
    }

    /// The parameters, put together anew.
    fn rewritten(&self, number: &str, own: Option<&str>, crossing: &Crossing) -> Option<String> {
        let params: &RawValue = serde_json::from_str(self.part(&self.params)).ok()?;
        let body = std::str::from_utf8(&self.body).ok()?;
        let mut all: Vec<(Cow<'_, str>, Cow<'_, str>)> = vec![];
        let meta = crossing.meta.as_deref();
        for (key, value) in meta::object(params).ok()? {
            let round = crossing.round.is_some() && matches!(&*key, "requestState" | "inputResponses");
            if round || (key == "_meta" && meta.is_some()) {
                continue;
            }
            let place = place_of(body, value.get());
            let within = |part: &Range<usize>| place.start <= part.start && part.end <= place.end;
            let local = |part: &Range<usize>| part.start - place.start..part.end - place.start;
            let mut edits = vec![];
            edits.extend(
                own.filter(|_| within(&self.written))
                    .map(|own| (local(&self.written), own)),
            );
            let token = self.token.as_ref().filter(|token| within(token));
            edits.extend(token.map(|token| (local(token), number)));
            let value = if edits.is_empty() {
                Cow::Borrowed(value.get())
            } else {
                Cow::Owned(String::from_utf8(splice(value.get().as_bytes(), &edits, false)).ok()?)
            };
            all.push((key, value));
        }
        if let Some(round) = &crossing.round {
            let parts = [("requestState", &round.state), ("inputResponses", &round.responses)];
            for (key, value) in parts {
                all.extend(value.as_deref().map(|value| (key.into(), value.into())));
            }
        }
        if let Some(meta) = meta {
            let open = meta.strip_suffix('}').filter(|_| self.token.is_some());
            let with_token = open.map(|open| {
                let comma = if open.len() > 1 { "," } else { "" };
                Cow::Owned(format!("{open}{comma}\"progressToken\":{number}}}"))
            });
            all.push(("_meta".into(), with_token.unwrap_or(Cow::Borrowed(meta))));
        }
        Some(meta::written(all.iter().map(|(key, value)| (&**key, &**value))))
    }

    /// The whole answer where no server has what is asked for.
    #[must_use]
    pub fn unknown(&self, era: Era) -> Vec<u8> {
        let shown: String = self.key.chars().take(200).collect();
        let what = match self.ask {
            Ask::Tool => "tool",
            Ask::Task => "task",
            Ask::Prompt | Ask::CompletePrompt => "prompt",
            Ask::CompleteResource => "resource template",
            Ask::Read | Ask::Subscribe | Ask::Unsubscribe => return self.not_found(era, ""),
        };
        envelope::error(self.id(), code::INVALID_PARAMS, &format!("Unknown {what}: {shown}"))
    }

    /// The whole answer where nobody has the resource, with what there is to add. The eras have different codes for it.
    #[must_use]
    pub fn not_found(&self, era: Era, remark: &str) -> Vec<u8> {
        let shown: String = self.key.chars().take(200).collect();
        let data = serde_json::json!({"uri": self.key});
        let message = format!("Resource not found: {shown}{remark}");
        let code = match era {
            Era::Legacy => code::RESOURCE_NOT_FOUND,
            Era::Modern => code::INVALID_PARAMS,
        };
        envelope::error_with(self.id(), code, &message, Some(data))
    }
}

/// The whole answer where a server can't give one, in words for people.
///
/// Hosts show a tool's result to the model, so a tool's failure is one; of the others the error is all there is.
#[must_use]
pub fn failed(ask: Ask, id: &str, message: &str) -> Vec<u8> {
    match ask {
        Ask::Tool => envelope::result(id, &answer::tool_failed(message)),
        _ => envelope::error(id, code::SERVER, message),
    }
}

#[cfg(test)]
mod tests {
    use crate::mcp::envelope::Message;

    use super::*;

    fn read(text: &str) -> Option<Result<Asked, &'static str>> {
        let Ok(Message::Request { id, method, params }) = Message::parse(text) else {
            panic!("no request: {text}")
        };
        Asked::read(&Bytes::copy_from_slice(text.as_bytes()), text, id, &method, params)
    }

    /// The same request in each crossing of the eras and in each round: what both eras know crosses byte for byte.
    #[test]
    fn what_the_eras_differ_in_is_written_anew() {
        let asked = read(concat!(
            r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"s__t","requestState":"s","#,
            r#""_meta":{"progressToken":"p","x":[1, 2]},"arguments":{"n": 1e2},"inputResponses":{"k":{}}}}"#
        ))
        .unwrap()
        .unwrap();
        let meta = r#"{"x":[1, 2]}"#.to_owned();
        for (crossing, want) in [
            (
                Crossing::default(),
                r#"{"name":"t","requestState":"s","_meta":{"progressToken":7,"x":[1, 2]},"arguments":{"n": 1e2},"inputResponses":{"k":{}}}"#.to_owned(),
            ),
            (
                Crossing { meta: Some(meta), round: None },
                r#"{"name":"t","requestState":"s","arguments":{"n": 1e2},"inputResponses":{"k":{}},"_meta":{"x":[1, 2],"progressToken":7}}"#.to_owned(),
            ),
            (
                Crossing { meta: None, round: Some(Round::default()) },
                r#"{"name":"t","_meta":{"progressToken":7,"x":[1, 2]},"arguments":{"n": 1e2}}"#.to_owned(),
            ),
            (
                Crossing { meta: None, round: Some(Round { state: Some("\"z\"".into()), responses: Some("{}".into()) }) },
                r#"{"name":"t","_meta":{"progressToken":7,"x":[1, 2]},"arguments":{"n": 1e2},"requestState":"z","inputResponses":{}}"#.to_owned(),
            ),
        ] {
            let line = String::from_utf8(asked.line(7, Some("\"t\""), &crossing)).unwrap();
            let want = format!("{{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"params\":{want}}}\n");
            assert_eq!(line, want, "{crossing:?}");
        }
        assert_eq!(asked.state().as_deref(), Some("s"));
        assert_eq!(asked.responses().get("k").map(String::as_str), Some("{}"));
    }

    /// A request is the same in every round, and another with other arguments.
    #[test]
    fn a_request_is_known_again() {
        let of = |params: &str| {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
            read(&text).unwrap().unwrap().subject()
        };
        let first = of(r#"{"name":"a","arguments":{"x":1,"y":2}}"#);
        assert_eq!(
            first,
            of(r#"{"requestState":"s","arguments":{"y":2, "x":1},"name":"a"}"#)
        );
        assert_ne!(first, of(r#"{"name":"a","arguments":{"x":1,"y":3}}"#));
        assert_ne!(first, of(r#"{"name":"b","arguments":{"x":1,"y":2}}"#));
    }

    #[test]
    fn only_what_leads_is_read_and_only_what_must_changes() {
        for (text, own, want) in [
            (
                r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"arguments":{"name":1e2},"name":"s__t","_meta":{"progressToken":"p"}}}"#,
                Some("\"t\""),
                r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"arguments":{"name":1e2},"name":"t","_meta":{"progressToken":7}}}"#,
            ),
            (
                r#"{"params":{"uri":"a:\/\/b"},"jsonrpc":"2.0","method":"resources/read","id":1}"#,
                None,
                r#"{"params":{"uri":"a:\/\/b"},"jsonrpc":"2.0","method":"resources/read","id":7}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"argument":{"name":"n","value":"v"},"ref":{"type":"ref/prompt","name":"s__p"}}}"#,
                Some("\"p\""),
                r#"{"jsonrpc":"2.0","id":7,"method":"completion/complete","params":{"argument":{"name":"n","value":"v"},"ref":{"type":"ref/prompt","name":"p"}}}"#,
            ),
        ] {
            let asked = read(text).unwrap().unwrap_or_else(|wrong| panic!("{wrong}"));
            assert_eq!(
                String::from_utf8(asked.line(7, own, &Crossing::default())).unwrap(),
                format!("{want}\n")
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (method, params, want) in [
            ("tools/call", "{}", "tools/call needs the name of a tool, given once"),
            ("tools/call", r#"{"name":1}"#, "a name or uri must be a text"),
            (
                "prompts/get",
                r#"{"name":"a","name":"b"}"#,
                "prompts/get needs the name of a prompt, given once",
            ),
            ("resources/read", "[]", "resources/read needs a uri, given once"),
            (
                "tools/call",
                r#"{"name":"a","_meta":[]}"#,
                "_meta must be an object with one progressToken at most",
            ),
            (
                "completion/complete",
                r#"{"ref":{"type":"ref/tool","name":"x"}}"#,
                "completion/complete needs a ref: a prompt by name, or a resource by uri",
            ),
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
            assert_eq!(read(&text).unwrap().err(), Some(want), "{text}");
        }
        let long = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{{"uri":"{}"}}}}"#,
            "x".repeat(LONGEST_KEY + 1)
        );
        assert!(read(&long).unwrap().is_err());
        assert!(read(r#"{"jsonrpc":"2.0","id":1,"method":"logging/setLevel"}"#).is_none());
    }
}
