//! A request's body on its way to git: unpacked, counted, and given up on where it dawdles. git itself would unpack
//! whatever it is sent, without end.

use std::io::Write as _;
use std::time::Duration;

use axum::body::Body;
use flate2::write::GzDecoder;
use futures_util::StreamExt as _;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

/// A client that sends nothing for so long is taken for gone.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);
/// What a client has to send each second, in bytes, once its [`PATIENCE`] is used up: a drip must not hold a process.
const SLOWEST: u64 = 1 << 10;
/// How much is unpacked at once, in bytes as they come: a thousandfold of it at most is held in memory.
const SIP: usize = 1 << 10;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
}

/// Why a body is not taken: a status and words.
pub(super) type Refusal = (StatusCode, String);

impl Packing {
    /// How a request's body is packed, or why it is refused before any of it is read; `most` is what it may be.
    pub fn of(headers: &HeaderMap, most: u64) -> Result<Self, Refusal> {
        let mut all = headers.get_all(CONTENT_ENCODING).iter();
        let packing = match (all.next().map(|value| value.as_bytes().trim_ascii()), all.next()) {
            (None, _) => Self::Plain,
            (Some(it), None) if it.eq_ignore_ascii_case(b"identity") => Self::Plain,
            (Some(it), None) if it.eq_ignore_ascii_case(b"gzip") || it.eq_ignore_ascii_case(b"x-gzip") => Self::Gzip,
            _ => {
                let text = "a body is sent as it is, or with Content-Encoding: gzip\n";
                return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, text.to_owned()));
            }
        };
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        match length.and_then(|value| value.parse::<u64>().ok()) {
            Some(length) if length > most => Err(too_large(most)),
            _ => Ok(packing),
        }
    }
}

fn too_large(most: u64) -> Refusal {
    let text = format!("the request is over {} MiB: push in parts\n", most >> 20);
    (StatusCode::PAYLOAD_TOO_LARGE, text)
}

/// What becomes of the bytes of a body, once unpacked.
struct Funnel<'w, W> {
    into: &'w mut W,
    /// Set once nobody reads there any more: the rest is thrown away, so that the client gets to hear why.
    shut: bool,
    unpacker: Option<GzDecoder<Vec<u8>>>,
    left: u64,
    most: u64,
}

impl<W: AsyncWrite + Unpin> Funnel<'_, W> {
    async fn pour(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| too_large(self.most))?;
        self.shut |= !bytes.is_empty() && !self.shut && self.into.write_all(bytes).await.is_err();
        Ok(())
    }

    async fn chunk(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        let Some(mut unpacker) = self.unpacker.take() else {
            return self.pour(chunk).await;
        };
        let broken = |_| (StatusCode::BAD_REQUEST, "the body is no gzip\n".to_owned());
        for sip in chunk.chunks(SIP) {
            let mut rest = sip;
            while !rest.is_empty() {
                let taken = unpacker.write(rest).map_err(broken)?;
                let bytes = std::mem::take(unpacker.get_mut());
                if taken == 0 && bytes.is_empty() {
                    // What stands behind the end of the stream is nobody's.
                    break;
                }
                self.pour(&bytes).await?;
                rest = &rest[taken..];
            }
        }
        self.unpacker = Some(unpacker);
        Ok(())
    }

    async fn end(&mut self) -> Result<(), Refusal> {
        let Some(mut unpacker) = self.unpacker.take() else {
            return Ok(());
        };
        let broken = |_| (StatusCode::BAD_REQUEST, "the body is a gzip cut short\n".to_owned());
        unpacker.try_finish().map_err(broken)?;
        let bytes = std::mem::take(unpacker.get_mut());
        self.pour(&bytes).await
    }
}

/// How long the next bytes are waited for, after so long a wait for so many.
fn patience(waited: Duration, came: u64) -> Duration {
    let allowed = PATIENCE + Duration::from_secs(came / SLOWEST);
    allowed.saturating_sub(waited).min(PATIENCE)
}

/// Hands a body on. `most` bounds it as it comes and as it is unpacked.
///
/// # Errors
/// It is refused: too large, too slow, or not packed as it says. A body that breaks off is no error here: its end is
/// git's to judge.
pub(super) async fn hand_on(
    body: Body,
    packing: Packing,
    most: u64,
    into: &mut (impl AsyncWrite + Unpin),
) -> Result<(), Refusal> {
    let mut body = body.into_data_stream();
    let mut funnel = Funnel {
        into,
        shut: false,
        unpacker: (packing == Packing::Gzip).then(|| GzDecoder::new(vec![])),
        left: most,
        most,
    };
    let (mut waited, mut came) = (Duration::ZERO, 0_u64);
    let slow = || (StatusCode::REQUEST_TIMEOUT, "the body comes too slowly\n".to_owned());
    loop {
        // Only the client's own time counts, and not that of git, which may be busy with what came before.
        let begun = Instant::now();
        let next = tokio::time::timeout(patience(waited, came), body.next()).await;
        waited += begun.elapsed();
        match next.map_err(|_| slow())? {
            None => return funnel.end().await,
            Some(Err(_)) => return Ok(()),
            Some(Ok(chunk)) => {
                came += chunk.len() as u64;
                if came > most {
                    return Err(too_large(most));
                }
                funnel.chunk(&chunk).await?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    async fn given(chunks: Vec<Vec<u8>>, packing: Packing, most: u64) -> Result<Vec<u8>, Refusal> {
        let chunks = chunks.into_iter().map(Ok::<_, std::io::Error>);
        let body = Body::from_stream(futures_util::stream::iter(chunks));
        let mut taken = vec![];
        hand_on(body, packing, most, &mut taken).await.map(|()| taken)
    }

    #[tokio::test]
    async fn bodies_are_unpacked_and_counted() {
        let text: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let packed = gzip(&text);
        let split = |bytes: &[u8], size: usize| bytes.chunks(size).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let code =
            |given: Result<Vec<u8>, Refusal>| given.map(|bytes| bytes.len()).map_err(|refusal| refusal.0.as_u16());
        let most = text.len() as u64;
        for size in [1, 7, 1024, 5000, usize::MAX >> 1] {
            let size = size.min(packed.len());
            assert_eq!(given(split(&packed, size), Packing::Gzip, most).await.unwrap(), text);
        }
        assert_eq!(given(split(&text, 999), Packing::Plain, most).await.unwrap(), text);
        assert_eq!(code(given(split(&text, 999), Packing::Plain, most - 1).await), Err(413));
        assert_eq!(
            code(given(split(&packed, 999), Packing::Gzip, most - 1).await),
            Err(413)
        );
        assert_eq!(
            code(given(split(&packed[..99], 50), Packing::Gzip, most).await),
            Err(400)
        );
        assert_eq!(code(given(vec![b"0000".to_vec()], Packing::Gzip, most).await), Err(400));
        let mut twice = packed.clone();
        twice.extend(b"something behind it");
        assert_eq!(given(split(&twice, 100), Packing::Gzip, most).await.unwrap(), text);
        assert_eq!(code(given(vec![], Packing::Plain, 0).await), Ok(0));
        // A bomb: a thousandth of what it unpacks to, and refused long before that.
        let bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < 100 << 10);
        assert_eq!(code(given(vec![bomb], Packing::Gzip, 1 << 20).await), Err(413));
    }

    /// Neither silence nor a drip holds a process for long; what only comes slowly is taken.
    #[test]
    fn a_body_that_dawdles_is_given_up_on() {
        let seconds = Duration::from_secs;
        for (waited, came, left) in [
            (0, 0, 60),
            (59, 0, 1),
            (61, 0, 0),
            (3600, 60, 0),
            (59, 60 << 10, 60),
            (100, 60 << 10, 20),
            (1000, 1 << 20, 60),
            (2000, 1 << 20, 0),
        ] {
            assert_eq!(
                patience(seconds(waited), came),
                seconds(left),
                "{came} bytes in {waited} s"
            );
        }
    }

    #[test]
    fn what_a_head_says() {
        let of = |headers: &[(&str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                let name: http::HeaderName = name.parse().unwrap();
                map.append(name, value.parse().unwrap());
            }
            Packing::of(&map, 100).map_err(|refusal| refusal.0.as_u16())
        };
        assert_eq!(of(&[]), Ok(Packing::Plain));
        assert_eq!(of(&[("content-encoding", "Identity")]), Ok(Packing::Plain));
        assert_eq!(of(&[("content-encoding", "x-gzip")]), Ok(Packing::Gzip));
        assert_eq!(
            of(&[("content-encoding", "gzip"), ("content-length", "100")]),
            Ok(Packing::Gzip)
        );
        for encodings in [&["br"][..], &["gzip, gzip"], &["gzip", "gzip"], &["deflate"], &[""]] {
            let headers: Vec<_> = encodings.iter().map(|it| ("content-encoding", *it)).collect();
            assert_eq!(of(&headers), Err(415), "{encodings:?}");
        }
        assert_eq!(of(&[("content-length", "101")]), Err(413));
    }
}
