//! Images: present, pulled or built, in bounded time, once for all who ask at the same time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::body_full;
use bollard::query_parameters::{BuildImageOptionsBuilder, CreateImageOptionsBuilder};
use futures_util::TryStreamExt as _;

use crate::resource::{ImagePullPolicy, PackageRuntime};
use crate::runtime::RuntimeError;

use super::client::Client;
use super::error::{is_away, line, message, status};
use super::spec::Image;
use super::tar;

/// The longest that a pull or a build may take.
const PATIENCE: Duration = Duration::from_mins(15);
/// How many of a build's last lines tell why it failed.
const LAST_LINES: usize = 3;

/// The recipes of the runner images.
const NODE_RUNNER: &str = include_str!("../../../deploy/Dockerfile.node-runner");
const PYTHON_RUNNER: &str = include_str!("../../../deploy/Dockerfile.python-runner");

/// Who fetches which image now.
#[derive(Default)]
pub(super) struct Images {
    under_way: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Images {
    /// Sees to it that the engine has an image.
    pub async fn provide(&self, client: &Client, image: &Image, policy: ImagePullPolicy) -> Result<(), RuntimeError> {
        let reference = image.reference();
        let turn = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            under_way.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(under_way.entry(reference.clone()).or_default())
        };
        let _turn = turn.lock().await;
        let always = policy == ImagePullPolicy::Always && matches!(image, Image::Named(_));
        if !always && present(client, &reference).await? {
            return Ok(());
        }
        let fetched = match image {
            Image::Named(_) if policy == ImagePullPolicy::Never => {
                return Err(RuntimeError::NoImage {
                    image: reference,
                    reason: "is not there, and imagePullPolicy is Never".to_owned(),
                    hint: "pull or build it on the engine's machine",
                });
            }
            Image::Named(_) => tokio::time::timeout(PATIENCE, pull(client, &reference)).await,
            Image::Built(runtime) => tokio::time::timeout(PATIENCE, build(client, &reference, *runtime)).await,
        };
        fetched.unwrap_or_else(|_| {
            Err(RuntimeError::NoImage {
                image: reference,
                reason: format!("is not there after {} minutes of fetching it", PATIENCE.as_secs() / 60),
                hint: "pull it on the engine's machine",
            })
        })
    }
}

async fn present(client: &Client, reference: &str) -> Result<bool, RuntimeError> {
    let docker = client.docker().await?;
    let asked = docker.inspect_image(reference);
    match tokio::time::timeout(super::QUESTION, asked).await {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(error)) if status(&error) == Some(404) => Ok(false),
        Ok(Err(error)) => Err(client.judge(&error)),
        Err(_) => Err(client.away()),
    }
}

async fn pull(client: &Client, reference: &str) -> Result<(), RuntimeError> {
    tracing::info!(image = reference, "pulling");
    let docker = client.docker().await?;
    let (name, tag) = parted(reference);
    let mut options = CreateImageOptionsBuilder::default().from_image(name);
    if let Some(tag) = tag {
        options = options.tag(tag);
    }
    let mut progress = docker.create_image(Some(options.build()), None, None);
    loop {
        match progress.try_next().await {
            Ok(Some(step)) => {
                if let Some(reason) = step.error_detail.and_then(|detail| detail.message) {
                    return Err(not_pulled(reference, &line(&reason)));
                }
                tracing::debug!(image = reference, status = step.status.as_deref(), "pulling");
            }
            Ok(None) => break,
            Err(error) if is_away(&error) => return Err(client.judge(&error)),
            Err(error) => return Err(not_pulled(reference, &message(&error))),
        }
    }
    tracing::info!(image = reference, "pulled");
    Ok(())
}

fn not_pulled(reference: &str, reason: &str) -> RuntimeError {
    RuntimeError::NoImage {
        image: reference.to_owned(),
        reason: format!("is not there and can't be pulled: {reason}"),
        hint: "check its name, and that the engine reaches the registry",
    }
}

/// The name and the tag (or digest) of a reference; without one, every tag would be pulled.
fn parted(reference: &str) -> (&str, Option<&str>) {
    if reference.contains('@') {
        return (reference, None);
    }
    let slash = reference.rfind('/').map_or(0, |at| at + 1);
    match reference[slash..].find(':') {
        Some(colon) => (&reference[..slash + colon], Some(&reference[slash + colon + 1..])),
        None => (reference, Some("latest")),
    }
}

async fn build(client: &Client, reference: &str, runtime: PackageRuntime) -> Result<(), RuntimeError> {
    tracing::info!(image = reference, "building; this happens once a version");
    let docker = client.docker().await?;
    let recipe = match runtime {
        PackageRuntime::Node => NODE_RUNNER,
        PackageRuntime::Python => PYTHON_RUNNER,
    };
    let options = BuildImageOptionsBuilder::default()
        .dockerfile("Dockerfile")
        .t(reference)
        .rm(true)
        .forcerm(true)
        .build();
    let context = tar::of_one_file("Dockerfile", recipe.as_bytes());
    let mut progress = docker.build_image(options, None, Some(body_full(context.into())));
    let mut last: Vec<String> = vec![];
    let failed = |last: &[String], reason: &str| RuntimeError::NoImage {
        image: reference.to_owned(),
        reason: format!(
            "is not there and can't be built: {}",
            line(&[last, &[reason.to_owned()]].concat().join(" · "))
        ),
        hint: "name one that is there with --node-runner-image or --python-runner-image",
    };
    loop {
        match progress.try_next().await {
            Ok(Some(step)) => {
                if let Some(reason) = step.error_detail.and_then(|detail| detail.message) {
                    return Err(failed(&last, &reason));
                }
                let said = step.stream.or(step.status).map(|text| line(&text)).unwrap_or_default();
                if !said.is_empty() {
                    tracing::debug!(image = reference, "{said}");
                    last.push(said);
                    if last.len() > LAST_LINES {
                        last.remove(0);
                    }
                }
            }
            Ok(None) => break,
            Err(error) if is_away(&error) => return Err(client.judge(&error)),
            Err(error) => return Err(failed(&last, &message(&error))),
        }
    }
    tracing::info!(image = reference, "built");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_parted_at_their_tag() {
        for (reference, want) in [
            ("nginx", ("nginx", Some("latest"))),
            ("nginx:1.27", ("nginx", Some("1.27"))),
            ("a.example:5000/b/c", ("a.example:5000/b/c", Some("latest"))),
            ("a.example:5000/b/c:2", ("a.example:5000/b/c", Some("2"))),
            ("a@sha256:00", ("a@sha256:00", None)),
        ] {
            assert_eq!(parted(reference), want, "{reference}");
        }
    }
}
