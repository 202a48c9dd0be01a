//! HTTP with SSE, as of 2024-11-05: one stream on which the server says everything, and an endpoint to post to, which its
//! first event names.

use http::{Method, StatusCode, Uri};
use tokio::time::sleep;

use super::events::Events;
use super::post::Posts;
use super::{AGAIN, EVENTS, Fault, LOST, Server, is_of, is_starting, some_of, status_words};
use crate::mcp::connection::{Ear, Wire};

/// Carries a conversation until it is over, and says why it is.
pub(super) async fn carry(wire: Wire, server: &Server, url: &Uri) -> String {
    let (ear, queue) = wire.split();
    let (mut events, endpoint) = match open(server, url, &ear).await {
        Ok(opened) => opened,
        Err(why) => return why,
    };
    let listening = async {
        loop {
            match events.next().await {
                Ok(Some(event)) if event.name == "message" => ear.hear(event.data.into()),
                Ok(Some(_)) => {}
                // The session is the stream: with it all is gone.
                Ok(None) | Err(_) => return LOST.to_owned(),
            }
        }
    };
    let posts = Posts::new(server, endpoint, ear.clone(), queue);
    tokio::select! {
        reason = posts.run() => reason,
        reason = listening => reason,
    }
}

/// Opens the stream, as soon as the server listens, and reads where to post to.
async fn open(server: &Server, url: &Uri, ear: &Ear) -> Result<(Events, Uri), String> {
    let answer = loop {
        match server.exchange(Method::GET, url, vec![], &[], ear, None).await {
            Ok(answer) if is_starting(answer.status()) => ear.note(Some(&status_words(answer.status(), b""))),
            Ok(answer) => break answer,
            Err(Fault::Unreachable(why) | Fault::Broken(why)) => ear.note(Some(&why)),
        }
        sleep(AGAIN).await;
    };
    ear.note(None);
    if answer.status() != StatusCode::OK || !is_of(&answer, EVENTS) {
        let status = answer.status();
        let body = some_of(answer.into_body()).await;
        return Err(format!("the server opened no stream: {}", status_words(status, &body)));
    }
    let mut events = Events::new(answer.into_body(), server.longest);
    loop {
        match events.next().await? {
            Some(event) if event.name == "endpoint" => {
                let named = String::from_utf8_lossy(&event.data).into_owned();
                let endpoint = resolve(url, named.trim()).ok_or("the server named no endpoint to post to")?;
                return Ok((events, endpoint));
            }
            Some(_) => {}
            None => return Err("the server ended its stream before it named an endpoint".to_owned()),
        }
    }
}

/// Where to post to. Only its path counts: nobody but the host of the URL is ever spoken to, and what a server in a
/// container takes for its own address is often not where it is reached.
fn resolve(url: &Uri, named: &str) -> Option<Uri> {
    let path = match named.parse::<Uri>().ok() {
        Some(named) if named.scheme().is_some() => named.path_and_query()?.to_string(),
        _ if named.starts_with("//") || named.is_empty() => return None,
        _ if named.starts_with('/') => named.to_owned(),
        _ => {
            let (folder, _) = url.path().rsplit_once('/')?;
            format!("{folder}/{named}")
        }
    };
    let mut parts = url.clone().into_parts();
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_at_the_same_host() {
        let url = "http://127.0.0.1:4000/mcp/sse".parse().unwrap();
        for (named, want) in [
            (
                "/message?sessionId=1",
                Some("http://127.0.0.1:4000/message?sessionId=1"),
            ),
            (
                "message?sessionId=1",
                Some("http://127.0.0.1:4000/mcp/message?sessionId=1"),
            ),
            ("http://127.0.0.1:4000/m", Some("http://127.0.0.1:4000/m")),
            ("http://evil.example:80/m?x", Some("http://127.0.0.1:4000/m?x")),
            ("//evil.example/m", None),
            ("", None),
            ("a b", None),
        ] {
            assert_eq!(
                resolve(&url, named).map(|uri| uri.to_string()).as_deref(),
                want,
                "{named}"
            );
        }
    }
}
