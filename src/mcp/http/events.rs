//! Server-sent events, read as they come in. Pure but for the body that they are read from.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Its type; `message` where the server names none.
    pub(super) name: String,
    /// Its data.
    pub(super) data: Vec<u8>,
}

/// A stream of events in pieces.
#[derive(Default)]
struct Parser {
    buffer: Vec<u8>,
    searched: usize,
    name: String,
    data: Vec<u8>,
    any: bool,
    /// A carriage return ended the last line: a line feed right after it belongs to it.
    returned: bool,
    id: Option<String>,
    retry: Option<u64>,
}

impl Parser {
    /// Takes the next bytes. False: a line or an event is longer than `longest`.
    fn push(&mut self, bytes: &[u8], longest: usize) -> bool {
        self.buffer.extend_from_slice(bytes);
        self.buffer.len() + self.data.len() <= longest
    }

    /// The next event that is whole.
    fn next(&mut self) -> Option<Event> {
        let mut start = 0;
        let mut found = None;
        while found.is_none() {
            if self.returned && self.buffer.get(start) == Some(&b'\n') {
                start += 1;
                self.returned = false;
            }
            let from = self.searched.max(start);
            let Some(end) = memchr::memchr2(b'\n', b'\r', &self.buffer[from..]).map(|at| at + from) else {
                self.returned &= start >= self.buffer.len();
                self.searched = self.buffer.len();
                break;
            };
            self.returned = self.buffer[end] == b'\r';
            let line = self.buffer[start..end].to_vec();
            start = end + 1;
            self.searched = start;
            found = self.line(&line);
        }
        self.buffer.drain(..start);
        self.searched -= start.min(self.searched);
        found
    }

    fn line(&mut self, line: &[u8]) -> Option<Event> {
        if line.is_empty() {
            let (name, mut data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
            if !std::mem::take(&mut self.any) {
                return None;
            }
            data.pop();
            let name = if name.is_empty() { "message".to_owned() } else { name };
            return Some(Event { name, data });
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(at) => (
                &line[..at],
                line[at + 1..].strip_prefix(b" ").unwrap_or(&line[at + 1..]),
            ),
            None => (line, &b""[..]),
        };
        let text = || String::from_utf8_lossy(value).into_owned();
        match field {
            b"event" => self.name = text(),
            b"data" => {
                self.any = true;
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            // It goes into a header of ours one day.
            b"id" if value.len() <= 1_000 && value.iter().all(|byte| (32..127).contains(byte)) => {
                self.id = Some(text());
            }
            b"retry" => self.retry = text().parse().ok().or(self.retry),
            _ => {}
        }
        None
    }
}

/// The events of one answer.
pub(super) struct Events {
    body: Incoming,
    parser: Parser,
    longest: usize,
}

impl Events {
    pub(super) fn new(body: Incoming, longest: usize) -> Self {
        Self {
            body,
            parser: Parser::default(),
            longest,
        }
    }

    /// The same stream, opened again: what was said of it still holds.
    pub(super) fn again(body: Incoming, before: Self) -> Self {
        let parser = Parser {
            id: before.parser.id,
            retry: before.parser.retry,
            ..Parser::default()
        };
        Self {
            body,
            parser,
            longest: before.longest,
        }
    }

    /// The next event; nothing at the end. The error says what is wrong with the stream.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, String> {
        loop {
            if let Some(event) = self.parser.next() {
                return Ok(Some(event));
            }
            let bytes: Bytes = match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(super::words(&error)),
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            if !self.parser.push(&bytes, self.longest) {
                return Err(format!("the server sent an event of more than {} bytes", self.longest));
            }
        }
    }

    /// The id of the last event that had one.
    pub(super) fn last_id(&self) -> Option<&str> {
        self.parser.id.as_deref()
    }

    /// How long to wait before the stream is opened again, in milliseconds, where the server says so.
    pub(super) fn retry(&self) -> Option<u64> {
        self.parser.retry
    }
}

/// The events of a stream that comes in these pieces: name and data.
#[cfg(test)]
pub(in crate::mcp) fn events_of(pieces: &[&[u8]]) -> Vec<(String, Vec<u8>)> {
    let mut parser = Parser::default();
    let mut events = vec![];
    for piece in pieces {
        assert!(parser.push(piece, 1 << 20), "too long");
        while let Some(event) = parser.next() {
            events.push((event.name, event.data));
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(parser: &mut Parser, pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut read = vec![];
        for piece in pieces {
            assert!(parser.push(piece, 1_000));
            while let Some(event) = parser.next() {
                read.push((event.name, String::from_utf8(event.data).unwrap()));
            }
        }
        read
    }

    #[test]
    fn events_are_read() {
        let message = |data: &str| ("message".to_owned(), data.to_owned());
        for (text, want) in [
            ("data: a\n\n", vec![message("a")]),
            ("data:a\ndata: b\n\n", vec![message("a\nb")]),
            (
                "data: a\r\n\r\ndata: b\r\rdata: c\n\n",
                vec![message("a"), message("b"), message("c")],
            ),
            (
                ": open\n\nevent: endpoint\ndata: /m?s=1\n\n",
                vec![("endpoint".into(), "/m?s=1".into())],
            ),
            ("event: x\n\ndata: a\n\n", vec![message("a")]),
            ("data\n\n", vec![message("")]),
            (
                "event: e\r\ndata: a\r\ndata: b\r\n\r\n",
                vec![("e".into(), "a\nb".into())],
            ),
            ("data: unfinished\n", vec![]),
            ("data: a\r\n\r\n", vec![message("a")]),
            ("other: x\nid: 7\nretry: 250\ndata: a\n\n", vec![message("a")]),
        ] {
            assert_eq!(read(&mut Parser::default(), &[text.as_bytes()]), want, "{text:?}");
        }
        let mut parser = Parser::default();
        read(&mut parser, &[b"id: 7\nretry: 250\nretry: soon\nid: \xff\n\n"]);
        assert_eq!((parser.id.as_deref(), parser.retry), (Some("7"), Some(250)));
    }

    /// A line end that is cut in the middle is one, and what follows it is the next.
    #[test]
    fn a_line_end_may_be_cut() {
        let pieces: [&[u8]; 4] = [b"data: a\r", b"\n", b"\n", b"data: b\r\n\r"];
        let want: Vec<_> = ["a", "b"].map(|data| ("message".to_owned(), data.to_owned())).into();
        assert_eq!(read(&mut Parser::default(), &pieces), want);
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut parser = Parser::default();
        assert!(parser.push(&[b'x'; 600], 1_000));
        assert!(!parser.push(&[b'x'; 600], 1_000));
        let mut parser = Parser::default();
        assert!(parser.push(&[&b"data:"[..], &[b'x'; 600], b"\n"].concat(), 1_000));
        assert_eq!(parser.next(), None);
        assert!(!parser.push(&[b'x'; 600], 1_000));
    }

    proptest! {
        /// However the bytes are cut, the events are the same.
        #[test]
        fn pieces_do_not_matter(text in "(data: [ab]{0,3}|event: e|: c|id: 1|\r|\n|\r\n){0,20}", cuts in prop::collection::vec(0usize..40, 0..6)) {
            let whole = read(&mut Parser::default(), &[text.as_bytes()]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            prop_assert_eq!(read(&mut Parser::default(), &pieces), whole);
        }
    }
}
