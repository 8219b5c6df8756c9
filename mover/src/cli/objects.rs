//! `holdfast objects`: what a point holds besides volumes, as one List on standard output, in the order in which it can be applied.

use std::io::{IsTerminal, Write, stdout};

use crds::job::FailureReason;
use serde_json::json;

use super::RepositoryArgs;
use super::choose::PointArgs;
use super::export::scratch_space;
use crate::body::Body;
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::recorded;

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
    let mut objects = recorded::read(&repository, &point, scratch_space(None)?.path()).await?;
    objects.retain(|object| args.kinds.is_empty() || args.kinds.iter().any(|kind| object["kind"] == **kind));
    if objects.iter().any(|object| object["kind"] == "Secret") && stdout().is_terminal() {
        let why = "Secrets are among the objects and standard output is a terminal: append > FILE, or choose with --kind";
        return Err(Failure::new(FailureReason::InvalidRequest, why));
    }
    if let Some(namespace) = &args.namespace {
        objects.iter_mut().for_each(|object| object["metadata"]["namespace"] = namespace.clone().into());
    }
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
