//! The stories, one promise each.

mod anomaly_keeps_points;
mod approval_and_cancel;
mod assess_only;
mod bad_input;
mod by_cli;
mod capture_application;
mod capture_hooks;
mod capture_live;
mod capture_offline;
mod capture_snapshot;
mod catalogue_from_bucket;
mod complete_failure;
mod controller_killed_midway;
mod drill_backup_verification;
mod drill_database;
mod drill_detects;
mod drill_full_system;
mod drill_inconclusive;
mod drill_scenarios;
mod dry_run;
mod emergency_capture;
mod killed_at_every_write;
mod left_behind;
mod loss;
mod network_failure;
mod one_minute_rpo;
mod outages;
mod recover_corruption;
mod replay_guard;
mod report_html;
mod retention_and_pin;
mod rpo_condition;
mod security_breach;
mod storage_failure;
mod swap_is_safe;
mod uninstall_keeps_data;
mod verify_finds_corruption;
mod volume_repository;

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use crds::RecoveryPoint;
use crds::point::ChromaDbContent;
use jiff::Timestamp;
use kube::ResourceExt;
use tests::writer::truth::{self, Found};
use tests::writer::{Address, Ledger, Load, Server};

use crate::runner::Story;

/// All of them, the longest first, so that the last ones end together.
pub const ALL: &[&Story] = &[
    &one_minute_rpo::STORY,
    &complete_failure::STORY,
    &security_breach::STORY,
    &security_breach::UNENFORCED,
    &drill_full_system::STORY,
    &drill_scenarios::SWEPT,
    &drill_database::STORY,
    &drill_scenarios::BREACH,
    &drill_scenarios::NETWORK,
    &drill_detects::SILENT,
    &drill_detects::CORRUPTION,
    &drill_detects::STALE,
    &drill_inconclusive::STORY,
    &bad_input::STORY,
    &catalogue_from_bucket::STORY,
    &swap_is_safe::STORY,
    &replay_guard::STORY,
    &retention_and_pin::STORY,
    &verify_finds_corruption::STORY,
    &drill_backup_verification::STORY,
    &anomaly_keeps_points::STORY,
    &storage_failure::STORY,
    &recover_corruption::STORY,
    &network_failure::STORY,
    &report_html::STORY,
    &approval_and_cancel::STORY,
    &volume_repository::STORY,
    &capture_live::STORY,
    &rpo_condition::STORY,
    &capture_application::STORY,
    &emergency_capture::STORY,
    &assess_only::STORY,
    &capture_offline::STORY,
    &capture_snapshot::STORY,
    &capture_hooks::STORY,
    &dry_run::STORY,
    &controller_killed_midway::STORY,
    &killed_at_every_write::STORY,
    &outages::STORY,
    &uninstall_keeps_data::STORY,
];

/// Those that touch the local cluster's daemons, and are left out in a cluster of the user's.
const OF_THE_LOCAL_CLUSTER: &[&str] = &[outages::STORY.name];

/// The stories named, or all that can be played here.
pub fn chosen(names: &[String], existing: bool) -> Result<Vec<&'static Story>> {
    if names.is_empty() {
        let (out, played): (Vec<_>, Vec<_>) = ALL
            .iter()
            .copied()
            .partition(|story: &&Story| existing && OF_THE_LOCAL_CLUSTER.contains(&story.name));
        for story in out {
            println!("left out {:<19} it is about daemons of the local cluster", story.name);
        }
        return Ok(played);
    }
    names
        .iter()
        .map(|name| match ALL.iter().find(|story| story.name == name) {
            Some(story) => Ok(*story),
            None => bail!(
                "there is no story {name}; there are {}",
                ALL.iter().map(|s| s.name).collect::<Vec<_>>().join(", ")
            ),
        })
        .collect()
}

/// A load that flushes often, so that flushes fall into captures.
fn load(seed: u64) -> Load {
    Load::synthetic(seed, 3, 64)
}

/// What a point says about its content.
pub fn content(point: &RecoveryPoint) -> Result<(Timestamp, ChromaDbContent)> {
    let status =
        point.status.as_ref().with_context(|| format!("point {} has no status", point.name_any()))?;
    let time = status
        .consistency_time
        .with_context(|| format!("point {} has no consistency time", point.name_any()))?;
    let content =
        status.chroma_db.clone().with_context(|| format!("point {} names no content", point.name_any()))?;
    Ok((time, content))
}

/// Holds a server against the ledger and against what the point recorded.
pub async fn holds(address: &Arc<dyn Address>, ledger: &Ledger, point: &RecoveryPoint) -> Result<Found> {
    let (time, content) = content(point)?;
    let server = Server::new(address.clone())?;
    let found = truth::hold(&server, ledger, time, content.released_at)
        .await
        .with_context(|| format!("what is served is not point {}", point.name_any()))?;
    for collection in &content.collections {
        if found.counts.get(&collection.name) != Some(&collection.count) {
            bail!(
                "point {} recorded {} records of {}, served are {:?}",
                point.name_any(),
                collection.count,
                collection.name,
                found.counts.get(&collection.name)
            );
        }
    }
    if content.records != found.records() || content.collection_count != found.counts.len() as u64 {
        bail!(
            "point {} recorded {} records, served are {}",
            point.name_any(),
            content.records,
            found.records()
        );
    }
    Ok(found)
}
