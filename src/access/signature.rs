//! Who signed a webhook: the secret that a git server and mcpd share, judged over the bytes as they came.
//!
//! # Guarantees
//! One header decides, by the kind of server that the headers speak of: a wrong signature is not rescued by a right one
//! beside it, and one that is there twice is none. Every comparison takes the same time wherever values differ. The age of
//! a delivery is not judged: one that is sent again only makes mcpd look.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::kit::Redacted;

/// How many signatures one header may list.
const SIGNATURES: usize = 16;
/// The longest header that is looked at, in bytes.
const LONGEST: usize = 4_096;
/// What a signing token begins with whose rest is the key in base64 (Standard Webhooks).
const SIGNING_TOKEN: &str = "whsec_";
/// The bytes of a SHA-256.
const SHA256: usize = 32;

/// Which kind of git server sends webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forge {
    /// GitHub.
    GitHub,
    /// GitLab.
    GitLab,
    /// Gitea.
    Gitea,
    /// Forgejo.
    Forgejo,
    /// Bitbucket, Cloud and Data Center.
    Bitbucket,
}

/// The word for it, as in `webhook github`.
impl fmt::Display for Forge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Gitea => "gitea",
            Self::Forgejo => "forgejo",
            Self::Bitbucket => "bitbucket",
        })
    }
}

/// Why a webhook is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    /// No header says that anybody signed it.
    #[error("the webhook is not signed")]
    Missing,
    /// A header can't be understood.
    #[error("{0} can't be understood")]
    Malformed(&'static str),
    /// Another secret, or another body.
    #[error("{0} does not fit: the webhook's secret and MCPD_WEBHOOK_SECRET differ")]
    Wrong(&'static str),
}

const GITLAB_TOKEN: &str = "X-Gitlab-Token";
const STANDARD_WEBHOOK: &str = "webhook-signature";
const HUB: &str = "X-Hub-Signature";
const HUB_256: &str = "X-Hub-Signature-256";

/// Whose signature counts, by the header that has it; the first that is there. Gitea and Forgejo send GitHub's too.
const BY_HEADER: [(&str, Forge); 7] = [
    (STANDARD_WEBHOOK, Forge::GitLab),
    (GITLAB_TOKEN, Forge::GitLab),
    ("X-Forgejo-Signature", Forge::Forgejo),
    ("X-Gitea-Signature", Forge::Gitea),
    ("X-Gogs-Signature", Forge::Gitea),
    (HUB_256, Forge::GitHub),
    (HUB, Forge::Bitbucket),
];

/// The server that claims to send a webhook, and the header that is to prove it; before anything else is read.
///
/// # Errors
/// No such header is there.
pub fn claimed<'h>(header: &impl Fn(&str) -> Vec<&'h [u8]>) -> Result<(Forge, &'static str), NotSigned> {
    let mut known = BY_HEADER.iter();
    known
        .find(|(name, _)| !header(name).is_empty())
        .map(|(name, forge)| (*forge, *name))
        .ok_or(NotSigned::Missing)
}

/// The server that signed a body with the secret.
///
/// # Errors
/// Nobody did: see [`NotSigned`].
pub fn signed<'h>(
    secret: &Redacted<String>,
    header: &impl Fn(&str) -> Vec<&'h [u8]>,
    body: &[u8],
) -> Result<Forge, NotSigned> {
    let (forge, name) = claimed(header)?;
    let text = |name: &'static str| match header(name).as_slice() {
        [one] if one.len() <= LONGEST => std::str::from_utf8(one).map_err(|_| NotSigned::Malformed(name)),
        _ => Err(NotSigned::Malformed(name)),
    };
    let given = text(name)?;
    let secret = secret.reveal();
    let fits = match name {
        // The secret itself. Digests are compared, so that its length does not show either.
        GITLAB_TOKEN => bool::from(Sha256::digest(given).ct_eq(&Sha256::digest(secret))),
        STANDARD_WEBHOOK => {
            let (id, at) = (text("webhook-id")?, text("webhook-timestamp")?);
            let key = signing_key(secret).ok_or(NotSigned::Wrong(name))?;
            let signatures = given.split(' ').take(SIGNATURES);
            let mut ours = signatures.filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok());
            ours.any(|signature| is_mac(&key, &[id.as_bytes(), b".", at.as_bytes(), b".", body], &signature))
        }
        _ => {
            // GitHub and Bitbucket name the digest. SHA-1 is no proof any more.
            let hex = match (name, given.strip_prefix("sha256=")) {
                (HUB | HUB_256, None) => return Err(NotSigned::Malformed(name)),
                (_, hex) => hex.unwrap_or(given),
            };
            let signature = from_hex(hex).ok_or(NotSigned::Malformed(name))?;
            is_mac(secret.as_bytes(), &[body], &signature)
        }
    };
    if fits { Ok(forge) } else { Err(NotSigned::Wrong(name)) }
}

/// The key of a signing token: what follows `whsec_` in base64, or the text as it is.
fn signing_key(secret: &str) -> Option<Vec<u8>> {
    match secret.strip_prefix(SIGNING_TOKEN) {
        Some(key) => STANDARD.decode(key).ok(),
        None => Some(secret.as_bytes().to_vec()),
    }
}

fn is_mac(key: &[u8], parts: &[&[u8]], signature: &[u8]) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return false;
    };
    for part in parts {
        mac.update(part);
    }
    mac.verify_slice(signature).is_ok()
}

fn from_hex(text: &str) -> Option<[u8; SHA256]> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16)?.try_into().ok()).collect();
    let bytes: Vec<u8> = digits?
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect();
    bytes.try_into().ok().filter(|_| text.len() == 2 * SHA256)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GitHub's own example in "Validating webhook deliveries".
    const GITHUB: (&str, &str, &str) = (
        "It's a Secret to Everybody",
        "Hello, World!",
        "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    );
    /// What Python's hmac makes of the secret `mcpctl` and the body `{"ref":"refs/heads/main"}`.
    const PYTHON: (&str, &str, &str) = (
        "mcpctl",
        r#"{"ref":"refs/heads/main"}"#,
        "2b5ae5d0cd2acacf068050ae62841a89d1d540b7cac8f6cff2d80362adcee575",
    );
    /// The example of the specification of Standard Webhooks.
    const STANDARD_EXAMPLE: (&str, &str, &str, &str, &str) = (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "1614265330",
        r#"{"test": 2432232314}"#,
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    );

    fn judge(secret: &str, headers: &[(&str, &str)], body: &str) -> Result<Forge, NotSigned> {
        let header = |name: &str| {
            let of = headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
            of.map(|(_, value)| value.as_bytes()).collect::<Vec<&[u8]>>()
        };
        signed(&Redacted::new(secret.to_owned()), &header, body.as_bytes())
    }

    #[test]
    fn signatures_of_every_server() {
        let (secret, body, hex) = GITHUB;
        let (other, ours, python) = PYTHON;
        let hub = format!("sha256={hex}");
        let hub = hub.as_str();
        let upper = hex.to_uppercase();
        let wrong = format!("sha256={}", "0".repeat(64));
        let python_hub = format!("sha256={python}");
        let malformed = |name| Err(NotSigned::Malformed(name));
        for (secret, headers, body, want) in [
            (secret, vec![(HUB_256, hub)], body, Ok(Forge::GitHub)),
            (other, vec![(HUB_256, python_hub.as_str())], ours, Ok(Forge::GitHub)),
            // GitHub still sends SHA-1 beside it, and that one is not looked at.
            (secret, vec![(HUB_256, hub), (HUB, "sha1=00")], body, Ok(Forge::GitHub)),
            (secret, vec![(HUB, hub)], body, Ok(Forge::Bitbucket)),
            (secret, vec![("X-Gitea-Signature", hex)], body, Ok(Forge::Gitea)),
            (secret, vec![("X-Gitea-Signature", &upper)], body, Ok(Forge::Gitea)),
            (secret, vec![("X-Gogs-Signature", hex)], body, Ok(Forge::Gitea)),
            (secret, vec![("X-Forgejo-Signature", hex)], body, Ok(Forge::Forgejo)),
            (
                secret,
                vec![(HUB_256, hub), ("X-Gitea-Signature", hex), ("X-Forgejo-Signature", hex)],
                body,
                Ok(Forge::Forgejo),
            ),
            (secret, vec![(GITLAB_TOKEN, secret)], "any", Ok(Forge::GitLab)),
            // What is wrong.
            (secret, vec![], body, Err(NotSigned::Missing)),
            (secret, vec![("X-GitHub-Event", "push")], body, Err(NotSigned::Missing)),
            (
                secret,
                vec![(HUB_256, hub)],
                "Hello, World?",
                Err(NotSigned::Wrong(HUB_256)),
            ),
            ("other", vec![(HUB_256, hub)], body, Err(NotSigned::Wrong(HUB_256))),
            (secret, vec![(HUB_256, &wrong)], body, Err(NotSigned::Wrong(HUB_256))),
            (secret, vec![(HUB_256, hex)], body, malformed(HUB_256)),
            (secret, vec![(HUB_256, "sha256=")], body, malformed(HUB_256)),
            (secret, vec![(HUB_256, "sha256=zz")], body, malformed(HUB_256)),
            (secret, vec![(HUB_256, &hub[..70])], body, malformed(HUB_256)),
            (
                secret,
                vec![(HUB, "sha1=2fd4e1c67a2d28fced849ee1bb76e7391b93eb12")],
                body,
                malformed(HUB),
            ),
            (secret, vec![(HUB_256, hub), (HUB_256, hub)], body, malformed(HUB_256)),
            (
                secret,
                vec![("X-Gitea-Signature", "é")],
                body,
                malformed("X-Gitea-Signature"),
            ),
            // One that is right does not make up for the one that counts.
            (
                secret,
                vec![(HUB_256, hub), ("X-Gitea-Signature", &wrong[7..])],
                body,
                Err(NotSigned::Wrong("X-Gitea-Signature")),
            ),
            (
                secret,
                vec![(GITLAB_TOKEN, "")],
                body,
                Err(NotSigned::Wrong(GITLAB_TOKEN)),
            ),
            (
                secret,
                vec![(GITLAB_TOKEN, &secret[1..])],
                body,
                Err(NotSigned::Wrong(GITLAB_TOKEN)),
            ),
        ] {
            assert_eq!(judge(secret, &headers, body), want, "{headers:?}");
        }
    }

    #[test]
    fn signing_tokens() {
        let (secret, id, at, body, signature) = STANDARD_EXAMPLE;
        let with = |id, at, signature| {
            vec![
                ("webhook-id", id),
                ("webhook-timestamp", at),
                (STANDARD_WEBHOOK, signature),
                (GITLAB_TOKEN, "whatever"),
            ]
        };
        let wrong = Err(NotSigned::Wrong(STANDARD_WEBHOOK));
        let two = format!("v1,AAAA v2,x {signature}");
        for (secret, headers, want) in [
            (secret, with(id, at, signature), Ok(Forge::GitLab)),
            (secret, with(id, at, &two), Ok(Forge::GitLab)),
            (secret, with(id, "1614265331", signature), wrong.clone()),
            (secret, with("msg", at, signature), wrong.clone()),
            (secret, with(id, at, &signature[3..]), wrong.clone()),
            (secret, with(id, at, "v1,"), wrong.clone()),
            (secret, with(id, at, ""), wrong.clone()),
            ("whsec_%%%", with(id, at, signature), wrong.clone()),
            (&secret[6..], with(id, at, signature), wrong.clone()),
            // The token beside it is not asked where there is a signature.
            ("whatever", with(id, at, signature), wrong),
            (
                secret,
                with(id, at, signature)[1..].to_vec(),
                Err(NotSigned::Malformed("webhook-id")),
            ),
        ] {
            assert_eq!(judge(secret, &headers, body), want, "{headers:?}");
        }
        // A token that is no base64 is the key as it is; Python's hmac over `i.1.b`.
        let plain = [
            ("webhook-id", "i"),
            ("webhook-timestamp", "1"),
            (STANDARD_WEBHOOK, "v1,AJUsvNdhvsHxZBEMXaB/LG/LyZ6jSgGBIGJax7bJFLA="),
        ];
        assert_eq!(judge("mcpctl", &plain, "b"), Ok(Forge::GitLab));
    }
}
