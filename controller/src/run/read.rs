//! Objects of the cluster in the words of a recovery. Pure: what was fetched comes in.

use std::collections::BTreeMap;

use crds::run::{RecoveryRunStatus, RunMode};
use crds::{BackupPolicy, RecoveryPoint, RecoveryRepository, RecoveryRun, condition};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use plan::backup::source::Workload;
use plan::effect::Identity;
use plan::recovery::seen::{
    Access, ClaimOf, ClaimSeen, Executed, Memory, OtherRun, PointSeen, PointState, Proof, RunSeen, VolumeSeen,
};

use crate::error::Error;

/// Key of what a run remembers: the claims as they were, JSON by policy.
pub(super) const REMEMBERED: &str = "claims";

fn uid<K: kube::Resource<DynamicType = ()>>(object: &K) -> String {
    object.meta().uid.clone().unwrap_or_default()
}

fn version<K: kube::Resource<DynamicType = ()>>(object: &K) -> String {
    object.meta().resource_version.clone().unwrap_or_default()
}

pub(super) fn run(run: &RecoveryRun) -> Result<RunSeen, Error> {
    let missing = |field| Error::Incomplete { object: format!("RecoveryRun/{}", run.name_any()), field };
    Ok(RunSeen {
        namespace: run.namespace().ok_or_else(|| missing("namespace"))?,
        name: run.name_any(),
        uid: run.uid().ok_or_else(|| missing("uid"))?,
        created: created(run).ok_or_else(|| missing("creationTimestamp"))?,
        generation: run.metadata.generation.unwrap_or_default(),
        deleting: run.metadata.deletion_timestamp.is_some(),
        finalizer: run.finalizers().iter().any(|finalizer| finalizer == crds::reference::SWAP_FINALIZER),
        spec: run.spec.clone(),
        status: run.status.clone().unwrap_or_default(),
    })
}

fn created(run: &RecoveryRun) -> Option<Timestamp> {
    run.creation_timestamp().map(|time| time.0)
}

/// `other`, when it has not ended and changes something.
pub(super) fn other(other: &RecoveryRun, policies: &[String]) -> Option<OtherRun> {
    let status: RecoveryRunStatus = other.status.clone().unwrap_or_default();
    if other.spec.mode == RunMode::DryRun || plan::recovery::ended(&status) {
        return None;
    }
    let asked =
        other.spec.policies.as_ref().map(|list| list.iter().map(|policy| policy.name.clone()).collect());
    Some(OtherRun {
        name: other.name_any(),
        created: created(other)?,
        policies: asked.unwrap_or_else(|| policies.to_vec()),
        begun: plan::recovery::begun(&status),
    })
}

pub(super) fn executed(map: &ConfigMap) -> Executed {
    let value = |key: &str| map.data.as_ref().and_then(|data| data.get(key)).cloned().unwrap_or_default();
    Executed { uid: value("uid"), time: value("time") }
}

/// How to reach `name`, or why it can't be used yet.
pub(super) fn access(
    namespace: &str,
    name: &str,
    found: Option<&RecoveryRepository>,
) -> Result<Access, String> {
    let Some(repository) = found else {
        return Err(format!("repository {name} does not exist in namespace {namespace}; apply it"));
    };
    let status = repository.status.clone().unwrap_or_default();
    let ready = condition::get(&status.conditions, "Ready");
    let usable = ready.is_some_and(|ready| {
        // What forbids captures does not forbid a recovery.
        ready.status == "True"
            || matches!(ready.reason.as_str(), "KeyNotEscrowed" | "ConditionalWriteMissing")
    });
    if !usable || status.unique_id.is_none() {
        let why = ready.map_or_else(
            || "it was not probed yet".to_owned(),
            |ready| format!("{}: {}", ready.reason, ready.message),
        );
        return Err(format!("repository {name} is not ready ({why})"));
    }
    Ok(Access { access: plan::repository::access(repository), keys: plan::repository::keys(repository) })
}

pub(super) fn point(point: &RecoveryPoint) -> PointSeen {
    let status = point.status.clone().unwrap_or_default();
    let why = || {
        ["Quarantined", "Ready"]
            .iter()
            .filter_map(|kind| condition::get(&status.conditions, kind))
            .find(|condition| !condition.reason.is_empty())
            .map_or_else(|| "Quarantined".to_owned(), |condition| condition.reason.clone())
    };
    PointSeen {
        name: point.name_any(),
        id: point.spec.id.clone(),
        policy: point.spec.policy.clone(),
        repository: point.spec.repository_ref.name.clone(),
        state: match status.phase {
            Some(crds::point::PointPhase::Available) if status.chroma_db.is_none() => {
                PointState::Quarantined("it holds no ChromaDB".to_owned())
            }
            Some(crds::point::PointPhase::Available) => PointState::Available,
            Some(crds::point::PointPhase::Quarantined) => PointState::Quarantined(why()),
            None => PointState::Unknown,
        },
        consistency_time: status.consistency_time,
        bytes: status.sizes.map_or(0, |sizes| sizes.bytes),
        migrations: status.chroma_db.map(|content| content.migrations),
    }
}

pub(super) fn claim(claim: &PersistentVolumeClaim) -> ClaimSeen {
    let spec = claim.spec.clone().unwrap_or_default();
    let size =
        spec.resources.and_then(|resources| resources.requests).and_then(|mut asked| asked.remove("storage"));
    ClaimSeen {
        name: claim.name_any(),
        uid: uid(claim),
        resource_version: version(claim),
        labels: claim.labels().clone(),
        annotations: claim
            .annotations()
            .iter()
            .filter(|(key, _)| key.as_str() != "kubectl.kubernetes.io/last-applied-configuration")
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        owners: claim.owner_references().to_vec(),
        volume: spec.volume_name.filter(|name| !name.is_empty()),
        bound: claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound"),
        deleting: claim.metadata.deletion_timestamp.is_some(),
        class: spec.storage_class_name,
        size: size.map(|quantity| quantity.0).unwrap_or_default(),
        access_modes: spec.access_modes.unwrap_or_default(),
        volume_mode: spec.volume_mode,
        used_by: None,
    }
}

pub(super) fn volume(volume: &PersistentVolume) -> VolumeSeen {
    let spec = volume.spec.clone().unwrap_or_default();
    VolumeSeen {
        name: volume.name_any(),
        uid: uid(volume),
        resource_version: version(volume),
        claim: spec.claim_ref.map(|claim| ClaimOf {
            namespace: claim.namespace.unwrap_or_default(),
            name: claim.name.unwrap_or_default(),
            uid: claim.uid.filter(|uid| !uid.is_empty()),
        }),
        reclaim: spec.persistent_volume_reclaim_policy.unwrap_or_else(|| "Retain".to_owned()),
        phase: volume.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default(),
        class: spec.storage_class_name,
        size: spec.capacity.and_then(|mut all| all.remove("storage")).map(|size| size.0).unwrap_or_default(),
    }
}

pub(super) fn memory(map: &ConfigMap, proof: Proof) -> Result<Memory, Error> {
    let value = |key: &str| map.data.as_ref().and_then(|data| data.get(key)).cloned().unwrap_or_default();
    let remembered: BTreeMap<String, ClaimSeen> = serde_json::from_str(&value(REMEMBERED)).map_err(|_| {
        Error::Incomplete { object: format!("ConfigMap/{}", map.name_any()), field: "data.claims" }
    })?;
    Ok(Memory { uid: uid(map), remembered, proof })
}

/// As whom the server ran, as far as its pod or its template tells.
pub(super) fn identity(workload: &Workload, container: &str, pod: Option<&Pod>) -> Identity {
    let template = workload.template();
    let own = template
        .into_iter()
        .flat_map(|spec| &spec.containers)
        .find(|c| c.name == container)
        .and_then(|c| c.security_context.as_ref());
    let all = template.and_then(|spec| spec.security_context.as_ref());
    let live = pod
        .and_then(|pod| pod.status.as_ref())
        .into_iter()
        .flat_map(|status| status.container_statuses.iter().flatten())
        .find(|status| status.name == container)
        .and_then(|status| status.user.as_ref())
        .and_then(|user| user.linux.as_ref());
    let gid = live
        .map(|user| user.gid)
        .or_else(|| own.and_then(|own| own.run_as_group))
        .or_else(|| all.and_then(|all| all.run_as_group))
        .unwrap_or(0);
    // The group that the volume belongs to comes first: it is the one that a new volume is given.
    let mut groups: Vec<i64> = all.and_then(|all| all.fs_group).into_iter().collect();
    let more = all.and_then(|all| all.supplemental_groups.clone()).unwrap_or_default();
    groups.extend(more.into_iter().filter(|group| *group != gid));
    Identity {
        uid: Some(
            live.map(|user| user.uid)
                .or_else(|| own.and_then(|own| own.run_as_user))
                .or_else(|| all.and_then(|all| all.run_as_user))
                // ChromaDB's own images run as root.
                .unwrap_or(0),
        ),
        gid: Some(gid),
        groups,
        selinux: own
            .and_then(|own| own.se_linux_options.clone())
            .or_else(|| all.and_then(|all| all.se_linux_options.clone())),
    }
}

/// Whether a run that names no policy means this one: those of applications have to be named, to be told that it can't yet.
pub(super) fn is_recovered(policy: &BackupPolicy) -> bool {
    policy.spec.component.chroma_db.is_some()
}

/// The policies that `run` concerns, those of the highest priority first.
pub(super) fn policies_of<'a>(run: &RecoveryRun, all: &'a [BackupPolicy]) -> Vec<&'a BackupPolicy> {
    let asked = run.spec.policies.as_ref();
    let mut mine: Vec<&BackupPolicy> = all
        .iter()
        .filter(|policy| match asked {
            Some(asked) => asked.iter().any(|name| name.name == policy.name_any()),
            None => is_recovered(policy),
        })
        .collect();
    mine.sort_by_key(|policy| (policy.spec.priority, policy.name_any()));
    mine
}
