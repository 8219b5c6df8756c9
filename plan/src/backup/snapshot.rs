//! Captures from VolumeSnapshots, in two Jobs: the first has the storage cut a snapshot of each volume, beside a ChromaDB while its
//! writers are held; the second reads clones of them, for as long as it takes. How they were cut stands in the status before the first Job
//! is forgotten. Whatever becomes of the capture, snapshots and clones that no capture under way needs are removed, and before the
//! status forgets what they were for.

mod class;
pub use class::{Class, VolumeSeen};

use std::collections::{BTreeMap, BTreeSet};

use crds::job::{Failure, FailureReason, HeldDatabase, Request, Snapshots};
use crds::policy::{ActiveCapture, BackupPolicyStatus, Cut, Method, Snapshot, SnapshotStage};
use crds::reference::{CAPTURE_LABEL, MANAGED_BY, MANAGED_BY_LABEL, POLICY_LABEL, SNAPSHOT_ROLE};
use crds::{BackupPolicy, Span, condition, names};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::source::{Content, Problem, Source};
use super::{Observed, Plan, conditions, outcome};
use crate::effect::{Account, Bound, Event, MoverJob, Volume, label_value};
use crate::size;

/// How long the Job may take that has snapshots cut: the guard tries for some minutes.
const CUTTING: Span = Span::from_mins(15);

/// What was seen of snapshots. Of a policy that asks for none nothing is looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// The cluster's classes; absent where it has no VolumeSnapshots at all.
    pub classes: Option<Vec<Class>>,
    /// The volumes of the claims that are captured.
    pub volumes: BTreeMap<String, VolumeSeen>,
    /// VolumeSnapshots that were made for this policy.
    pub made: Vec<SnapshotSeen>,
    /// Claims that were cloned from them.
    pub clones: Vec<Made>,
}

/// A VolumeSnapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSeen {
    /// Which one.
    pub made: Made,
    /// A volume can be made from it.
    pub ready: bool,
    /// What the storage said is wrong with it.
    pub error: Option<String>,
    /// The least size of such a volume, a quantity.
    pub size: Option<String>,
}

/// An object that was made for a capture.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Made {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// It is being deleted.
    pub deleting: bool,
}

/// A claim to make from a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewClone {
    /// Its name, which is the snapshot's too.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The storage class of the volume that was cut.
    pub class: Option<String>,
    /// Its size, a quantity.
    pub size: String,
}

/// What no capture needs any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// VolumeSnapshots.
    pub snapshots: Vec<Made>,
    /// Claims.
    pub clones: Vec<Made>,
}

/// How snapshots are taken, where the policy asks for them.
pub(super) fn asked(policy: &BackupPolicy) -> Option<Snapshot> {
    match policy.spec.capture.method() {
        Method::Snapshot(snapshot) => Some(snapshot),
        Method::Live(_) | Method::Offline(_) => None,
    }
}

/// The class by which the source is cut, where snapshots are asked for.
pub(super) fn class(seen: &Observed<'_>, source: &Source) -> Option<Result<String, Problem>> {
    let asked = asked(seen.policy).filter(|_| !source.claims.is_empty())?;
    let wanted = asked.volume_snapshot_class_name.as_deref();
    let volumes = source.claims.iter().map(|claim| (claim.as_str(), seen.snapshots.volumes.get(claim)));
    Some(class::choose(seen.snapshots.classes.as_deref(), wanted, volumes))
}

/// The stage at which a new capture begins; none for one that reads no snapshot. What has no volume needs none.
pub(super) fn first_stage(seen: &Observed<'_>) -> Option<SnapshotStage> {
    let source = seen.source.as_ref().ok()?;
    class(seen, source).map(|_| SnapshotStage { cut: None })
}

/// Whether the Job of `active` is the one that has snapshots cut.
pub(super) fn is_cutting(active: &ActiveCapture) -> bool {
    !active.confirming && active.snapshot.as_ref().is_some_and(|stage| stage.cut.is_none())
}

/// The snapshots are cut: this is written down, and from the next look on they are read.
pub(super) fn cut(seen: &Observed<'_>, plan: &mut Plan, active: ActiveCapture, cut: &Cut) {
    let held = jiff::SignedDuration::from_millis(i64::try_from(cut.held_ms).unwrap_or(i64::MAX));
    let told = match cut.held_ms {
        0 => format!("the volumes were cut at {} for capture {}", cut.at, active.slot),
        _ => format!(
            "the volume was cut at {} for capture {}; writers were held for {}",
            cut.at,
            active.slot,
            size::pause(held)
        ),
    };
    plan.events.push(Event::normal("SnapshotCut", told));
    plan.status.active =
        Some(ActiveCapture { snapshot: Some(SnapshotStage { cut: Some(cut.clone()) }), ..active });
    plan.next = plan.next.or_at(seen.now);
}

/// Whether the Job of `active` can be started. Until then it is looked at again; a snapshot that can't be read makes another attempt.
pub(super) fn is_ready(seen: &Observed<'_>, plan: &mut Plan, active: &ActiveCapture) -> bool {
    let source = super::usable(seen);
    let Some(SnapshotStage { cut: Some(cut) }) = &active.snapshot else { return source.is_ok() };
    let timeout = asked(seen.policy).unwrap_or_default().ready_timeout;
    let until = cut.until.checked_add(timeout.to_duration()).unwrap_or(Timestamp::MAX);
    let source = match source {
        Ok(source) => source,
        // What is captured is not known for a moment, as when the server restarts; what was cut is not kept for more than that.
        Err(problem) if seen.now >= until => return again(seen, plan, active, problem.message),
        Err(_) => {
            plan.next = plan.next.or_at(until);
            return false;
        }
    };
    let mut waiting = Vec::new();
    for name in wanted(seen.policy, source, active).into_values() {
        let found = seen.snapshots.made.iter().find(|snapshot| snapshot.made.name == name);
        match found.filter(|snapshot| !snapshot.made.deleting) {
            None => {
                return again(
                    seen,
                    plan,
                    active,
                    format!("VolumeSnapshot {name} is gone: somebody deleted it"),
                );
            }
            Some(snapshot) if snapshot.ready => {}
            Some(SnapshotSeen { error: Some(error), .. }) => {
                waiting.push(format!("VolumeSnapshot {name}: {error}"))
            }
            Some(_) => waiting.push(format!("VolumeSnapshot {name} can't be read yet")),
        }
    }
    if waiting.is_empty() {
        condition::clear(&mut plan.status.conditions, "Reconciling");
        return true;
    }
    let why = waiting.join("; ");
    if seen.now >= until {
        let why = format!(
            "{why}, and capture.snapshot.readyTimeout ({timeout}) is over; look at the CSI driver's snapshotter"
        );
        return again(seen, plan, active, why);
    }
    conditions::waiting(seen, plan, Some(&why));
    plan.next = plan.next.or_at(until);
    false
}

fn again(seen: &Observed<'_>, plan: &mut Plan, active: &ActiveCapture, message: String) -> bool {
    let failure = Failure { reason: FailureReason::SnapshotFailed, message };
    outcome::retry(seen, plan, active.clone(), &failure);
    false
}

/// What each claim's snapshot and clone are called: while they are cut those of the first try, then those of the last.
fn wanted(policy: &BackupPolicy, source: &Source, active: &ActiveCapture) -> BTreeMap<String, String> {
    let uid = policy.metadata.uid.as_deref().unwrap_or_default();
    let cut = active.snapshot.as_ref().and_then(|stage| stage.cut.as_ref());
    let name = |claim: &String| {
        let name = names::snapshot(claim, uid, &active.slot, active.attempt);
        names::snapshot_of_try(&name, cut.map_or(1, |cut| cut.attempts))
    };
    source.claims.iter().map(|claim| (claim.clone(), name(claim))).collect()
}

fn labels(policy: &BackupPolicy, active: &ActiveCapture) -> BTreeMap<String, String> {
    let name = policy.metadata.name.as_deref().unwrap_or_default();
    [(MANAGED_BY_LABEL, MANAGED_BY), (CAPTURE_LABEL, &active.slot)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into_iter()
        .chain([(POLICY_LABEL.to_owned(), label_value(name))])
        .collect()
}

/// The Job that has the snapshots cut.
pub(super) fn cutting(seen: &Observed<'_>, active: &ActiveCapture, common: MoverJob) -> Option<MoverJob> {
    let (policy, asked) = (seen.policy, asked(seen.policy)?);
    let source = seen.source.as_ref().ok()?;
    let meta = &policy.metadata;
    let (name, uid) = (meta.name.clone().unwrap_or_default(), meta.uid.clone().unwrap_or_default());
    let snapshots = Snapshots {
        namespace: meta.namespace.clone().unwrap_or_default(),
        class: class(seen, source)?.ok()?,
        names: wanted(policy, source, active),
        labels: labels(policy, active),
        owner: OwnerReference {
            api_version: format!("{}/{}", crds::GROUP, crds::VERSION),
            kind: "BackupPolicy".to_owned(),
            name: name.clone(),
            uid: uid.clone(),
            ..OwnerReference::default()
        },
    };
    // Of an application nothing is mounted: its volumes may be on several nodes, or one pod's alone.
    let (held, sources) = match (&source.content, source.claims.first()) {
        (Content::ChromaDb { data_path, .. }, Some(claim)) => {
            let held = HeldDatabase {
                claim: claim.clone(),
                data_path: data_path.clone(),
                max_writer_pause: asked.max_writer_pause.to_duration(),
            };
            // Writable: taking the lock needs a writable descriptor. Nothing is ever written.
            let volume = Volume { claim: claim.clone(), read_only: false };
            (Some(held), BTreeMap::from([(claim.clone(), volume)]))
        }
        _ => (None, BTreeMap::new()),
    };
    let patience = asked.ready_timeout;
    let mounted = !sources.is_empty();
    Some(MoverJob {
        request: Request::Cut { snapshots, chroma_db: held, patience: patience.to_duration() },
        keys: None,
        sources,
        place: if mounted { source.place.clone() } else { source.anywhere.clone() },
        identity: if mounted { source.identity.clone() } else { Default::default() },
        deadline: CUTTING.max(patience),
        service_account: Some(Account {
            name: names::snapshotter(&name, &uid),
            role: SNAPSHOT_ROLE,
            bound: Bound::WithItsOwner,
        }),
        ..common
    })
}

/// What the Job reads instead of the claims, and the claims to make for that.
pub(super) fn clones(
    seen: &Observed<'_>,
    source: &Source,
    active: &ActiveCapture,
) -> (BTreeMap<String, Volume>, Vec<NewClone>) {
    let named = wanted(seen.policy, source, active);
    let new = named.iter().map(|(claim, name)| {
        let volume = seen.snapshots.volumes.get(claim);
        let snapshot = seen.snapshots.made.iter().find(|snapshot| snapshot.made.name == *name);
        NewClone {
            name: name.clone(),
            labels: labels(seen.policy, active),
            class: volume.and_then(|volume| volume.storage_class.clone()),
            // The snapshot's own only where the volume tells none: some drivers leave it out, and a clone that is larger is none.
            size: volume
                .and_then(|volume| volume.size.clone())
                .or_else(|| snapshot.and_then(|snapshot| snapshot.size.clone()))
                .unwrap_or_default(),
        }
    });
    let new = new.collect();
    let read =
        named.into_iter().map(|(claim, name)| (claim, Volume { claim: name, read_only: true })).collect();
    (read, new)
}

/// What was made for captures that are over.
pub(super) fn leftovers(seen: &Observed<'_>, status: &BackupPolicyStatus) -> Leftovers {
    let uid = seen.policy.metadata.uid.as_deref().unwrap_or_default();
    let active = status.active.as_ref().filter(|active| active.snapshot.is_some());
    // Not by the source alone, which may be unknown for a moment: what a capture reads stays then.
    let resolved = status.resolved.iter().flat_map(|resolved| &resolved.claims);
    let claims = resolved.chain(seen.source.iter().flat_map(|source| &source.claims));
    let claims: BTreeSet<&String> = claims.collect();
    let needed = |name: &str| {
        let Some(active) = active else { return false };
        let cut = active.snapshot.as_ref().and_then(|stage| stage.cut.as_ref());
        claims.iter().any(|claim| {
            let base = names::snapshot(claim, uid, &active.slot, active.attempt);
            match cut {
                Some(cut) => names::snapshot_of_try(&base, cut.attempts) == name,
                // The mover may be at any of its tries.
                None => name.strip_prefix(&base).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')),
            }
        })
    };
    let over = |made: &&Made| !made.deleting && !needed(&made.name);
    Leftovers {
        snapshots: seen.snapshots.made.iter().map(|snapshot| &snapshot.made).filter(over).cloned().collect(),
        clones: seen.snapshots.clones.iter().filter(over).cloned().collect(),
    }
}
