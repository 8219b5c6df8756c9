//! `holdfast points`.

use jiff::Timestamp;
use serde::Serialize;

use super::output::row;
use super::{Output, RepositoryArgs};
use crate::body::Body;
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Result;
use crate::holds::Holds;
use crate::telling::bytes;
use crate::trust::Trust;
use crds::point::TrustMark;

#[derive(Debug, clap::Args)]
pub struct PointsArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    /// Only points of this component
    #[arg(long, value_name = "NAME")]
    component: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Points {
    points: Vec<Shown>,
    unreadable: Vec<Unreadable>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    point: String,
    component: String,
    consistency_time: Timestamp,
    stored_at: Option<Timestamp>,
    digest: String,
    bytes: u64,
    bytes_stored: u64,
    files: u64,
    collections: Option<u64>,
    records: Option<u64>,
    /// Absent when nothing was checked, as for a directory that was captured as such and holds no ChromaDB.
    healthy: Option<bool>,
    /// What an emergency capture could not read; absent for any other.
    #[serde(skip_serializing_if = "Option::is_none")]
    emergency: Option<crds::job::Emergency>,
    /// When SQLite's integrity check last found nothing, in this state or an earlier one of the same pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    integrity_checked_at: Option<Timestamp>,
    /// Why no rule removes it; absent when rules may.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<String>,
    /// What people say of it: Quarantined is not restored; absent where nothing was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    trust: Option<TrustMark>,
    tags: std::collections::BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Unreadable {
    object: String,
    what: String,
}

pub async fn run(args: PointsArgs, output: Output, environment: &Environment) -> Result<Exit> {
    let repository = args.repository.open(environment).await?;
    let catalogue = repository.points().await?;
    let holds = Holds::of(&repository).await?;
    let trust = Trust::of(&repository).await?;
    let wanted = |p: &engine::Point| args.component.as_ref().is_none_or(|c| p.attributes.component == *c);
    let points = Points {
        points: catalogue
            .points
            .into_iter()
            .filter(wanted)
            .map(|point| shown(point, &holds, &trust))
            .collect(),
        unreadable: catalogue
            .unreadable
            .into_iter()
            .map(|(object, what)| Unreadable { object, what })
            .collect(),
    };
    let mut rows = vec![row([
        "POINT",
        "COMPONENT",
        "CONSISTENT",
        "SIZE",
        "NEW",
        "COLLECTIONS",
        "RECORDS",
        "HEALTHY",
        "HOLD",
        "TRUST",
    ])];
    for p in &points.points {
        let count = |n: Option<u64>| n.map_or_else(|| "<none>".to_owned(), |n| n.to_string());
        rows.push(row([
            &p.point,
            &p.component,
            &format!("{:.0}", p.consistency_time),
            &bytes(p.bytes),
            &bytes(p.bytes_stored),
            &count(p.collections),
            &count(p.records),
            match (&p.emergency, p.healthy) {
                (Some(_), _) => "emergency",
                (None, Some(true)) => "yes",
                (None, Some(false)) => "no",
                (None, None) => "<none>",
            },
            p.hold.as_deref().unwrap_or("<none>"),
            p.trust.as_ref().map_or("<none>", |mark| mark.word.as_str()),
        ]));
    }
    for Unreadable { object, what } in &points.unreadable {
        eprintln!("warning: {object} can't be read: {what}");
    }
    output.print(&points, &rows);
    Ok(Exit::Done)
}

fn shown(point: engine::Point, holds: &Holds, trust: &Trust) -> Shown {
    let body = Body::of(&point).ok();
    let healthy = body.as_ref().and_then(Body::is_whole);
    let emergency = body.as_ref().and_then(|body| body.emergency.as_ref()).map(crate::report::emergency);
    let chroma = body.and_then(|body| body.chroma);
    Shown {
        point: point.id.to_string(),
        consistency_time: point.attributes.consistency_time,
        stored_at: point.stored_at,
        digest: point.digest,
        bytes: point.totals.bytes,
        bytes_stored: point.totals.bytes_stored,
        files: point.totals.files,
        collections: chroma.as_ref().map(|c| c.collections.len() as u64),
        records: chroma.as_ref().map(crate::body::ChromaFacts::records),
        healthy,
        emergency,
        integrity_checked_at: chroma.as_ref().and_then(|c| c.integrity_checked_at),
        hold: holds.reason(&point.id).map(str::to_owned),
        trust: trust.mark(&point.id),
        component: point.attributes.component,
        tags: point.attributes.tags,
    }
}
