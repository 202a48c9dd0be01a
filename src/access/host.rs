//! Whether a request may come in, by its `Host` and `Origin`: the defence against DNS rebinding and foreign pages.
//!
//! Names are compared as written (but for case), never resolved. What is not plainly a host is refused, and so are forms
//! that only some programs read as a loopback address (`127.1`, `localhost.`).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The longest header that is looked at, in bytes.
const LONGEST: usize = 512;

/// A host as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    /// A name, in lower case.
    Name(String),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

/// A host and, where it was given, its port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Authority {
    host: Host,
    port: Option<u16>,
}

/// A text is not a host or an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not {1}")]
pub struct NotAnAuthority(String, &'static str);

impl NotAnAuthority {
    fn new(text: &str, wanted: &'static str) -> Self {
        Self(text.chars().take(80).collect(), wanted)
    }
}

impl FromStr for Authority {
    type Err = NotAnAuthority;

    fn from_str(text: &str) -> Result<Self, NotAnAuthority> {
        let fault = || NotAnAuthority::new(text, "a host, as example.com or example.com:8443");
        if text.len() > LONGEST {
            return Err(fault());
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (address, after) = rest.split_once(']').ok_or_else(fault)?;
            let port = match after.strip_prefix(':') {
                Some(port) => Some(port),
                None if after.is_empty() => None,
                None => return Err(fault()),
            };
            (Host::V6(address.parse().map_err(|_| fault())?), port)
        } else {
            let (name, port) = match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            };
            let host = match name.parse() {
                Ok(address) => Host::V4(address),
                Err(_) => Host::Name(domain(name).ok_or_else(fault)?),
            };
            (host, port)
        };
        let digits = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = match port {
            None => None,
            Some(port) if digits(port) => Some(port.parse().map_err(|_| fault())?),
            Some(_) => return Err(fault()),
        };
        Ok(Self { host, port })
    }
}

/// A domain name in lower case: labels of letters, digits, `-` and `_`, the last one not a number.
fn domain(name: &str) -> Option<String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // A last label that begins with a digit makes it an address in some resolver's eyes: `127.1`, `0x7f000001`.
    let last = name.rsplit('.').next()?;
    let numeric = last.starts_with(|c: char| c.is_ascii_digit());
    (name.split('.').all(label) && !numeric).then(|| name.to_ascii_lowercase())
}

impl Authority {
    fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Name(name) => name == "localhost",
            Host::V4(address) => address.is_loopback(),
            Host::V6(address) => address.is_loopback(),
        }
    }
}

/// Scheme, host and port of a page or a public URL: `https://mcp.example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    secure: bool,
    authority: Authority,
}

impl Origin {
    /// Whether it is https.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether it names this machine alone.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.authority.is_loopback()
    }

    /// The port, that of the scheme where none is written.
    fn port(&self) -> u16 {
        self.authority.port.unwrap_or(if self.secure { 443 } else { 80 })
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.secure, &self.authority.host, self.port()) == (other.secure, &other.authority.host, other.port())
    }
}

impl FromStr for Origin {
    type Err = NotAnAuthority;

    fn from_str(text: &str) -> Result<Self, NotAnAuthority> {
        let fault = || NotAnAuthority::new(text, "an origin, as https://example.com");
        let (scheme, authority) = text.split_once("://").ok_or_else(fault)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(fault()),
        };
        let authority = authority.parse().map_err(|_| fault())?;
        Ok(Self { secure, authority })
    }
}

/// Which hosts and origins are let in beside loopback.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    public: Option<Origin>,
    hosts: Vec<Authority>,
    origins: Vec<Origin>,
}

impl AllowedHosts {
    /// The origin of the public URL, further hosts (with a port only that port) and further origins. There is no `*`.
    ///
    /// # Errors
    /// An entry is not a host or an origin.
    pub fn new<'a>(
        public: Option<Origin>,
        hosts: impl IntoIterator<Item = &'a str>,
        origins: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, NotAnAuthority> {
        Ok(Self {
            public,
            hosts: hosts.into_iter().map(str::parse).collect::<Result<_, _>>()?,
            origins: origins.into_iter().map(str::parse).collect::<Result<_, _>>()?,
        })
    }
}

/// Why a request is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostRefused {
    /// There is no `Host`.
    #[error("a Host header is needed")]
    Missing,
    /// The host is not one of ours.
    #[error("the host \"{0}\" is not allowed")]
    Host(String),
    /// The page that asks is not one of ours.
    #[error("the origin \"{0}\" is not allowed")]
    Origin(String),
}

impl HostRefused {
    /// A way out.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Missing => "send the Host header that HTTP/1.1 asks for",
            Self::Host(_) => "name it in MCPD_PUBLIC_URL or MCPD_ALLOWED_HOSTS",
            Self::Origin(_) => "name it in MCPD_ALLOWED_ORIGINS",
        }
    }
}

/// Whether a request with these headers may come in.
///
/// The host is loopback, the public URL's, or in the list. An origin, where there is one, is the public URL's, in the
/// list, or of the host's own kind: loopback for loopback, the same host and port for a listed host.
///
/// # Errors
/// The host or the origin is refused.
pub fn host_allowed(host: Option<&str>, origin: Option<&str>, allowed: &AllowedHosts) -> Result<(), HostRefused> {
    let shown = |text: &str| text.chars().filter(|c| !c.is_control()).take(80).collect::<String>();
    let text = host.ok_or(HostRefused::Missing)?;
    let host: Authority = text.parse().map_err(|_| HostRefused::Host(shown(text)))?;
    let listed = |entry: &Authority| entry.host == host.host && (entry.port.is_none() || entry.port == host.port);
    let is_listed = allowed.hosts.iter().any(listed);
    let is_public = allowed
        .public
        .as_ref()
        .is_some_and(|public| public.authority.host == host.host);
    if !(host.is_loopback() || is_public || is_listed) {
        return Err(HostRefused::Host(shown(text)));
    }
    let Some(text) = origin else {
        return Ok(());
    };
    let refused = || HostRefused::Origin(shown(text));
    let origin: Origin = text.parse().map_err(|_| refused())?;
    let named = allowed
        .public
        .iter()
        .chain(&allowed.origins)
        .any(|ours| ours.is_same(&origin));
    let own = (host.is_loopback() && origin.is_loopback()) || (is_listed && origin.authority == host);
    if named || own { Ok(()) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> AllowedHosts {
        let public = "https://mcp.example.com".parse().expect("an origin");
        AllowedHosts::new(
            Some(public),
            ["tools.corp", "ops.corp:8443", "[2001:db8::1]"],
            ["https://page.example.com:9443"],
        )
        .expect("hosts")
    }

    #[test]
    fn hosts() {
        for good in [
            "localhost",
            "localhost:3100",
            "LocalHost:1",
            "127.0.0.1",
            "127.0.0.1:3100",
            "127.255.0.3",
            "[::1]",
            "[::1]:3100",
            "[0:0:0:0:0:0:0:1]",
            "mcp.example.com",
            "MCP.example.COM:443",
            "mcp.example.com:8080",
            "tools.corp",
            "tools.corp:99",
            "ops.corp:8443",
            "[2001:db8::1]:80",
        ] {
            assert_eq!(host_allowed(Some(good), None, &allowed()), Ok(()), "{good}");
        }
        for bad in [
            "",
            " ",
            "*",
            "evil.example",
            "evil.example:3100",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "evil.localhost",
            "localhost.",
            "127.0.0.1.",
            "mcp.example.com.",
            "xmcp.example.com",
            "mcp.example.com.evil",
            "user@localhost",
            "localhost@evil.example",
            "localhost:3100@evil.example",
            "localhost:",
            "localhost:x",
            "localhost:+1",
            "localhost:65536",
            "localhost:1:2",
            "localhost/",
            "localhost#",
            "localhost\\",
            "localhost evil",
            "http://localhost",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0.0.0.0",
            "128.0.0.1",
            "::1",
            "[::1",
            "[::1]x",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[fe80::1%25lo]",
            "[localhost]",
            "ops.corp",
            "ops.corp:80",
            "löcalhost",
            "localhost\u{0}",
        ] {
            let told = host_allowed(Some(bad), None, &allowed());
            assert!(matches!(told, Err(HostRefused::Host(_))), "{bad}: {told:?}");
        }
        let long = "a.".repeat(LONGEST);
        assert!(host_allowed(Some(&long), None, &allowed()).is_err_and(|e| e.to_string().len() < 200));
        assert_eq!(host_allowed(None, None, &allowed()), Err(HostRefused::Missing));
        let none = AllowedHosts::default();
        assert!(host_allowed(Some("mcp.example.com"), None, &none).is_err());
        assert!(host_allowed(Some("localhost"), None, &none).is_ok());
    }

    #[test]
    fn origins() {
        for (host, origin, good) in [
            ("localhost:3100", "http://localhost:3100", true),
            ("127.0.0.1:3100", "http://localhost:6274", true),
            ("[::1]:3100", "https://[::1]", true),
            ("localhost:3100", "HTTP://LOCALHOST", true),
            ("localhost:3100", "https://mcp.example.com", true),
            ("localhost:3100", "https://page.example.com:9443", true),
            ("localhost:3100", "https://page.example.com", false),
            ("localhost:3100", "https://tools.corp", false),
            ("localhost:3100", "null", false),
            ("localhost:3100", "", false),
            ("localhost:3100", "*", false),
            ("localhost:3100", "http://evil.example", false),
            ("localhost:3100", "http://localhost.evil", false),
            ("localhost:3100", "http://127.0.0.1.evil.example", false),
            ("localhost:3100", "http://user@localhost", false),
            ("localhost:3100", "http://localhost/", false),
            ("localhost:3100", "http://localhost.", false),
            ("localhost:3100", "file://", false),
            ("localhost:3100", "chrome-extension://localhost", false),
            ("localhost:3100", "http://localhost http://evil.example", false),
            ("mcp.example.com", "https://mcp.example.com", true),
            ("mcp.example.com", "https://MCP.example.com:443", true),
            ("mcp.example.com", "http://mcp.example.com", false),
            ("mcp.example.com", "https://mcp.example.com:8443", false),
            ("mcp.example.com", "http://localhost:3100", false),
            ("tools.corp:99", "http://tools.corp:99", true),
            ("tools.corp:99", "https://tools.corp:99", true),
            ("tools.corp:99", "https://tools.corp", false),
            ("tools.corp:99", "http://localhost", false),
        ] {
            let told = host_allowed(Some(host), Some(origin), &allowed());
            assert_eq!(told.is_ok(), good, "{host} {origin}: {told:?}");
            assert!(good || matches!(told, Err(HostRefused::Origin(_))), "{host} {origin}");
        }
        // A good origin does not make a bad host good.
        assert!(host_allowed(Some("evil.example"), Some("https://mcp.example.com"), &allowed()).is_err());
    }

    #[test]
    fn there_is_no_wildcard() {
        for bad in ["*", "*.example.com", "", "https://example.com"] {
            assert!(AllowedHosts::new(None, [bad], []).is_err(), "{bad}");
        }
        for bad in ["*", "null", "example.com", "https://*", "https://example.com/page"] {
            assert!(AllowedHosts::new(None, [], [bad]).is_err(), "{bad}");
        }
    }
}
