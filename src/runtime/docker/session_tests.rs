//! Frames as an engine sends them, cut anywhere: an engine that the test plays, behind the real client.

use std::sync::Arc;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::record::Life;
use crate::runtime::{LogQuery, Logs};

use super::client::Client;
use super::session::Session;

/// One frame: the stream (1 stdout, 2 stderr), the length, the bytes.
fn frame(stream: u8, bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![stream, 0, 0, 0];
    frame.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    frame.extend(bytes);
    frame
}

/// Reads a request's head, and says its first line.
async fn request(client: &mut UnixStream) -> String {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return String::new(),
        }
    }
    String::from_utf8_lossy(&head)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

async fn answer(client: &mut UnixStream, status: &str, body: &str) {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    drop(client.write_all(format!("{head}{body}").as_bytes()).await);
}

/// An engine with one container, whose output is these pieces; then it is gone.
async fn engine(listener: UnixListener, pieces: Vec<Vec<u8>>) {
    loop {
        let Ok((mut client, _)) = listener.accept().await else {
            return;
        };
        let pieces = pieces.clone();
        tokio::spawn(async move {
            let line = request(&mut client).await;
            if line.contains("/version") {
                answer(&mut client, "200 OK", r#"{"ApiVersion": "1.41"}"#).await;
            } else if line.contains("/attach") {
                let head = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
                drop(client.write_all(head.as_bytes()).await);
                for piece in pieces {
                    drop(client.write_all(&piece).await);
                    drop(client.flush().await);
                    tokio::task::yield_now().await;
                }
            } else {
                answer(&mut client, "404 Not Found", r#"{"message": "no such container"}"#).await;
            }
        });
    }
}

/// What comes out of stdout and of stderr.
async fn heard(pieces: Vec<Vec<u8>>) -> (Vec<u8>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let playing = tokio::spawn(engine(UnixListener::bind(&socket).unwrap(), pieces));
    let client = Arc::new(Client::new(format!("unix://{}", socket.display())));
    let logs = Logs::new(folder.path().join("logs"), Arc::new(|line| line.into()));
    let (instance, life) = ("time/0".parse().unwrap(), Life("c0ffee".to_owned()));
    let mut session = Session::converse(&client, &logs, &instance, &life).await.unwrap();
    let mut pipes = session.take().unwrap();
    let mut out = vec![];
    pipes.reader.read_to_end(&mut out).await.unwrap();
    session.ended().wait_for(|ended| *ended).await.unwrap();
    playing.abort();
    let lines = logs.read(&instance, &LogQuery::default()).await.unwrap();
    let lines = lines
        .into_iter()
        .filter(|line| line.kind == crate::record::LogKind::Line);
    (out, lines.map(|line| line.text).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// However frames are cut and mixed, each stream comes out whole and in order.
    #[test]
    fn frames_cut_anywhere_come_together(
        frames in prop::collection::vec((1..=2u8, prop::collection::vec(any::<u8>(), 0..200)), 1..20),
        cuts in prop::collection::vec(1..64usize, 1..40),
    ) {
        let frames: Vec<(u8, Vec<u8>)> = frames
            .into_iter()
            // Stderr is text in lines of its own, so that what is kept can be compared.
            .map(|(stream, bytes)| if stream == 1 { (1, bytes) } else { (2, format!("line {}\n", bytes.len()).into_bytes()) })
            .collect();
        let whole: Vec<u8> = frames.iter().flat_map(|(stream, bytes)| frame(*stream, bytes)).collect();
        let (mut pieces, mut rest) = (vec![], whole.as_slice());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, later) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece.to_vec());
            rest = later;
        }
        let of = |wanted: u8| frames.iter().filter(move |(stream, _)| *stream == wanted).flat_map(|(_, bytes)| bytes.clone());
        let out: Vec<u8> = of(1).collect();
        let error = String::from_utf8(of(2).collect()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (heard_out, heard_error) = runtime.block_on(heard(pieces));
        prop_assert_eq!(heard_out, out);
        prop_assert_eq!(heard_error, error.lines().map(str::to_owned).collect::<Vec<_>>());
    }
}

/// A frame that the engine cut off is no message.
#[tokio::test]
async fn what_is_left_of_a_cut_frame_is_not_handed_on() {
    let mut cut = frame(1, b"whole\n");
    cut.extend(&frame(1, b"never whole")[..12]);
    assert_eq!(heard(vec![cut]).await.0, b"whole\n");
}
