//! A request that one server answers, read as far as it must be to find that server, and written anew for it.

use std::ops::Range;

use serde_json::value::RawValue;

use crate::mcp::envelope::{self, Id, code, members, place_of, splice, text_of};
use crate::mcp::lists::Kind;
use crate::record::Capability;

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
}

impl Ask {
    /// The list that says who answers.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Tool => Kind::Tools,
            Self::Prompt | Self::CompletePrompt => Kind::Prompts,
            Self::Read | Self::Subscribe | Self::Unsubscribe => Kind::Resources,
            Self::CompleteResource => Kind::Templates,
        }
    }

    /// What a server must have declared to be asked.
    #[must_use]
    pub fn needs(self) -> Capability {
        match self {
            Self::Tool => Capability::Tools,
            Self::Prompt => Capability::Prompts,
            Self::Read => Capability::Resources,
            Self::Subscribe | Self::Unsubscribe => Capability::Subscribe,
            Self::CompletePrompt | Self::CompleteResource => Capability::Completions,
        }
    }
}

/// A client's request, with the places that change on the way.
pub struct Asked<'a> {
    text: &'a str,
    /// What is asked for.
    pub ask: Ask,
    /// The client's id, a JSON text.
    pub id: &'a str,
    /// The name or URI as the client wrote it, a JSON text.
    written: &'a str,
    /// The name or URI.
    pub key: String,
    /// The client's progress token, a JSON text.
    pub token: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// Reads a request of a method that one server answers; nothing where it is another method's. The error says what is
    /// wrong with its parameters.
    #[must_use]
    pub fn read(
        text: &'a str,
        id: Id<'a>,
        method: &str,
        params: Option<&'a RawValue>,
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
            "completion/complete" => return Some(Self::read_completion(text, id, params)),
            _ => return None,
        };
        let read = || {
            let [named, meta] = members(params.ok_or(wrong)?.get(), [key, "_meta"]).map_err(|_| wrong)?;
            Self::made(text, id, ask, named.ok_or(wrong)?, meta)
        };
        Some(read())
    }

    fn read_completion(text: &'a str, id: Id<'a>, params: Option<&'a RawValue>) -> Result<Self, &'static str> {
        const WRONG: &str = "completion/complete needs a ref: a prompt by name, or a resource by uri";
        let [reference, meta] = members(params.ok_or(WRONG)?.get(), ["ref", "_meta"]).map_err(|_| WRONG)?;
        let [form, name, uri] = members(reference.ok_or(WRONG)?.get(), ["type", "name", "uri"]).map_err(|_| WRONG)?;
        let form = form.and_then(text_of).ok_or(WRONG)?;
        let (ask, key) = match &*form {
            "ref/prompt" => (Ask::CompletePrompt, name),
            "ref/resource" => (Ask::CompleteResource, uri),
            _ => return Err(WRONG),
        };
        Self::made(text, id, ask, key.ok_or(WRONG)?, meta)
    }

    fn made(
        text: &'a str,
        id: Id<'a>,
        ask: Ask,
        key: &'a RawValue,
        meta: Option<&'a RawValue>,
    ) -> Result<Self, &'static str> {
        const META: &str = "_meta must be an object with one progressToken at most";
        let meta = meta.filter(|meta| meta.get() != "null");
        let token = match meta.map(|meta| members(meta.get(), ["progressToken"])) {
            None => None,
            Some(Ok([token])) => token.map(RawValue::get),
            Some(Err(_)) => return Err(META),
        };
        let written = key.get();
        let key = text_of(key).ok_or("a name or uri must be a text")?.into_owned();
        if key.len() > LONGEST_KEY {
            return Err("a name or uri may have 8192 bytes at most");
        }
        Ok(Self {
            text,
            ask,
            id: id.text(),
            written,
            key,
            token,
        })
    }

    /// The request as a server gets it: our id, its own name for what is asked, our progress token; the rest byte for byte.
    #[must_use]
    pub fn line(&self, id: u64, own: Option<&str>) -> Vec<u8> {
        let number = id.to_string();
        let place = |part: &str| place_of(self.text, part);
        let mut edits: Vec<(Range<usize>, &str)> = vec![(place(self.id), &number)];
        edits.extend(own.map(|own| (place(self.written), own)));
        edits.extend(self.token.map(|token| (place(token), &*number)));
        edits.sort_by_key(|(place, _)| place.start);
        splice(self.text.as_bytes(), &edits, true)
    }

    /// The whole answer where no server has what is asked for.
    #[must_use]
    pub fn unknown(&self) -> Vec<u8> {
        let shown: String = self.key.chars().take(200).collect();
        match self.ask {
            Ask::Tool => envelope::error(self.id, code::INVALID_PARAMS, &format!("Unknown tool: {shown}")),
            Ask::Prompt | Ask::CompletePrompt => {
                envelope::error(self.id, code::INVALID_PARAMS, &format!("Unknown prompt: {shown}"))
            }
            Ask::CompleteResource => envelope::error(
                self.id,
                code::INVALID_PARAMS,
                &format!("Unknown resource template: {shown}"),
            ),
            Ask::Read | Ask::Subscribe | Ask::Unsubscribe => self.not_found(""),
        }
    }

    /// The whole answer where nobody has the resource, with what there is to add.
    #[must_use]
    pub fn not_found(&self, remark: &str) -> Vec<u8> {
        let shown: String = self.key.chars().take(200).collect();
        let data = serde_json::json!({"uri": self.key});
        let message = format!("Resource not found: {shown}{remark}");
        envelope::error_with(self.id, code::RESOURCE_NOT_FOUND, &message, Some(data))
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

    fn read(text: &str) -> Option<Result<Asked<'_>, &'static str>> {
        let Ok(Message::Request { id, method, params }) = Message::parse(text) else {
            panic!("no request: {text}")
        };
        Asked::read(text, id, &method, params)
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
            assert_eq!(String::from_utf8(asked.line(7, own)).unwrap(), format!("{want}\n"));
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
