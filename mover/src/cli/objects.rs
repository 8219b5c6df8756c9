//! `holdfast objects`: what a point holds besides volumes, as one List on standard output, in the order in which it can be applied.

use std::io::{IsTerminal, Read, Write, stdout};
use std::path::Path;

use crds::job::FailureReason;
use engine::ExportedContent;
use serde_json::{Value, json};

use super::RepositoryArgs;
use super::choose::PointArgs;
use super::export::scratch_space;
use crate::body::Body;
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::objects::OBJECTS;

/// What others refer to comes first. What is not named here comes last.
const ORDER: [&str; 8] = [
    "ConfigMap",
    "Secret",
    "PersistentVolumeClaim",
    "NetworkPolicy",
    "Service",
    "StatefulSet",
    "Deployment",
    "CronJob",
];

#[derive(Debug, clap::Args)]
pub struct ObjectsArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    #[command(flatten)]
    point: PointArgs,
    /// Only objects of this kind, such as PersistentVolumeClaim; may be repeated
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
    /// Put them into this namespace instead of the one they were captured in
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
}

pub async fn run(args: ObjectsArgs, environment: &Environment) -> Result<Exit> {
    let repository = args.repository.open(environment).await?;
    let point = args.point.choose(&repository).await?;
    let body = Body::of(&point)?;
    if body.objects == 0 {
        let why = format!("point {} holds no objects: it was not captured for a policy", point.id);
        return Err(Failure::new(FailureReason::PointNotFound, why));
    }
    let mut objects = read(&repository, &point.part(Path::new(OBJECTS))).await?;
    objects.retain(|object| args.kinds.is_empty() || args.kinds.iter().any(|kind| object["kind"] == **kind));
    if objects.iter().any(|object| object["kind"] == "Secret") && stdout().is_terminal() {
        let why = "Secrets are among the objects and standard output is a terminal: append > FILE, or choose with --kind";
        return Err(Failure::new(FailureReason::InvalidRequest, why));
    }
    if let Some(namespace) = &args.namespace {
        objects.iter_mut().for_each(|object| object["metadata"]["namespace"] = namespace.clone().into());
    }
    objects.sort_by_key(place);
    for missing in &body.objects_missing {
        eprintln!(
            "warning: {missing} belongs to the component and was missing or empty when it was captured"
        );
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let written = serde_json::to_writer_pretty(stdout().lock(), &list).map_err(std::io::Error::from);
    written
        .and_then(|()| writeln!(stdout()))
        .map_err(|e| Failure::unexpected("can't write the objects", &e))?;
    Ok(Exit::Done)
}

fn place(object: &Value) -> (usize, String) {
    let kind = object["kind"].as_str().unwrap_or_default();
    let place = ORDER.iter().position(|known| *known == kind).unwrap_or(ORDER.len());
    (place, object["metadata"]["name"].as_str().unwrap_or_default().to_owned())
}

async fn read(repository: &engine::Repository, part: &engine::Point) -> Result<Vec<Value>> {
    let scratch = scratch_space(None)?;
    let mut objects = Vec::new();
    engine::export(repository, part, scratch.path(), engine::silent(), &mut |entry| {
        if let ExportedContent::File { mut bytes, .. } = entry.content {
            let mut text = String::new();
            bytes.read_to_string(&mut text)?;
            objects.push(serde_json::from_str(&text)?);
        }
        Ok(())
    })
    .await
    .map_err(|e| Failure::from(e).while_reading_a_point())?;
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_need_is_applied_first_and_what_is_not_known_last() {
        let object = |kind: &str, name: &str| json!({"kind": kind, "metadata": {"name": name}});
        let mut objects = [
            object("BackupPolicy", "p"),
            object("Deployment", "b"),
            object("Deployment", "a"),
            object("Secret", "s"),
        ];
        objects.sort_by_key(place);
        let names: Vec<_> = objects.iter().map(|o| o["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["s", "a", "b", "p"]);
    }
}
