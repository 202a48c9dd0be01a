//! Folders of the host that servers mount: only below the folders that mcpd was started with, links followed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::resource::Server;
use crate::runtime::RuntimeError;

/// Where each declared folder truly is; an error for the first that is not allowed.
pub(super) async fn host_paths(server: &Server, roots: &[PathBuf]) -> Result<BTreeMap<String, PathBuf>, RuntimeError> {
    let mut paths = BTreeMap::new();
    for declared in server.volumes.iter().filter_map(|volume| volume.host_path.as_deref()) {
        paths.insert(declared.to_owned(), allowed(declared, roots).await?);
    }
    Ok(paths)
}

async fn allowed(declared: &str, roots: &[PathBuf]) -> Result<PathBuf, RuntimeError> {
    let refused = |reason: String| Err(RuntimeError::Volume(format!("hostPath {declared} {reason}")));
    if roots.is_empty() {
        return refused("can't be mounted: mcpd was started without folders for that (--volume-roots)".to_owned());
    }
    let found = match tokio::fs::canonicalize(declared).await {
        Ok(found) => found,
        Err(error) => return refused(format!("can't be mounted: {error}")),
    };
    for root in roots {
        // A root that is not there allows nothing.
        if let Ok(root) = tokio::fs::canonicalize(root).await
            && found.starts_with(&root)
        {
            return Ok(found);
        }
    }
    let listed: Vec<String> = roots.iter().map(|root| root.display().to_string()).collect();
    let listed = listed.join(", ");
    if found == Path::new(declared) {
        refused(format!("is not below {listed}"))
    } else {
        refused(format!("leads to {} and is not below {listed}", found.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(declared: &Path, roots: &[PathBuf]) -> Result<PathBuf, String> {
        allowed(declared.to_str().unwrap(), roots)
            .await
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn only_what_lies_below_the_roots_links_followed() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        for name in ["root/data", "rootless", "other"] {
            std::fs::create_dir_all(base.join(name)).unwrap();
        }
        std::os::unix::fs::symlink(base.join("other"), base.join("root/out")).unwrap();
        std::os::unix::fs::symlink(base.join("root/data"), base.join("in")).unwrap();
        let roots = [base.join("nowhere"), base.join("root")];
        assert_eq!(told(&base.join("root/data"), &roots).await, Ok(base.join("root/data")));
        assert_eq!(told(&base.join("root"), &roots).await, Ok(base.join("root")));
        assert_eq!(told(&base.join("in"), &roots).await, Ok(base.join("root/data")));
        let shown = |name: &str| base.join(name).display().to_string();
        let listed = format!("{}, {}", shown("nowhere"), shown("root"));
        for (declared, want) in [
            (
                "rootless",
                format!("hostPath {} is not below {listed}", shown("rootless")),
            ),
            (
                "root/out",
                format!(
                    "hostPath {} leads to {} and is not below {listed}",
                    shown("root/out"),
                    shown("other")
                ),
            ),
            (
                "root/../other",
                format!(
                    "hostPath {} leads to {} and is not below {listed}",
                    shown("root/../other"),
                    shown("other")
                ),
            ),
        ] {
            assert_eq!(told(&base.join(declared), &roots).await, Err(want));
        }
        let missing = told(&base.join("root/missing"), &roots).await.unwrap_err();
        assert!(missing.contains("can't be mounted: No such file"), "{missing}");
        assert!(
            told(&base.join("root/data"), &[])
                .await
                .unwrap_err()
                .contains("--volume-roots")
        );
    }
}
