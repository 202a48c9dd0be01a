//! The figures of long tests, written down in `docs/proof/` with the commit that they are of.
#![expect(
    clippy::disallowed_methods,
    reason = "a test asks git for its commit and writes its proof"
)]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Writes `docs/proof/NAME.json`: the figures, the name, and the commit.
pub fn write(name: &str, mut figures: Value) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let head = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(["rev-parse", "HEAD"])
        .output();
    figures["name"] = name.into();
    figures["commit"] = String::from_utf8_lossy(&head.expect("git").stdout).trim().into();
    let folder = root.join("docs/proof");
    std::fs::create_dir_all(&folder).expect("docs/proof");
    std::fs::write(folder.join(format!("{name}.json")), format!("{figures}\n")).expect("the proof");
}
