//! The key that mcpd shows to git servers: an SSH key made at the first start. It only talks to remotes and decrypts nothing.
#![expect(clippy::disallowed_methods, reason = "the key is a file of the data folder")]

use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use ssh_key::{Algorithm, LineEnding, PrivateKey};

/// The private half's file in the data folder.
const FILE: &str = "ssh_ed25519";

/// The public half, as a line that git servers take (`ssh-ed25519 … mcpd@CLUSTER`); the key is made where there is none.
///
/// # Errors
/// The file can't be read or written, or what stands in it is no SSH key (it is never overwritten).
pub fn deploy_key(data: &Path, cluster: &str) -> io::Result<String> {
    let path = data.join(FILE);
    let broken =
        |error: ssh_key::Error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    if !text.trim().is_empty() {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let key = PrivateKey::from_openssh(&text).map_err(broken)?;
        return key.public_key().to_openssh().map_err(broken);
    }
    // An empty file is what a crash between creating and writing leaves.
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
    let pair = ssh_key::private::Ed25519Keypair::from_seed(&seed);
    let mut key = PrivateKey::from(pair);
    key.set_comment(format!("mcpd@{cluster}"));
    debug_assert_eq!(key.algorithm(), Algorithm::Ed25519);
    let text = key.to_openssh(LineEnding::LF).map_err(broken)?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    key.public_key().to_openssh().map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_kept_private() {
        let data = tempfile::tempdir().unwrap();
        let first = deploy_key(data.path(), "home").unwrap();
        assert!(
            first.starts_with("ssh-ed25519 AAAA") && first.ends_with(" mcpd@home"),
            "{first}"
        );
        assert_eq!(deploy_key(data.path(), "other").unwrap(), first);
        let file = data.path().join(FILE);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&file, "not a key").unwrap();
        assert!(deploy_key(data.path(), "home").is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "not a key");
        std::fs::write(&file, "").unwrap();
        assert_ne!(deploy_key(data.path(), "home").unwrap(), first);
    }
}
