//! What of a protected namespace no policy covers: the question of the quarterly review. Pure: objects come in as they were listed.
//!
//! A workload is covered where a policy names it or its selector finds it, a claim where what lies on it is captured, a Secret where a policy
//! captures it. Secrets are known by the pod templates that refer to them and no other way: nobody here may list them.

use std::collections::BTreeSet;

use crds::policy::{ObjectKind, Secrets};
use crds::reference::{
    LEFT_OUT, MANAGED_BY, MANAGED_BY_LABEL, POLICY_LABEL, QUARANTINE_LABEL, RUN_LABEL, WorkloadKind,
    WorkloadRef,
};
use crds::repository::{Coverage, CoveredKind, MOST_NAMED, PlaceRef, Uncovered, UncoveredCount};
use crds::{BackupPolicy, RecoveryRepository};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::backup::objects::secrets_of;
use crate::backup::source::Workload;

/// What a namespace has.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its policies.
    pub policies: Vec<BackupPolicy>,
    /// Its repositories: the claim that one lies on holds points.
    pub repositories: Vec<RecoveryRepository>,
    /// Its StatefulSets, Deployments and CronJobs.
    pub workloads: Vec<Workload>,
    /// Its claims.
    pub claims: Vec<ObjectMeta>,
}

/// What a look came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Look {
    /// Nobody looked this time: what was seen last still stands.
    #[default]
    NotNow,
    /// The namespace has no policy.
    Unprotected,
    /// This is not covered.
    Seen(Coverage),
    /// Something could not be read, and why.
    Failed(String),
}

/// Finds what is not covered; nothing in a namespace without a policy, which is not protected.
#[must_use]
pub fn of(seen: &Seen) -> Option<Coverage> {
    let policies: Vec<&BackupPolicy> =
        seen.policies.iter().filter(|policy| policy.metadata.deletion_timestamp.is_none()).collect();
    if policies.is_empty() {
        return None;
    }
    let (mut found, mut secrets, mut kept) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    // Claims of workloads that a policy has not looked at yet, or that were left out with their workload.
    let mut spared = BTreeSet::new();
    for workload in &seen.workloads {
        let meta = workload.metadata();
        let name = meta.name.clone().unwrap_or_default();
        let refers = workload.template().map(secrets_of).unwrap_or_default();
        let covering: Vec<_> = policies.iter().filter(|policy| covers(policy, workload)).collect();
        let left_out = is_left_out(meta);
        if covering.is_empty() && !left_out {
            found.insert(Uncovered { kind: kind_of(workload.kind()), name });
            secrets.extend(refers);
            continue;
        }
        if left_out || covering.iter().any(|policy| !is_resolved(policy)) {
            spared.extend(seen.claims.iter().filter_map(|claim| mounts(workload, claim.name.as_deref()?)));
        }
        // That Secrets of a component are no part of its points somebody has decided; so it is for those of what is left out.
        kept.extend(refers);
    }
    for policy in &policies {
        let named =
            policy.spec.component.objects.named.iter().filter(|named| named.kind == ObjectKind::Secret);
        let taken = policy.spec.component.objects.secrets != Secrets::None;
        kept.extend(named.filter(|_| taken).map(|named| named.name.clone()));
    }
    let captured = |name: &str| policies.iter().any(|policy| captures(policy, name));
    let holds_points = |name: &str| {
        let mut repositories = seen.repositories.iter();
        repositories
            .any(|repository| matches!(repository.spec.place(), PlaceRef::Volume(claim) if claim == name))
    };
    for claim in seen.claims.iter().filter(|claim| !is_left_out(claim)) {
        let name = claim.name.clone().unwrap_or_default();
        if !captured(&name) && !holds_points(&name) && !spared.contains(&name) {
            found.insert(Uncovered { kind: CoveredKind::PersistentVolumeClaim, name });
        }
    }
    let missing = secrets.difference(&kept).cloned();
    found.extend(missing.map(|name| Uncovered { kind: CoveredKind::Secret, name }));
    let count = |kind| found.iter().filter(|object| object.kind == kind).count();
    let counts = CoveredKind::ALL
        .map(|kind| UncoveredCount { kind, count: u32::try_from(count(kind)).unwrap_or(u32::MAX) });
    Some(Coverage { counts: counts.into(), uncovered: found.into_iter().take(MOST_NAMED).collect() })
}

/// What it comes to, in a sentence.
#[must_use]
pub fn told(coverage: &Coverage) -> String {
    let count: u64 = coverage.counts.iter().map(|of| u64::from(of.count)).sum();
    if count == 0 {
        return "every workload and claim of the namespace, and every Secret that a workload refers to, is covered by a policy or left out on purpose. Other Secrets are not seen".to_owned();
    }
    const SHOWN: usize = 8;
    let names: Vec<String> =
        coverage.uncovered.iter().take(SHOWN).map(|of| format!("{} {}", of.kind.as_str(), of.name)).collect();
    let more = if count > SHOWN as u64 { ", and more in status.coverage" } else { "" };
    format!(
        "no policy covers {}{more}: name them in a BackupPolicy, or say why they need none in their annotation {LEFT_OUT}",
        names.join(", ")
    )
}

/// Whether the policy has the workload in its points.
fn covers(policy: &BackupPolicy, workload: &Workload) -> bool {
    let (component, meta) = (&policy.spec.component, workload.metadata());
    let reference = WorkloadRef { kind: workload.kind(), name: meta.name.clone().unwrap_or_default() };
    let kind = object_kind(workload.kind());
    let by_label = component.objects.selector.as_ref().is_some_and(|selector| {
        let labels = meta.labels.clone().unwrap_or_default();
        selector.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    });
    component.workloads.contains(&reference)
        || component.objects.named.iter().any(|named| named.kind == kind && named.name == reference.name)
        || by_label
}

fn is_resolved(policy: &BackupPolicy) -> bool {
    policy.status.as_ref().is_some_and(|status| status.resolved.is_some())
}

/// Whether what lies on the claim is captured.
fn captures(policy: &BackupPolicy, claim: &str) -> bool {
    let resolved = policy.status.as_ref().and_then(|status| status.resolved.as_ref());
    resolved.is_some_and(|resolved| resolved.claims.iter().any(|known| known == claim))
}

/// The claim, where the workload mounts it, by the pod template or a claim template.
fn mounts(workload: &Workload, claim: &str) -> Option<String> {
    let volumes = workload.template().into_iter().flat_map(|pod| pod.volumes.iter().flatten());
    let mut named = volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref());
    let by_template = match workload {
        Workload::StatefulSet(set) => {
            let templates = set.spec.iter().flat_map(|spec| spec.volume_claim_templates.iter().flatten());
            templates.into_iter().any(|template| {
                let volume = template.metadata.name.as_deref().unwrap_or_default();
                let set = set.metadata.name.as_deref().unwrap_or_default();
                let number = claim.strip_prefix(&format!("{volume}-{set}-"));
                number.is_some_and(|number| number.parse::<u32>().is_ok())
            })
        }
        Workload::Deployment(_) | Workload::CronJob(_) => false,
    };
    (by_template || named.any(|volume| volume.claim_name == claim)).then(|| claim.to_owned())
}

/// Somebody has said why nothing covers it; or it is Holdfast's own, or goes.
fn is_left_out(meta: &ObjectMeta) -> bool {
    let labels = meta.labels.as_ref();
    let has = |label: &str| labels.is_some_and(|labels| labels.contains_key(label));
    let ours = labels.is_some_and(|labels| labels.get(MANAGED_BY_LABEL).is_some_and(|by| by == MANAGED_BY));
    let told = meta.annotations.as_ref().and_then(|annotations| annotations.get(LEFT_OUT));
    ours || [POLICY_LABEL, RUN_LABEL, QUARANTINE_LABEL].into_iter().any(has)
        || meta.deletion_timestamp.is_some()
        || told.is_some_and(|why| !why.trim().is_empty())
}

fn kind_of(kind: WorkloadKind) -> CoveredKind {
    match kind {
        WorkloadKind::StatefulSet => CoveredKind::StatefulSet,
        WorkloadKind::Deployment => CoveredKind::Deployment,
        WorkloadKind::CronJob => CoveredKind::CronJob,
    }
}

fn object_kind(kind: WorkloadKind) -> ObjectKind {
    match kind {
        WorkloadKind::StatefulSet => ObjectKind::StatefulSet,
        WorkloadKind::Deployment => ObjectKind::Deployment,
        WorkloadKind::CronJob => ObjectKind::CronJob,
    }
}

#[cfg(test)]
mod tests;
