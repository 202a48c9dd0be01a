//! What the engine says of containers.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, ContainerSummaryStateEnum,
};
use bollard::query_parameters::ListContainersOptionsBuilder;

use crate::kit::time::{self, Timestamp};
use crate::record::{Ending, Life, Live, LiveState};
use crate::runtime::RuntimeError;

use super::Shared;
use super::client::Client;
use super::error::status;
use super::labels::{self, Marks};

/// How long the last words of a life that ended are waited for.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A container as it stands.
pub(super) enum Found {
    /// It was made and never started.
    Created,
    /// Its process is there; one that is paused is too, and goes on when it is let.
    Running,
    /// It ended.
    Ended(Ending),
    /// It is being removed.
    Going,
}

impl Found {
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running)
    }
}

/// One container of ours, as the list shows it.
pub(super) struct Listed {
    pub life: Life,
    pub name: String,
    pub marks: Marks,
    pub state: ContainerSummaryStateEnum,
    pub created: Timestamp,
}

/// Every container of a cluster, ended ones too.
pub(super) async fn list(client: &Client, cluster: &str) -> Result<Vec<Listed>, RuntimeError> {
    let docker = client.docker().await?;
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&labels::filter(cluster))
        .build();
    let all = client.ask(docker.list_containers(Some(options))).await?;
    Ok(all.into_iter().filter_map(|summary| listed(cluster, summary)).collect())
}

fn listed(cluster: &str, summary: ContainerSummary) -> Option<Listed> {
    let id = summary.id?;
    let marks = match labels::marks(cluster, &summary.labels.unwrap_or_default())? {
        Ok(marks) => marks,
        Err(fault) => {
            tracing::warn!(container = %id, "left alone: its labels make no sense ({fault})");
            return None;
        }
    };
    let name = summary.names.unwrap_or_default().into_iter().next().unwrap_or_default();
    Some(Listed {
        life: Life(id),
        name: name.trim_start_matches('/').to_owned(),
        marks,
        state: summary.state.unwrap_or(ContainerSummaryStateEnum::EMPTY),
        created: summary
            .created
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .unwrap_or_else(time::now),
    })
}

/// One container; nothing where there is none of that id.
pub(super) async fn inspect(client: &Client, life: &Life) -> Result<Option<Found>, RuntimeError> {
    Ok(whole(client, life).await?.map(|container| found(&container)))
}

/// All that the engine knows of a container.
pub(super) async fn whole(client: &Client, life: &Life) -> Result<Option<ContainerInspectResponse>, RuntimeError> {
    let docker = client.docker().await?;
    match tokio::time::timeout(super::QUESTION, docker.inspect_container(&life.0, None)).await {
        Ok(Ok(container)) => Ok(Some(container)),
        Ok(Err(error)) if status(&error) == Some(404) => Ok(None),
        Ok(Err(error)) => Err(client.judge(&error)),
        Err(_) => Err(client.away()),
    }
}

pub(super) fn found(container: &ContainerInspectResponse) -> Found {
    use ContainerStateStatusEnum as Status;
    let Some(state) = &container.state else {
        return Found::Going;
    };
    match state.status {
        Some(Status::CREATED) => Found::Created,
        Some(Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::STOPPING) => Found::Running,
        Some(Status::REMOVING) => Found::Going,
        Some(Status::EXITED | Status::DEAD | Status::EMPTY) | None => {
            let at = state.finished_at.as_deref().and_then(|text| text.parse().ok());
            Found::Ended(ending(
                state.exit_code,
                state.oom_killed == Some(true),
                at.unwrap_or_else(time::now),
            ))
        }
    }
}

/// An exit code as the engine has it: 128 + N where signal N ended it.
fn ending(code: Option<i64>, out_of_memory: bool, at: Timestamp) -> Ending {
    let code = code.and_then(|code| i32::try_from(code).ok());
    let by_signal = code.filter(|code| (129..=192).contains(code)).map(|code| code - 128);
    Ending {
        code: code.filter(|_| by_signal.is_none()),
        signal: by_signal,
        out_of_memory,
        last_line: None,
        at,
    }
}

/// What the engine's init says where the program that it is to start is not there, in our words.
fn not_found(line: &str) -> Option<String> {
    let said = line.strip_prefix("[FATAL tini (")?.split_once(")] exec ")?.1;
    let (program, why) = said.split_once(" failed: ")?;
    Some(match why {
        "No such file or directory" => format!("the image has no program {program} (command names one that is in it)"),
        _ => format!("{program} can't be executed: {why}"),
    })
}

/// The labels of a container that was inspected.
pub(super) fn labels_of(container: &ContainerInspectResponse) -> HashMap<String, String> {
    let config = container.config.as_ref();
    config.and_then(|config| config.labels.clone()).unwrap_or_default()
}

impl Shared {
    /// Every life of this cluster, in order.
    pub(super) async fn observe(&self) -> Result<Vec<Live>, RuntimeError> {
        let listed = list(&self.client, &self.options.cluster).await?;
        self.forget_sessions(&listed);
        let looked = listed.into_iter().map(|container| self.look(container));
        let mut live = vec![];
        for one in futures_util::future::join_all(looked).await {
            live.extend(one?);
        }
        live.sort_by(|a, b| (&a.instance, a.started, &a.life).cmp(&(&b.instance, b.started, &b.life)));
        Ok(live)
    }

    async fn look(&self, container: Listed) -> Result<Option<Live>, RuntimeError> {
        use ContainerSummaryStateEnum as State;
        let Listed {
            life,
            name,
            marks,
            state,
            created,
        } = container;
        let mut live = Live {
            instance: marks.instance,
            life,
            spec: marks.spec,
            state: LiveState::Running,
            started: created,
        };
        match state {
            State::RUNNING | State::PAUSED | State::RESTARTING | State::STOPPING
                if !super::lock(&self.died).contains(&live.life) =>
            {
                return Ok(Some(live));
            }
            State::REMOVING => return Ok(None),
            // Between its making and its start. Asked before the engine is, so that the answer is not older.
            State::CREATED if self.is_being_made(&name) => return Ok(None),
            _ => {}
        }
        match inspect(&self.client, &live.life).await? {
            None | Some(Found::Going) => Ok(None),
            Some(Found::Running) => Ok(Some(live)),
            Some(Found::Created) => {
                // A crash came between its making and its start: remains of no life, which no spec matches.
                live.spec = String::new();
                live.state = LiveState::Ended(Ending {
                    code: None,
                    signal: None,
                    out_of_memory: false,
                    last_line: Some("was made and never started".to_owned()),
                    at: created,
                });
                Ok(Some(live))
            }
            Some(Found::Ended(mut ending)) => {
                ending.last_line = self
                    .last_words(&live.life)
                    .await
                    .map(|line| not_found(&line).unwrap_or(line));
                live.state = LiveState::Ended(ending);
                Ok(Some(live))
            }
        }
    }

    /// The last line of a life that ended, once all was read.
    async fn last_words(&self, life: &Life) -> Option<String> {
        let mut ended = self.sessions().get(life).map(super::session::Session::ended)?;
        drop(tokio::time::timeout(LAST_WORDS, ended.wait_for(|ended| *ended)).await);
        self.sessions().get(life).and_then(super::session::Session::last_line)
    }

    /// Lets go of what was held of lives that are gone.
    fn forget_sessions(&self, listed: &[Listed]) {
        self.sessions()
            .retain(|life, session| !session.is_over() || listed.iter().any(|container| container.life == *life));
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ContainerState;

    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_told_in_words() {
        for (line, want) in [
            (
                "[FATAL tini (7)] exec npx failed: No such file or directory",
                Some("the image has no program npx (command names one that is in it)"),
            ),
            (
                "[FATAL tini (7)] exec /x failed: Permission denied",
                Some("/x can't be executed: Permission denied"),
            ),
            ("exec npx failed: No such file or directory", None),
            ("[FATAL tini (7)] something else", None),
        ] {
            assert_eq!(not_found(line).as_deref(), want);
        }
    }

    #[test]
    fn endings_are_read_as_the_engine_tells_them() {
        for (code, memory, want) in [
            (0, false, "exited with code 0"),
            (3, false, "exited with code 3"),
            (127, false, "exited with code 127"),
            (137, false, "ended by signal 9"),
            (143, false, "ended by signal 15"),
            (137, true, "ended for want of memory"),
            (255, false, "exited with code 255"),
        ] {
            let container = ContainerInspectResponse {
                state: Some(ContainerState {
                    status: Some(ContainerStateStatusEnum::EXITED),
                    exit_code: Some(code),
                    oom_killed: Some(memory),
                    finished_at: Some("2026-11-24T06:00:00.5Z".to_owned()),
                    ..ContainerState::default()
                }),
                ..ContainerInspectResponse::default()
            };
            let Found::Ended(ending) = found(&container) else {
                panic!("it ended");
            };
            assert_eq!(ending.to_string(), want);
            assert_eq!(ending.at.to_string(), "2026-11-24T06:00:00.5Z");
        }
    }
}
