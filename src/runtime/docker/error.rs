//! What the engine says when it refuses, and when it says nothing, in our words.

use bollard::errors::Error;

use crate::runtime::RuntimeError;

/// The longest message of the engine that is passed on, in characters.
const TOLD: usize = 400;

/// Whether the engine did not answer at all, as opposed to refusing.
pub(super) fn is_away(error: &Error) -> bool {
    match error {
        Error::DockerResponseServerError { status_code, .. } => matches!(status_code, 502..=504),
        Error::RequestTimeoutError
        | Error::IOError { .. }
        | Error::HyperResponseError { .. }
        | Error::HyperLegacyError { .. }
        | Error::SocketNotFoundError(_)
        | Error::APIVersionParseError {} => true,
        _ => false,
    }
}

/// The engine's status code, where it answered with one.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// What the engine said, in one line of bounded length.
pub(super) fn message(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => line(message),
        Error::DockerStreamError { error } => line(error),
        other => line(&other.to_string()),
    }
}

/// Text of the engine in one line, without control characters.
pub(super) fn line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(TOLD).collect()
}

/// What becomes of an error of the engine in general.
pub(super) fn judged(address: &str, error: &Error) -> RuntimeError {
    if is_away(error) {
        RuntimeError::EngineAway {
            address: address.to_owned(),
        }
    } else {
        RuntimeError::Refused(message(error))
    }
}

/// Why a container was not made or started, where the engine's own words leave one at a loss.
pub(super) fn explained(image: &str, error: &Error) -> Option<String> {
    let said = message(error);
    if said.contains("No command specified") || said.contains("no command specified") {
        return Some(format!("image {image} names no program to start (give command)"));
    }
    let missing = said.contains("executable file not found") || said.contains("no such file or directory");
    if missing && said.contains("exec") {
        // `…: exec: "tool": executable file not found in $PATH: unknown`
        let program = said.split("exec: \"").nth(1).and_then(|rest| rest.split('"').next());
        return Some(match program {
            Some(program) => format!("image {image} has no program {program} (command names one that is in the image)"),
            None => format!(
                "image {image} has not the program that it is to start (command names one that is in the image)"
            ),
        });
    }
    if said.contains("permission denied") && said.contains("exec") {
        return Some(format!("image {image}: its program can't be executed: {said}"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status_code: u16, message: &str) -> Error {
        Error::DockerResponseServerError {
            status_code,
            message: message.to_owned(),
        }
    }

    #[test]
    fn silence_is_not_refusal() {
        assert!(is_away(&Error::RequestTimeoutError) && is_away(&refused(502, "")));
        assert!(is_away(&Error::SocketNotFoundError("/x".to_owned())));
        for code in [400, 404, 409, 500] {
            assert!(!is_away(&refused(code, "no")), "{code}");
        }
        assert_eq!(
            judged("unix:///x", &Error::RequestTimeoutError).to_string(),
            "engine does not answer at unix:///x"
        );
        assert_eq!(judged("unix:///x", &refused(409, "a\nb\u{1b}")).to_string(), "a b");
    }

    #[test]
    fn refusals_are_explained() {
        let exec = "OCI runtime create failed: container_linux.go:380: starting container process caused: exec: \"tool\": executable file not found in $PATH: unknown";
        for (said, want) in [
            (
                "No command specified",
                Some("image a names no program to start (give command)"),
            ),
            (
                exec,
                Some("image a has no program tool (command names one that is in the image)"),
            ),
            ("Conflict", None),
        ] {
            assert_eq!(explained("a", &refused(400, said)).as_deref(), want);
        }
    }
}
