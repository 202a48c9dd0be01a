//! How a server's declaration becomes a program, its arguments and its environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::record::Workload;
use crate::runtime::RuntimeError;
use crate::runtime::words::command_line;

/// What is executed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Launch {
    /// The program's path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its whole environment, without our own marks.
    pub environment: BTreeMap<OsString, OsString>,
}

/// Variables that a server inherits: how to find programs, speak a language, reach the network and keep caches.
/// Everything else stays with mcpd, its own secrets first of all.
const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "npm_config_cache",
    "npm_config_registry",
    "npm_config_userconfig",
    "npm_config_prefix",
    "npm_config_cafile",
    "NPM_CONFIG_CACHE",
    "NPM_CONFIG_REGISTRY",
    "NPM_CONFIG_USERCONFIG",
    "NPM_CONFIG_PREFIX",
    "NPM_CONFIG_CAFILE",
    "UV_CACHE_DIR",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_NATIVE_TLS",
    "UV_SYSTEM_CERTS",
    "UV_PYTHON",
    "UV_PYTHON_INSTALL_DIR",
    "UV_PYTHON_INSTALL_MIRROR",
    "UV_TOOL_DIR",
    "UV_CONFIG_FILE",
    "PIP_INDEX_URL",
    "PIP_CONFIG_FILE",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "PYENV_ROOT",
    "PYENV_VERSION",
    "NVM_DIR",
    "VOLTA_HOME",
];

/// Reads a declaration. `inherited` is mcpd's own environment, `directory` where the server will run.
pub(super) fn launch(
    server: &Workload,
    inherited: &[(OsString, OsString)],
    directory: &Path,
) -> Result<Launch, RuntimeError> {
    let mut environment: BTreeMap<OsString, OsString> = inherited
        .iter()
        .filter(|(name, _)| {
            let name = name.to_str().unwrap_or_default();
            INHERITED.contains(&name) || name.starts_with("LC_")
        })
        .cloned()
        .collect();
    let own = server.environment();
    environment.extend(own.map(|(name, value)| (OsString::from(name), OsString::from(value))));
    if server.needs_container() {
        return Err(RuntimeError::NeedsDocker);
    }
    let words = command_line(server);
    let (program, arguments) = words.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
    let arguments = arguments.iter().map(OsString::from).collect();
    let path = environment
        .get(OsStr::new("PATH"))
        .map_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"), OsString::as_os_str);
    let found = find(program, path, directory).ok_or_else(|| RuntimeError::MissingProgram {
        program: shown(program),
        remedy: remedy(program),
    })?;
    Ok(Launch {
        program: found,
        arguments,
        environment,
    })
}

/// The executable file that a shell would find; a name with a slash is looked up from `directory`.
fn find(program: &str, path: &OsStr, directory: &Path) -> Option<PathBuf> {
    let executable = |file: &PathBuf| {
        std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.is_empty() {
        return None;
    }
    if program.contains('/') {
        return Some(directory.join(program)).filter(executable);
    }
    std::env::split_paths(path)
        .map(|folder| directory.join(folder).join(program))
        .find(executable)
}

/// How to come by a program.
fn remedy(program: &str) -> &'static str {
    match program {
        "uvx" | "uv" => "pip install uv, or see the uv documentation",
        "npx" | "npm" | "node" => "install Node.js 20 or later, which brings npx",
        "python" | "python3" => "install Python 3",
        "docker" => "install Docker",
        _ if program.contains('/') => "no executable file of that name; it is looked up from the working directory",
        _ => "no executable of that name is on PATH",
    }
}

/// A program's name in a message: one line of bounded length.
fn shown(program: &str) -> String {
    program
        .chars()
        .take(120)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "makes programs to find")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(server: Value, inherited: &[(&str, &str)], directory: &Path) -> Result<Launch, String> {
        let server: crate::resource::Server = serde_json::from_value(server).unwrap();
        let server = Workload::from(server);
        let inherited: Vec<(OsString, OsString)> = inherited.iter().map(|(n, v)| (n.into(), v.into())).collect();
        launch(&server, &inherited, directory).map_err(|error| error.to_string())
    }

    fn tools(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let file = folder.path().join(name);
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        folder
    }

    /// Pitfall: a package name used as an image reference.
    #[test]
    fn each_source_has_its_command_line() {
        let folder = tools(&["npx", "uvx", "tool"]);
        let path = folder.path().to_str().unwrap();
        for (server, want) in [
            (
                json!({"packageName": "@a/b@1.2.3", "args": ["x y", "-v"]}),
                "npx|-y|@a/b@1.2.3|x y|-v",
            ),
            (
                json!({"packageName": "a==1.2.3", "runtime": "python", "args": ["-v"]}),
                "uvx|a@1.2.3|-v",
            ),
            (json!({"packageName": "a", "runtime": "python"}), "uvx|a"),
            (json!({"packageName": "a[x]==1.2", "runtime": "python"}), "uvx|a[x]@1.2"),
            (json!({"packageName": "a>=1,<2", "runtime": "python"}), "uvx|a>=1,<2"),
            (json!({"command": ["tool", "a b", ""]}), "tool|a b|"),
            (json!({"command": ["./tool"]}), "tool"),
        ] {
            let launch = read(server, &[("PATH", path)], folder.path()).unwrap();
            let mut words = vec![launch.program.file_name().unwrap().to_str().unwrap().to_owned()];
            words.extend(launch.arguments.iter().map(|a| a.to_str().unwrap().to_owned()));
            assert_eq!(words.join("|"), want);
            assert!(launch.program.starts_with(folder.path()));
        }
    }

    #[test]
    fn a_missing_program_is_one_line_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("plain"), "").unwrap();
        let path = folder.path().to_str().unwrap();
        for (server, want) in [
            (
                json!({"packageName": "a", "runtime": "python"}),
                "needs uvx, which is not installed (pip install uv, or see the uv documentation)",
            ),
            (
                json!({"packageName": "a"}),
                "needs npx, which is not installed (install Node.js 20 or later, which brings npx)",
            ),
            (json!({"dockerImage": "a"}), "needs Docker"),
            (
                json!({"command": ["plain"]}),
                "needs plain, which is not installed (no executable of that name is on PATH)",
            ),
            (
                json!({"command": ["./no\nthing"]}),
                "needs ./no thing, which is not installed (no executable file of that name; it is looked up from the working directory)",
            ),
        ] {
            assert_eq!(
                read(server, &[("PATH", path)], folder.path()).err().as_deref(),
                Some(want)
            );
        }
    }

    /// No secret of mcpd reaches a server that did not ask for it.
    #[test]
    fn the_environment_is_an_allow_list_plus_the_servers_own() {
        let folder = tools(&["tool"]);
        let path = folder.path().to_str().unwrap();
        let launch = read(
            json!({"command": ["tool"], "env": [{"name": "TOKEN", "value": "t"}, {"name": "HOME", "value": "/h"}]}),
            &[
                ("PATH", path),
                ("HOME", "/root"),
                ("LC_ALL", "C"),
                ("https_proxy", "http://p"),
                ("MCPD_TOKEN", "secret"),
                ("MCPCTL_TOKEN", "secret"),
                ("AWS_SECRET_ACCESS_KEY", "secret"),
                ("LD_PRELOAD", "x"),
            ],
            folder.path(),
        )
        .unwrap();
        let names: Vec<&str> = launch.environment.keys().map(|n| n.to_str().unwrap()).collect();
        assert_eq!(names, ["HOME", "LC_ALL", "PATH", "TOKEN", "https_proxy"]);
        assert_eq!(launch.environment[OsStr::new("HOME")], "/h");
    }
}
