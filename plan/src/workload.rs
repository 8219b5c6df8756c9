//! Workloads and the pods on their volumes, as one look shows them, and the scaling that stops and starts them. Shared by whoever
//! does that: recoveries, and captures of what has to be stopped.

use crds::reference::WorkloadRef;
use crds::run::StoppedWorkload;

/// A workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadSeen {
    /// Which.
    pub workload: WorkloadRef,
    /// Uid.
    pub uid: String,
    /// Version that was seen.
    pub resource_version: String,
    /// Replicas asked for.
    pub replicas: i32,
    /// Replicas ready.
    pub ready: i32,
    /// Pods that there are; absent while its controller has not seen how many are asked for now.
    pub pods: Option<i32>,
    /// `persistentVolumeClaimRetentionPolicy.whenScaled` is Delete: scaling down deletes its claims.
    pub deletes_claims: bool,
    /// A run has created it, stopped.
    pub recreated: Option<Recreated>,
}

/// What a workload says that was missing and that a run has created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recreated {
    /// Uid of the run.
    pub by: String,
    /// Replicas that it had before it was lost.
    pub replicas: i32,
}

impl WorkloadSeen {
    /// What it is owed by whoever stops it.
    pub(crate) fn owed(&self) -> StoppedWorkload {
        StoppedWorkload { workload: self.workload.clone(), replicas: self.replicas }
    }

    /// The same in the run of this uid, which may have created it stopped.
    pub(crate) fn owed_by(&self, run: &str) -> StoppedWorkload {
        let created = self.recreated.as_ref().filter(|recreated| recreated.by == run);
        StoppedWorkload { replicas: created.map_or(self.replicas, |created| created.replicas), ..self.owed() }
    }

    /// What scales it to so many replicas.
    fn scaled(&self, replicas: i32) -> Scale {
        let (workload, resource_version) = (self.workload.clone(), self.resource_version.clone());
        Scale { workload, resource_version, replicas }
    }
}

/// Scales a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Which.
    pub workload: WorkloadRef,
    /// Version that was seen: a look that is outdated scales nothing.
    pub resource_version: String,
    /// Replicas.
    pub replicas: i32,
}

/// Scales to zero what is not.
pub(crate) fn down<'a>(workloads: impl IntoIterator<Item = &'a WorkloadSeen>) -> Vec<Scale> {
    let running = workloads.into_iter().filter(|workload| workload.replicas != 0);
    running.map(|workload| workload.scaled(0)).collect()
}

/// Gives back what is owed to what has fewer. Somebody who scaled up meanwhile is let be, and what was deleted is owed no more.
pub(crate) fn up<'a>(
    owed: &[StoppedWorkload],
    workloads: impl IntoIterator<Item = &'a WorkloadSeen> + Clone,
) -> Vec<Scale> {
    let fewer = owed.iter().filter_map(|owed| {
        let seen = workloads.clone().into_iter().find(|seen| seen.workload == owed.workload)?;
        (seen.replicas < owed.replicas).then(|| seen.scaled(owed.replicas))
    });
    fewer.collect()
}

/// What is stopped, in words: `chromadb 1->0`.
pub(crate) fn stopped(owed: &[StoppedWorkload]) -> String {
    let parts: Vec<String> =
        owed.iter().map(|owed| format!("{} {}->0", owed.workload.name, owed.replicas)).collect();
    parts.join(", ")
}

/// A pod that mounts a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSeen {
    /// Name.
    pub name: String,
    /// Claims that it mounts.
    pub claims: Vec<String>,
    /// It has ended: no container of it runs or will run.
    pub ended: bool,
    /// Name of its node, when that node does not answer: what the pod does is unknown.
    pub lost_on: Option<String>,
    /// It is ready.
    pub ready: bool,
    /// Restarts of its containers.
    pub restarts: i32,
}

impl PodSeen {
    /// Whether it may still write: no container of one that has ended does, unless its node can't be asked.
    pub(crate) fn may_write(&self) -> bool {
        !self.ended || self.lost_on.is_some()
    }
}

/// What somebody writes on a node whose machine is off for certain.
pub(crate) const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute";

/// What is said of a pod of which nobody can say whether it still writes. Unknown is not stopped.
pub(crate) fn unknown<'a>(pods: impl IntoIterator<Item = &'a PodSeen>) -> Option<String> {
    let (pod, node) = pods.into_iter().find_map(|pod| pod.lost_on.as_ref().map(|node| (pod, node)))?;
    Some(format!(
        "pod {} is on node {node}, which does not answer: whether it still writes is unknown. Bring the node back, or, when the machine is off for certain, say so: kubectl taint node {node} {OUT_OF_SERVICE}",
        pod.name
    ))
}

/// What is waited for after a scaling to zero.
pub(crate) fn waiting<'a>(pods: impl IntoIterator<Item = &'a PodSeen>) -> String {
    let name = |pod: &PodSeen| {
        if pod.ended { format!("{} (ended; delete it)", pod.name) } else { pod.name.clone() }
    };
    let names: Vec<String> = pods.into_iter().take(4).map(name).collect();
    if names.is_empty() {
        return "scaling to zero".to_owned();
    }
    format!("waiting until these pods are gone: {}", names.join(", "))
}
