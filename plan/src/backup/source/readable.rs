//! What of a component can be read at all, for an emergency capture: whatever is missing or can't be mounted is left out with a sentence, and
//! the rest is what there is. Nothing is refused.

use crds::policy::BackupPolicySpec;
use crds::reference::WorkloadRef;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use super::application::runs;
use super::kube_name::name;
use super::{Around, Content, Source, Workload, at_rest, mounts};
use crate::backup::objects::Wanted;
use crate::effect::{Identity, Place};

/// What can be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readable {
    /// The claims that can be mounted.
    pub claims: Vec<String>,
    /// What is on them, where it is a ChromaDB: path of the data and image of the server.
    pub chroma_db: Option<(String, String)>,
    /// A pod mounts one of them, and may write.
    pub written: bool,
    /// Where they can be mounted.
    pub place: Place,
    /// As whom they can be read.
    pub identity: Identity,
    /// Which objects belong to the component.
    pub objects: Wanted,
    /// Sentences on what is left out.
    pub left_out: Vec<String>,
}

/// Looks. `known` are claims that were found before: of a workload that is gone nothing else tells.
#[must_use]
pub fn readable(spec: &BackupPolicySpec, known: &[String], around: Around<'_>) -> Readable {
    let (there, gone): (Vec<_>, Vec<_>) =
        around.workloads.iter().cloned().partition(|(_, workload)| workload.is_some());
    let mut left_out: Vec<String> = gone.iter().map(|(reference, _)| lost(reference)).collect();
    let source = match at_rest(spec, Around { workloads: &there, ..around }) {
        Ok(source) => source,
        Err(problem) => {
            if gone.is_empty() {
                left_out.push(problem.message);
            }
            unknown(spec, &there)
        }
    };
    let mut wanted = source.claims.clone();
    if wanted.is_empty() || !gone.is_empty() {
        wanted.extend(known.iter().filter(|claim| !source.claims.contains(claim)).cloned());
    }
    let mut claims = Vec::new();
    let mut node: Option<String> = None;
    let mut written = false;
    let mut place = source.place.clone();
    for claim in wanted {
        let found = around.claims.iter().find(|found| name(&found.metadata) == claim);
        let pods: Vec<&Pod> = around.pods.iter().filter(|pod| runs(pod) && mounts(pod, &claim)).collect();
        if let Some(why) = unmountable(&claim, found, &pods) {
            left_out.push(why);
            continue;
        }
        if let Some(pod) = pods.first() {
            let on = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
            match &node {
                Some(node) if on.as_ref() != Some(node) && !shared(found) => {
                    left_out.push(format!(
                        "claim {claim} is mounted on node {} and others on node {node}: one pod can't mount both",
                        on.unwrap_or_default()
                    ));
                    continue;
                }
                Some(_) => {}
                None => {
                    place = super::node_of(pod);
                    node = on;
                }
            }
            written = true;
        }
        claims.push(claim);
    }
    let chroma_db = match &source.content {
        Content::ChromaDb { data_path, image, .. } if claims.len() == 1 => {
            Some((data_path.clone(), image.clone()))
        }
        _ => None,
    };
    Readable {
        claims,
        chroma_db,
        written,
        place,
        identity: source.identity,
        objects: source.objects,
        left_out,
    }
}

fn lost(reference: &WorkloadRef) -> String {
    format!("{} {} does not exist", reference.kind.as_str(), reference.name)
}

/// Where pod templates don't tell what is on which claim: files, as far as claims are known otherwise.
fn unknown(spec: &BackupPolicySpec, there: &[(WorkloadRef, Option<Workload>)]) -> Source {
    Source {
        claims: Vec::new(),
        content: Content::Application,
        pod: None,
        place: Place::default(),
        anywhere: Place::default(),
        identity: Identity::default(),
        objects: Wanted::of(&spec.component, there, &[]),
    }
}

/// Why no other pod can have this claim now.
fn unmountable(claim: &str, found: Option<&PersistentVolumeClaim>, pods: &[&Pod]) -> Option<String> {
    let Some(found) = found else { return Some(format!("claim {claim} does not exist")) };
    if found.metadata.deletion_timestamp.is_some() {
        return Some(format!("claim {claim} is being deleted, and no new pod can have it"));
    }
    let phase = found.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    if phase != "Bound" {
        return Some(format!("claim {claim} is {phase} and has no volume"));
    }
    let spec = found.spec.as_ref();
    if spec.and_then(|spec| spec.volume_mode.as_deref()) == Some("Block") {
        return Some(format!("claim {claim} is a raw block device, which holds no files"));
    }
    let exclusive = spec.and_then(|spec| spec.access_modes.as_ref());
    let exclusive = exclusive.is_some_and(|modes| modes.iter().any(|mode| mode == "ReadWriteOncePod"));
    let pod = pods.first().filter(|_| exclusive)?;
    Some(format!(
        "claim {claim} can be mounted by one pod only (ReadWriteOncePod), and pod {} has it",
        name(&pod.metadata)
    ))
}

/// Whether several nodes may have it at once.
fn shared(claim: Option<&PersistentVolumeClaim>) -> bool {
    let modes = claim.and_then(|claim| claim.spec.as_ref()?.access_modes.as_ref());
    modes.is_some_and(|modes| modes.iter().any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany"))
}

#[cfg(test)]
mod tests;
