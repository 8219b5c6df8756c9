//! The Job that works on a capture, in words that know no client.

use std::collections::BTreeMap;

use crds::job::{CaptureSource, Request, SourceContent};
use crds::policy::{ActiveCapture, Method};
use crds::reference::POLICY_LABEL;
use crds::{RecoveryRepository, Span};

use super::objects::Wanted;
use super::source::{Content, Source};
use super::{Observed, Plan, attempt_id, job_name, offline, series, slot_name, snapshot};
use crate::effect::{MoverJob, Volume, label_value};
use crate::repository;

/// The Job for `active`: the capture itself, what comes before it, or the search for its commit record; and the claims that it reads
/// besides those that there are. None while it can't be made.
pub(super) fn job(
    seen: &Observed<'_>,
    plan: &Plan,
    active: &ActiveCapture,
) -> Option<(MoverJob, Vec<snapshot::NewClone>)> {
    let policy = seen.policy;
    let repository = seen.repository?;
    let meta = &policy.metadata;
    let policy_name = meta.name.clone().unwrap_or_default();
    let attempt = attempt_id(policy, &active.slot, active.attempt);
    let confirm = Request::Confirm { repository: repository::access(repository), attempt: attempt.clone() };
    let common = MoverJob {
        labels: BTreeMap::from([(POLICY_LABEL.to_owned(), label_value(&policy_name))]),
        keys: Some(repository::keys(repository)),
        ..MoverJob::bare(job_name(policy, active), confirm, Span::from_mins(5))
    };
    if active.confirming {
        return Some((common, vec![]));
    }
    if snapshot::is_cutting(active) {
        return Some((snapshot::cutting(seen, active, common)?, vec![]));
    }
    let source = seen.source.as_ref().ok()?;
    // The lock is taken also where nothing should run: somebody may have started it behind our back.
    let deadline = Span::from_secs(policy.spec.objectives.rpo.as_secs().clamp(600, 6 * 3600));
    let (pause, deadline) = match policy.spec.capture.method() {
        Method::Offline(offline) => (offline.max_downtime, offline::deadline(seen, plan, offline)),
        Method::Live(live) => (live.max_writer_pause, deadline),
        Method::Snapshot(snapshot) => (snapshot.max_writer_pause, deadline),
    };
    let cut = active.snapshot.as_ref().and_then(|stage| stage.cut.clone());
    let (sources, clones) = match &cut {
        Some(_) => snapshot::clones(seen, source, active),
        None => (as_they_are(source), vec![]),
    };
    let captured = CaptureSource {
        policy: policy_name,
        namespace: meta.namespace.clone().unwrap_or_default(),
        claims: source.claims.clone(),
        content: match &source.content {
            Content::ChromaDb { data_path, .. } => {
                SourceContent::ChromaDb { data_path: data_path.clone(), image: offline::image(seen, plan) }
            }
            Content::Application => SourceContent::Application,
        },
        max_writer_pause: pause.to_duration(),
        policy_spec: serde_json::to_value(&policy.spec).unwrap_or_default(),
    };
    let (access, mut before) = (repository::access(repository), Vec::new());
    let capture = |attempt, turn| Request::Capture {
        repository: access.clone(),
        attempt,
        source: captured.clone(),
        turn,
        cut: cut.clone(),
    };
    let (request, deadline) = match &active.series {
        None => (capture(attempt, None), deadline),
        Some(series) => {
            let turns = series::turns(series);
            before.extend(turns.into_iter().map(|(slot, turn)| {
                capture(attempt_id(policy, &slot_name(slot), active.attempt), Some(turn))
            }));
            (before.pop()?, series::deadline(series, deadline))
        }
    };
    let job = MoverJob {
        request,
        before,
        sources,
        objects: Some(Box::new(objects(repository, plan, source))),
        // Clones are mounted by nobody else.
        place: if cut.is_some() { source.anywhere.clone() } else { source.place.clone() },
        identity: offline::identity(plan, source),
        deadline,
        ..common
    };
    Some((job, clones))
}

/// The volumes themselves. Writable: taking the lock needs a writable descriptor. Nothing is ever written.
fn as_they_are(source: &Source) -> BTreeMap<String, Volume> {
    let volume = |claim: &String| Volume { claim: claim.clone(), read_only: false };
    source.claims.iter().map(|claim| (claim.clone(), volume(claim))).collect()
}

/// The objects of the component, as they are when nothing is stopped. What opens the repository is not locked up in it.
fn objects(repository: &RecoveryRepository, plan: &Plan, source: &Source) -> Wanted {
    let mut wanted = source.objects.clone();
    let keys = repository::keys(repository);
    for secret in keys.secrets() {
        wanted.secrets.remove(&secret.name);
    }
    wanted.stopped = plan.status.stopped.iter().flat_map(|stopped| stopped.workloads.clone()).collect();
    wanted
}
