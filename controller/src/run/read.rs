//! Objects of the cluster in the words of a recovery. Pure: what was fetched comes in.

use std::collections::{BTreeMap, BTreeSet};

use crds::reference::{ISOLATING_LABEL, MANAGED_BY, MANAGED_BY_LABEL, NameRef, OFFLINE_SWITCH_LABEL};
use crds::run::{RecoveryRunStatus, RunMode, Scenario};
use crds::{BackupPolicy, RecoveryPoint, RecoveryRepository, RecoveryRun, condition};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use plan::recovery::scope;
use plan::recovery::seen::{
    Access, ClaimOf, ClaimSeen, Executed, Memory, NetworkPolicySeen, NetworkRecord, OtherRun, PointSeen,
    PointState, PolicySeen, Proof, RepositorySeen, RunSeen, SwitchSeen, VolumeSeen,
};

use crate::error::Error;

/// Key of what a run remembers: the claims as they were, JSON by policy.
pub(super) const REMEMBERED: &str = "claims";

/// Key of a record of NetworkPolicies: a list of them as they were, JSON.
pub(super) const RECORDED: &str = "networkPolicies";

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
        isolating: run.labels().get(ISOLATING_LABEL).is_some_and(|value| value == "true"),
        spec: run.spec.clone(),
        status: run.status.clone().unwrap_or_default(),
    })
}

fn created(run: &RecoveryRun) -> Option<Timestamp> {
    run.creation_timestamp().map(|time| time.0)
}

/// `other`, when it has not ended and changes something.
pub(super) fn other(
    other: &RecoveryRun,
    policies: &[PolicySeen],
    forgotten: &[PolicySeen],
) -> Option<OtherRun> {
    let status: RecoveryRunStatus = other.status.clone().unwrap_or_default();
    // One that rehearses or verifies points holds no component.
    let beside = other.spec.sandbox().is_some() || other.spec.scenario == Scenario::BackupVerification;
    if other.spec.mode != RunMode::Run || beside || plan::recovery::ended(&status) {
        return None;
    }
    Some(OtherRun {
        name: other.name_any(),
        created: created(other)?,
        policies: scope((&other.spec, &status.steps), policies, forgotten)
            .into_iter()
            .map(|member| member.policy)
            .collect(),
        begun: plan::recovery::begun(&status),
        network: other.spec.scenario == Scenario::NetworkFailure
            && status.offline.iter().all(|known| known.restart.is_none()),
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
            // What people say counts from when they say it.
            Some(_) if point.spec.trust == crds::point::Trust::Quarantined => {
                PointState::Quarantined("ByUser".to_owned())
            }
            Some(crds::point::PointPhase::Available) => PointState::Available,
            Some(crds::point::PointPhase::Quarantined) if plan::trust::by_name(point) => {
                PointState::ByName(why())
            }
            Some(crds::point::PointPhase::Quarantined)
                if status.emergency.is_some() && !plan::trust::is_evidence(point) =>
            {
                PointState::Emergency
            }
            Some(crds::point::PointPhase::Quarantined) => PointState::Quarantined(why()),
            None => PointState::Unknown,
        },
        consistency_time: status.consistency_time,
        stored_at: status.stored_at,
        bytes: status.sizes.map_or(0, |sizes| sizes.bytes),
        chroma: status.chroma_db.is_some(),
        migrations: status.chroma_db.map(|content| content.migrations),
        verification: status.verification,
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
    let remembered: BTreeMap<String, Vec<ClaimSeen>> =
        serde_json::from_str(&value(REMEMBERED)).map_err(|_| Error::Incomplete {
            object: format!("ConfigMap/{}", map.name_any()),
            field: "data.claims",
        })?;
    Ok(Memory { uid: uid(map), remembered, proof })
}

/// A NetworkPolicy as it is; what kubectl notes of its last apply comes along, so that a later apply finds what it expects.
pub(super) fn network_policy(policy: &NetworkPolicy) -> NetworkPolicySeen {
    NetworkPolicySeen {
        name: policy.name_any(),
        uid: uid(policy),
        resource_version: version(policy),
        deleting: policy.metadata.deletion_timestamp.is_some(),
        labels: policy.labels().clone(),
        annotations: policy.annotations().clone(),
        owners: policy.owner_references().to_vec(),
        spec: serde_json::to_value(&policy.spec).expect("a spec holds only strings, numbers and lists"),
    }
}

/// A record of NetworkPolicies.
pub(super) fn network_record(map: &ConfigMap) -> Result<NetworkRecord, Error> {
    let value = map.data.as_ref().and_then(|data| data.get(RECORDED)).cloned().unwrap_or_default();
    let policies = serde_json::from_str(&value).map_err(|_| Error::Incomplete {
        object: format!("ConfigMap/{}", map.name_any()),
        field: "data.networkPolicies",
    })?;
    Ok(NetworkRecord { name: map.name_any(), uid: uid(map), policies })
}

/// A Service and its ports.
pub(super) fn ports(service: &Service) -> (String, Vec<u16>) {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    (service.name_any(), ports.filter_map(|port| u16::try_from(port.port).ok()).collect())
}

/// A repository, and whether all of its points are recorded.
pub(super) fn repository(repository: &RecoveryRepository, points: &[PointSeen]) -> RepositorySeen {
    let name = repository.name_any();
    let conditions =
        repository.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let why = |kind: &str| {
        condition::get(conditions, kind)
            .filter(|found| found.status != "True")
            .map(|found| format!("{}: {}", found.reason, found.message))
    };
    let status = repository.status.as_ref();
    let counted = status.and_then(|status| status.usage.as_ref()).map(|usage| usage.counted.points);
    let recorded = points.iter().filter(|point| point.repository == name).count() as u64;
    let all = condition::is_true(conditions, "CatalogueCurrent")
        || counted.is_some_and(|counted| counted <= recorded);
    let catalogued = match all {
        true => Ok(()),
        false => {
            let why = why("CatalogueCurrent")
                .or_else(|| why("Ready"))
                .unwrap_or_else(|| "it was not probed yet".to_owned());
            Err(format!(
                "what repository {name} holds is not all recorded yet ({why}); the run goes on by itself"
            ))
        }
    };
    let encryption = &repository.spec.encryption;
    let second = encryption.escrow.as_ref().and_then(|escrow| escrow.key_secret_ref.as_ref());
    // A volume has none.
    let credentials = repository.spec.s3.as_ref().map(|s3| &s3.credentials);
    let names = |all: &[Option<&NameRef>]| all.iter().flatten().map(|found| found.name.clone()).collect();
    RepositorySeen {
        name,
        catalogued,
        key_secrets: names(&[Some(&encryption.key_secret_ref), second]),
        credential_secrets: names(&[
            credentials.map(|known| &known.writer.secret_ref),
            credentials.and_then(|known| known.maintenance.as_ref()).map(|known| &known.secret_ref),
        ]),
    }
}

/// A policy, as far as it decides which components a run concerns.
pub(super) fn policy(policy: &BackupPolicy) -> PolicySeen {
    PolicySeen {
        name: policy.name_any(),
        application: policy.spec.component.application.is_some(),
        priority: policy.spec.priority,
        depends_on: policy.spec.depends_on.iter().map(|needed| needed.name.clone()).collect(),
        offline: policy.spec.offline.is_some(),
    }
}

/// A ConfigMap with a switch; of its keys only these are read.
pub(super) fn switch(map: &ConfigMap, keys: &BTreeSet<&str>) -> SwitchSeen {
    let values = map.data.iter().flatten().filter(|(key, _)| keys.contains(key.as_str()));
    SwitchSeen {
        resource_version: version(map),
        labelled: map.labels().get(OFFLINE_SWITCH_LABEL).is_some_and(|value| value == "true"),
        values: values.map(|(key, value)| (key.clone(), value.clone())).collect(),
    }
}

/// Whether a pod is one of ours: it mounts volumes and tells nothing of whose they are.
pub(super) fn is_mover(pod: &Pod) -> bool {
    pod.labels().get(MANAGED_BY_LABEL).is_some_and(|by| by == MANAGED_BY)
}
