//! What an application consists of: every claim of its workloads, whether a pod runs or not.

use std::collections::BTreeSet;

use crds::policy::{BackupPolicySpec, Method};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use super::kube_name::name;
use super::{
    Around, Content, Problem, Source, Workload, check_access, check_claim, container, existing, identity,
    mounts, node_of, sandbox,
};
use crate::backup::objects::Wanted;
use crate::effect::Identity;

/// Finds the claims of an application, and where and as whom they are captured. One without a claim consists of its objects.
///
/// # Errors
/// When a workload or a claim is missing, claims can't be mounted together, or another pod can't join.
pub fn application(spec: &BackupPolicySpec, around: Around<'_>) -> Result<Source, Problem> {
    let (claims, first) = claims_of(spec, around)?;
    // Nothing is mounted while snapshots are cut, and clones can be mounted anywhere: where pods run doesn't matter then.
    let (live, by_snapshot) = match spec.capture.method() {
        Method::Live(_) => (true, false),
        Method::Snapshot(_) => (false, true),
        Method::Offline(_) => (false, false),
    };
    for claim in &claims {
        let found = find(claim, around);
        check_claim(claim, found)?;
        refuse_block(claim, found)?;
        if live {
            check_access(claim, found)?;
        }
    }
    let pods: Vec<&Pod> =
        around.pods.iter().filter(|pod| runs(pod) && claims.iter().any(|claim| mounts(pod, claim))).collect();
    if live && let Some((pod, runtime)) = pods.iter().find_map(|pod| Some((pod, sandbox(pod)?))) {
        return Err(Problem::new(
            "LocksNotShared",
            format!(
                "file locks of pod {} don't reach another pod (runtimeClassName {runtime}); use capture: {{offline: {{}}}}",
                name(&pod.metadata)
            ),
        ));
    }
    let beside = match by_snapshot {
        true => pods.first().copied(),
        false => beside(&pods, &claims, around)?,
    };
    let source = of(spec, claims, first, beside, around);
    let place = match beside {
        Some(pod) if live => node_of(pod),
        _ => source.anywhere.clone(),
    };
    Ok(Source { pod: beside.filter(|_| live).map(|pod| name(&pod.metadata).to_owned()), place, ..source })
}

/// The same without asking whether a claim exists or a pod runs.
pub(super) fn at_rest(spec: &BackupPolicySpec, around: Around<'_>) -> Result<Source, Problem> {
    let (claims, first) = claims_of(spec, around)?;
    let pod = around.pods.iter().find(|pod| runs(pod) && claims.iter().any(|claim| mounts(pod, claim)));
    Ok(of(spec, claims, first, pod, around))
}

/// What is told by these claims, the first workload that has any, and a pod that mounts them.
fn of(
    spec: &BackupPolicySpec,
    claims: Vec<String>,
    first: Option<&Workload>,
    pod: Option<&Pod>,
    around: Around<'_>,
) -> Source {
    let anywhere = first.map(Workload::place).unwrap_or_default();
    Source {
        pod: None,
        place: anywhere.clone(),
        anywhere,
        // Whoever reads no files owns none.
        identity: if claims.is_empty() { Identity::default() } else { as_whom(pod, first, &claims) },
        objects: Wanted::of(&spec.component, around.workloads, &claims),
        claims,
        content: Content::Application,
    }
}

/// The claims of an application, and the first of its workloads that has any.
fn claims_of<'a>(
    spec: &BackupPolicySpec,
    around: Around<'a>,
) -> Result<(Vec<String>, Option<&'a Workload>), Problem> {
    let chosen = spec.component.application.as_ref().and_then(|application| application.volumes.as_ref());
    let passes = |volume: &str| chosen.is_none_or(|chosen| chosen.iter().any(|named| named.name == volume));
    let mut claims = BTreeSet::new();
    let mut first = None;
    for (reference, workload) in around.workloads {
        let workload = existing(reference, workload.as_ref())?;
        let more = workload.every_claim(passes, around.claims);
        if !more.is_empty() && first.is_none() {
            first = Some(workload);
        }
        claims.extend(more);
    }
    if let Some(missing) = chosen.into_iter().flatten().find(|named| !is_claim(&named.name, around)) {
        return Err(Problem::new(
            "ClaimNotFound",
            format!(
                "no workload of spec.component.workloads has a volume \"{}\" that is a claim; correct spec.component.application.volumes",
                missing.name
            ),
        ));
    }
    Ok((claims.into_iter().collect(), first))
}

fn is_claim(volume: &str, around: Around<'_>) -> bool {
    let mut workloads = around.workloads.iter().filter_map(|(_, workload)| workload.as_ref());
    workloads.any(|workload| workload.claim(volume).is_some())
}

fn find<'a>(claim: &str, around: Around<'a>) -> Option<&'a PersistentVolumeClaim> {
    around.claims.iter().find(|found| name(&found.metadata) == claim)
}

fn refuse_block(wanted: &str, claim: Option<&PersistentVolumeClaim>) -> Result<(), Problem> {
    let mode = claim.and_then(|claim| claim.spec.as_ref()?.volume_mode.as_deref());
    if mode != Some("Block") {
        return Ok(());
    }
    let message = format!(
        "claim {wanted} is a raw block device, which holds no files; leave it out: spec.component.application.volumes"
    );
    Err(Problem::new("BlockVolume", message))
}

/// Whether a pod may still write.
pub(super) fn runs(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed")) && pod.spec.as_ref().is_some_and(|s| s.node_name.is_some())
}

/// The pod on whose node every claim can be mounted; none when no pod runs. Claims that many nodes may have at once bind to none.
fn beside<'a>(pods: &[&'a Pod], claims: &[String], around: Around<'_>) -> Result<Option<&'a Pod>, Problem> {
    let shared = |claim: &str| {
        let modes = find(claim, around).and_then(|claim| claim.spec.as_ref()?.access_modes.clone());
        modes.unwrap_or_default().iter().any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany")
    };
    let bound = |pod: &&&Pod| claims.iter().any(|claim| !shared(claim) && mounts(pod, claim));
    let mut bound = pods.iter().filter(bound).copied();
    let Some(first) = bound.next() else { return Ok(pods.first().copied()) };
    let node = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    match bound.find(|pod| node(pod) != node(first)) {
        None => Ok(Some(first)),
        Some(other) => Err(Problem::new(
            "VolumesOnSeveralNodes",
            format!(
                "pod {} is on node {} and pod {} on node {}, and their volumes can be mounted on one node only; make a policy for each workload",
                name(&first.metadata),
                node(first),
                name(&other.metadata),
                node(other)
            ),
        )),
    }
}

/// As whom the pod runs that mounts the claims, or would.
fn as_whom(pod: Option<&Pod>, first: Option<&Workload>, claims: &[String]) -> Identity {
    let template = first.map(Workload::pod).unwrap_or_default();
    let pod = pod.unwrap_or(&template);
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut mounted: BTreeSet<&str> = volumes
        .filter(|volume| {
            let claim = volume.persistent_volume_claim.as_ref();
            claim.is_some_and(|claim| claims.contains(&claim.claim_name))
        })
        .map(|volume| volume.name.as_str())
        .collect();
    let of_templates = first.map(Workload::claims).unwrap_or_default();
    mounted.extend(of_templates.iter().map(|(volume, _)| volume.as_str()));
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mounting = containers.into_iter().find(|container| {
        container.volume_mounts.iter().flatten().any(|mount| mounted.contains(mount.name.as_str()))
    });
    let wanted = mounting.map(|container| container.name.clone()).unwrap_or_default();
    let (container, status) = container(pod, &wanted);
    identity(pod.spec.as_ref(), container, status)
}

#[cfg(test)]
mod tests;
