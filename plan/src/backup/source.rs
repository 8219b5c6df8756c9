//! Which claim, pod and Service a policy means, found from the workload's pod template. Pure: the caller fetched the
//! objects. It refuses to guess: what is not unique is said with the field that settles it.

use crds::policy::{BackupPolicySpec, ChromaDb, Method};
use crds::reference::WorkloadRef;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, PersistentVolumeClaim, Pod, PodSpec, Service};
use kube_name::name;

use super::objects::Wanted;
use crate::effect::{Identity, Place};

mod application;
mod readable;
mod service;
mod workload;
pub use application::application;
pub use readable::{Readable, readable};
pub use service::Address;
use service::service;
pub use workload::Workload;

/// Why a source can't be captured, or not as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// A reason of SourceReady.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

impl Problem {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

fn existing<'a>(reference: &WorkloadRef, found: Option<&'a Workload>) -> Result<&'a Workload, Problem> {
    found.ok_or_else(|| {
        Problem::new(
            "WorkloadNotFound",
            format!(
                "{} {} does not exist in this namespace; correct spec.component.workloads or create it",
                reference.kind.as_str(),
                reference.name
            ),
        )
    })
}

/// Where the data is, as far as the pod template tells; true also while the workload is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The workload that mounts the claim.
    pub workload: WorkloadRef,
    /// Name of the claim.
    pub claim: String,
    /// Name of the container that mounts it.
    pub container: String,
    /// Path of the data below the root of the volume, without a leading slash.
    pub data_path: String,
}

/// Finds the claim from the workloads of the policy, each as it was fetched.
///
/// # Errors
/// When a workload is missing, or none or several claims are mounted.
pub fn locate(
    spec: &BackupPolicySpec,
    workloads: &[(WorkloadRef, Option<Workload>)],
) -> Result<Located, Problem> {
    let chroma = spec.component.chroma_db.clone().unwrap_or_default();
    let mut found: Vec<(WorkloadRef, &Workload, String)> = Vec::new();
    for (reference, workload) in workloads {
        let workload = existing(reference, workload.as_ref())?;
        for (volume, _) in workload.claims() {
            if chroma.volume.as_ref().is_none_or(|wanted| *wanted == volume) {
                found.push((reference.clone(), workload, volume));
            }
        }
    }
    match found.as_slice() {
        [(reference, workload, volume)] => place(&chroma, reference, workload, volume),
        [] => Err(Problem::new(
            "ClaimNotFound",
            match &chroma.volume {
                Some(volume) => format!(
                    "no workload of spec.component.workloads has a volume \"{volume}\" that is a claim; correct spec.component.chromaDB.volume"
                ),
                None => "no workload of spec.component.workloads mounts a claim; a database on an ephemeral volume can't be protected".to_owned(),
            },
        )),
        several => Err(Problem::new(
            "ClaimNotFound",
            format!(
                "volumes {} are claims; say which one holds the ChromaDB: spec.component.chromaDB.volume",
                several.iter().map(|(r, _, v)| format!("{v} of {}", r.name)).collect::<Vec<_>>().join(", ")
            ),
        )),
    }
}

fn place(
    chroma: &ChromaDb,
    reference: &WorkloadRef,
    workload: &Workload,
    volume: &str,
) -> Result<Located, Problem> {
    let mounted = workload.template().into_iter().flat_map(|pod| &pod.containers).find_map(|container| {
        let mount = container.volume_mounts.iter().flatten().find(|mount| mount.name == volume)?;
        Some((container, mount))
    });
    let Some((container, mount)) = mounted else {
        return Err(Problem::new(
            "ClaimNotFound",
            format!(
                "no container of {} {} mounts its volume {volume}",
                reference.kind.as_str(),
                reference.name
            ),
        ));
    };
    if mount.sub_path_expr.is_some() {
        return Err(Problem::new(
            "ClaimNotFound",
            format!(
                "volume {volume} of {} is mounted by subPathExpr, which can't be known here; use subPath",
                reference.name
            ),
        ));
    }
    let root = mount.mount_path.trim_end_matches('/');
    let below = match &chroma.data_path {
        None => "",
        Some(path) => match path.trim_end_matches('/').strip_prefix(root) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
            _ => {
                return Err(Problem::new(
                    "ClaimNotFound",
                    format!(
                        "spec.component.chromaDB.dataPath: {path} is not on volume {volume}, which is mounted at {}",
                        mount.mount_path
                    ),
                ));
            }
        },
    };
    let parts = [mount.sub_path.as_deref().unwrap_or_default(), below].map(|part| part.trim_matches('/'));
    Ok(Located {
        workload: reference.clone(),
        claim: workload.claim(volume).unwrap_or_default(),
        container: container.name.clone(),
        data_path: parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"),
    })
}

/// Everything that a capture needs to know of its source.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The claims that are captured.
    pub claims: Vec<String>,
    /// What is on them.
    pub content: Content,
    /// The pod beside which it is captured; of a live capture only, and of an application only when one runs.
    pub pod: Option<String>,
    /// Where captures run: on the pod's node, or, when none runs, where the workload's pods may run.
    pub place: Place,
    /// Wherever the workload's pods may run: where a copy of the volumes can be read.
    pub anywhere: Place,
    /// As whom the workload runs.
    pub identity: Identity,
    /// Which objects belong to the component.
    pub objects: Wanted,
}

/// What is on the claims of a component.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A ChromaDB, on the only one.
    ChromaDb {
        /// Path of the data below the root of the volume, without a leading slash.
        data_path: String,
        /// Image of the server as the pod's status names it, by digest where the runtime knows it.
        image: String,
        /// The Service in front of it. A missing or ambiguous one hinders no capture, only a validation later.
        service: Result<Option<Address>, Problem>,
    },
    /// Files of any kind.
    Application,
}

impl Source {
    /// The Service in front of a ChromaDB.
    ///
    /// # Errors
    /// When there is none of that name, or several may be meant.
    pub fn service(&self) -> Result<Option<&Address>, &Problem> {
        match &self.content {
            Content::ChromaDb { service, .. } => service.as_ref().map(Option::as_ref),
            Content::Application => Ok(None),
        }
    }

    /// Image of a ChromaDB's server; empty for anything else.
    #[must_use]
    pub fn image(&self) -> &str {
        match &self.content {
            Content::ChromaDb { image, .. } => image,
            Content::Application => "",
        }
    }
}

/// What was fetched around a component.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// The workloads of the policy, each as it was fetched.
    pub workloads: &'a [(WorkloadRef, Option<Workload>)],
    /// Claims of the namespace, as many as may be meant.
    pub claims: &'a [PersistentVolumeClaim],
    /// Pods of the workloads or of the namespace, movers left out.
    pub pods: &'a [Pod],
    /// Services of the namespace.
    pub services: &'a [Service],
}

/// Finds out how `located` is captured in the way that the policy asks for.
///
/// # Errors
/// When the claim is missing; for a live capture also when no Ready pod mounts it, or another pod can't join.
pub fn resolve(spec: &BackupPolicySpec, located: Located, around: Around<'_>) -> Result<Source, Problem> {
    let claim = around.claims.iter().find(|claim| name(&claim.metadata) == located.claim);
    check_claim(&located.claim, claim)?;
    match spec.capture.method() {
        // Also where the storage cuts a snapshot: the lock that makes it whole is taken beside the server.
        Method::Live(_) | Method::Snapshot(_) => {
            check_access(&located.claim, claim)?;
            live(spec, located, around)
        }
        Method::Offline(_) => Ok(stopped(spec, located, around)),
    }
}

/// Where the data of a component is, and where and as whom its pods run, as far as that is told whether a claim exists and a pod runs or
/// not: what a recovery has to know.
///
/// # Errors
/// When a workload is missing, or its pod template doesn't say which claim is meant.
pub fn at_rest(spec: &BackupPolicySpec, around: Around<'_>) -> Result<Source, Problem> {
    match spec.component.application {
        Some(_) => application::at_rest(spec, around),
        None => Ok(stopped(spec, locate(spec, around.workloads)?, around)),
    }
}

/// With the workload stopped: nothing has to run before, and what does tells as whom.
fn stopped(spec: &BackupPolicySpec, located: Located, around: Around<'_>) -> Source {
    let workload = workload_of(&located, around);
    let template = workload.map(Workload::pod).unwrap_or_default();
    let mounting = || around.pods.iter().filter(|pod| mounts(pod, &located.claim));
    let pod = mounting().find(|pod| ready(pod)).or_else(|| mounting().next()).unwrap_or(&template);
    of(spec, located, around, pod, workload.map(Workload::place).unwrap_or_default())
}

fn workload_of<'a>(located: &Located, around: Around<'a>) -> Option<&'a Workload> {
    let workload = around.workloads.iter().find(|(reference, _)| *reference == located.workload);
    workload.and_then(|(_, found)| found.as_ref())
}

/// Finds the running server behind `located`.
fn live(spec: &BackupPolicySpec, located: Located, around: Around<'_>) -> Result<Source, Problem> {
    let pods = around.pods;
    let pod = pods.iter().find(|pod| ready(pod) && mounts(pod, &located.claim)).ok_or_else(|| {
        let why = match pods.iter().find(|pod| mounts(pod, &located.claim)) {
            Some(pod) => format!("pod {} is not Ready", name(&pod.metadata)),
            None => "no pod mounts it".to_owned(),
        };
        Problem::new(
            "PodNotRunning",
            format!(
                "claim {}: {why}; a live capture runs beside the running server and starts when it is up",
                located.claim
            ),
        )
    })?;
    let pod_name = name(&pod.metadata);
    if let Some(runtime) = sandbox(pod) {
        return Err(Problem::new(
            "LocksNotShared",
            format!(
                "file locks of pod {pod_name} don't reach another pod (runtimeClassName {runtime}); a capture beside it would be torn. Use capture: {{offline: {{}}}}"
            ),
        ));
    }
    let beside = Some(pod_name.to_owned());
    Ok(Source { pod: beside, ..of(spec, located, around, pod, node_of(pod)) })
}

/// The runtime class of a pod whose file locks end with it.
fn sandbox(pod: &Pod) -> Option<&str> {
    let runtime = pod.spec.as_ref()?.runtime_class_name.as_deref()?;
    let lower = runtime.to_lowercase();
    ["gvisor", "runsc", "kata"].iter().any(|sandbox| lower.contains(sandbox)).then_some(runtime)
}

/// On the node of a pod.
fn node_of(pod: &Pod) -> Place {
    let spec = pod.spec.as_ref();
    Place {
        node: spec.and_then(|s| s.node_name.clone()),
        tolerations: spec.and_then(|s| s.tolerations.clone()).unwrap_or_default(),
        ..Place::default()
    }
}

/// What a pod, or the template of one, says about the server.
fn of(spec: &BackupPolicySpec, located: Located, around: Around<'_>, pod: &Pod, place: Place) -> Source {
    let chroma = spec.component.chroma_db.clone().unwrap_or_default();
    let anywhere = workload_of(&located, around).map(Workload::place).unwrap_or_default();
    let claims = vec![located.claim];
    let (container, status) = container(pod, &located.container);
    Source {
        pod: None,
        place,
        anywhere,
        identity: identity(pod.spec.as_ref(), container, status),
        objects: Wanted::of(&spec.component, around.workloads, &claims),
        claims,
        content: Content::ChromaDb {
            data_path: located.data_path,
            image: image(container, status),
            service: service(&chroma, pod, around.services),
        },
    }
}

/// A container of a pod, and what the kubelet says of it.
fn container<'a>(pod: &'a Pod, wanted: &str) -> (Option<&'a Container>, Option<&'a ContainerStatus>) {
    let specs = pod.spec.iter().flat_map(|spec| &spec.containers);
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    (specs.into_iter().find(|c| c.name == wanted), statuses.into_iter().find(|c| c.name == wanted))
}

fn check_claim(wanted: &str, claim: Option<&PersistentVolumeClaim>) -> Result<(), Problem> {
    let Some(claim) = claim else {
        return Err(Problem::new(
            "ClaimNotFound",
            format!("claim {wanted} does not exist; the workload was never started, or somebody deleted it"),
        ));
    };
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(Problem::new("ClaimNotFound", format!("claim {wanted} is being deleted")));
    }
    let phase = claim.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending");
    if phase != "Bound" {
        return Err(Problem::new(
            "ClaimPending",
            format!("claim {wanted} is {phase}; captures start once it is bound to a volume"),
        ));
    }
    Ok(())
}

/// Whether another pod can have the volume beside the server.
fn check_access(wanted: &str, claim: Option<&PersistentVolumeClaim>) -> Result<(), Problem> {
    let modes = claim.and_then(|claim| claim.spec.as_ref()?.access_modes.as_deref()).unwrap_or_default();
    if modes.iter().any(|mode| mode == "ReadWriteOncePod") {
        return Err(Problem::new(
            "VolumeExclusive",
            format!(
                "claim {wanted} can be mounted by one pod only (ReadWriteOncePod); a capture beside the server, by lock or by snapshot, needs ReadWriteOnce or ReadWriteMany, an offline one (capture.offline) doesn't"
            ),
        ));
    }
    Ok(())
}

fn mounts(pod: &Pod, claim: &str) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| volume.persistent_volume_claim.as_ref())
        .any(|source| source.claim_name == claim)
}

fn ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten())
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn image(container: Option<&Container>, status: Option<&ContainerStatus>) -> String {
    let mut image = match status {
        // Without a registry the runtime knows only the digest of the configuration, which nobody can pull.
        Some(status) if status.image_id.contains("@sha256:") => status.image_id.clone(),
        Some(status) => status.image.clone(),
        None => container.and_then(|container| container.image.clone()).unwrap_or_default(),
    };
    image.truncate(image.char_indices().nth(512).map_or(image.len(), |(end, _)| end));
    image
}

fn identity(
    spec: Option<&PodSpec>,
    container: Option<&Container>,
    status: Option<&ContainerStatus>,
) -> Identity {
    // What the kubelet saw is the truth; older kubelets don't tell, and then the specification is.
    let seen = status.and_then(|s| s.user.as_ref()).and_then(|user| user.linux.as_ref());
    let own = container.and_then(|c| c.security_context.as_ref());
    let pod = spec.and_then(|s| s.security_context.as_ref());
    let uid = seen
        .map(|user| user.uid)
        .or_else(|| own.and_then(|c| c.run_as_user))
        .or_else(|| pod.and_then(|p| p.run_as_user))
        // ChromaDB's own images run as root.
        .unwrap_or(0);
    let gid = seen
        .map(|user| user.gid)
        .or_else(|| own.and_then(|c| c.run_as_group))
        .or_else(|| pod.and_then(|p| p.run_as_group))
        .unwrap_or(0);
    let mut groups: Vec<i64> = seen
        .and_then(|user| user.supplemental_groups.clone())
        .into_iter()
        .flatten()
        .chain(pod.and_then(|p| p.supplemental_groups.clone()).into_iter().flatten())
        .filter(|group| *group != gid)
        .collect();
    groups.sort_unstable();
    groups.dedup();
    // The group that the volume belongs to comes first: it is the one that a new volume is given.
    if let Some(owning) = pod.and_then(|p| p.fs_group) {
        groups.retain(|group| *group != owning);
        groups.insert(0, owning);
    }
    let selinux =
        own.and_then(|c| c.se_linux_options.clone()).or_else(|| pod.and_then(|p| p.se_linux_options.clone()));
    Identity { uid: Some(uid), gid: Some(gid), groups, selinux }
}

mod kube_name {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    /// Every stored object has a name.
    pub fn name(meta: &ObjectMeta) -> &str {
        meta.name.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
