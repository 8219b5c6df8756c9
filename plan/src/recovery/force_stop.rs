//! Pods on nodes that do not answer. Unknown is not stopped: nothing is restored in place of a volume that such a pod mounts. Who they are stands in the status from when
//! they are seen first, so that one which somebody removes from the API, and which may write on all the same, is not taken for gone. It counts as gone when its
//! node answers again; when the node has Kubernetes' own mark that its machine is off (the taint out-of-service, which has its pods removed and its volumes
//! detached), or does not exist any more; or when somebody says at gate ForceStop that the machine is off. The controller forces nothing by itself, and has no right to.

use crds::condition::Status;
use crds::run::{GateName, LostPod};
use jiff::{SignedDuration, Timestamp};

use super::gate::{self, Ahead};
use super::seen::PodSeen;
use super::{Draft, Progress, assess, texts};
use crate::workload;

/// How long a node may be silent before somebody is asked: most come back by themselves.
const PATIENCE: SignedDuration = SignedDuration::from_mins(2);
/// When to look again at a node: nobody tells when one changes.
const AGAIN: SignedDuration = SignedDuration::from_secs(15);
/// Most pods that are remembered.
const MOST: usize = 64;

/// What is known of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It says how it is.
    Answers,
    /// It does not.
    Silent,
    /// It does not, and carries the taint `node.kubernetes.io/out-of-service`: somebody says that the machine is off.
    OutOfService,
    /// There is no such node.
    Gone,
}

/// Writes down those of `pods` whose nodes do not answer.
pub(crate) fn note(draft: &mut Draft<'_>, pods: &[&PodSeen]) {
    let now = draft.now;
    for pod in pods {
        let Some(node) = pod.lost_on.clone() else { continue };
        let known = draft.status.lost_pods.iter().any(|lost| lost.pod == pod.name && lost.node == node);
        if !known && draft.status.lost_pods.len() < MOST {
            let claims = pod.claims.clone();
            draft.status.lost_pods.push(LostPod { pod: pod.name.clone(), node, claims, since: now });
        }
    }
}

/// What holds up a component.
enum Held {
    /// It is there, and nobody knows whether it writes.
    Unknown(LostPod),
    /// It was removed from the API, and its node is silent.
    Removed(LostPod),
    /// Its node answers again, and it is about to end.
    Ending(String),
}

fn held(draft: &Draft<'_>, lost: &LostPod) -> Option<Held> {
    let seen = draft.seen;
    match seen.pods.iter().find(|pod| pod.name == lost.pod) {
        Some(pod) if pod.lost_on.is_some() => Some(Held::Unknown(lost.clone())),
        Some(_) => Some(Held::Ending(lost.pod.clone())),
        None => match seen.nodes.get(&lost.node) {
            Some(NodeState::Answers | NodeState::OutOfService | NodeState::Gone) => None,
            Some(NodeState::Silent) | None => Some(Held::Removed(lost.clone())),
        },
    }
}

/// What is done while a pod that mounts one of `claims` may still write; nothing when none does.
pub(crate) fn wait(draft: &mut Draft<'_>, claims: &[&str]) -> Option<Progress> {
    let all = draft.status.lost_pods.clone();
    let open: Vec<Held> = all.iter().filter_map(|lost| held(draft, lost)).collect();
    if !open.iter().any(|held| matches!(held, Held::Unknown(_) | Held::Removed(_))) {
        // Nobody has to be asked any more.
        draft.status.gates.retain(|gate| gate.name != GateName::ForceStop || gate.answer.is_some());
    }
    if let Some(progress) = beyond(draft, &all, claims) {
        return Some(progress);
    }
    let own = all.iter().filter(|lost| lost.claims.iter().any(|claim| claims.contains(&claim.as_str())));
    let (mut unknown, mut removed, mut ending) = (Vec::new(), Vec::new(), Vec::new());
    for held in own.filter_map(|lost| held(draft, lost)) {
        match held {
            Held::Unknown(lost) => unknown.push(lost),
            Held::Removed(lost) => removed.push(lost),
            Held::Ending(pod) => ending.push(pod),
        }
    }
    let Some(first) = unknown.iter().chain(&removed).next().cloned() else {
        let waits = format!("waiting until these pods are gone: {}", ending.join(", "));
        return (!ending.is_empty()).then(|| Progress::acting(Vec::new(), waits));
    };
    let message = told(draft, &first, !unknown.is_empty());
    draft.condition("Stopped", Status::False, "PodUnknown", message.clone());
    let due = first.since.checked_add(PATIENCE).unwrap_or(Timestamp::MAX);
    if draft.now < due && !draft.status.gates.iter().any(|gate| gate.name == GateName::ForceStop) {
        return Some(Progress::Polling { effects: Vec::new(), note: message, at: due });
    }
    let at = draft.now.checked_add(AGAIN).unwrap_or(Timestamp::MAX);
    let waits = |note| Some(Progress::Polling { effects: Vec::new(), note, at });
    let deadline = assess::deadline(&draft.seen.run);
    match gate::at(draft, GateName::ForceStop, Some("scenario".to_owned()), deadline, Some(&message)) {
        // What was removed may not come back; what is there may still write.
        Ahead::Open if unknown.is_empty() => None,
        Ahead::Open => {
            let said =
                format!("the machine is said to be off; waiting until its pods are removed. {message}");
            waits(said)
        }
        Ahead::Waits => waits(message),
        Ahead::Failed(reason, why) => Some(Progress::failed(reason, why)),
    }
}

/// A pod that the status has no room for holds up its component until others are gone.
fn beyond(draft: &Draft<'_>, all: &[LostPod], claims: &[&str]) -> Option<Progress> {
    let untold = draft.seen.pods.iter().find(|pod| {
        pod.lost_on.is_some()
            && pod.claims.iter().any(|claim| claims.contains(&claim.as_str()))
            && !all.iter().any(|lost| lost.pod == pod.name)
    })?;
    let at = draft.now.checked_add(AGAIN).unwrap_or(Timestamp::MAX);
    let node = untold.lost_on.as_deref().unwrap_or_default();
    let note = format!(
        "pod {} is on node {node}, which does not answer, as {MOST} others are: it waits until some of them are gone",
        untold.name
    );
    Some(Progress::Polling { effects: Vec::new(), note, at })
}

fn told(draft: &Draft<'_>, lost: &LostPod, there: bool) -> String {
    let volumes = lost.claims.iter().filter_map(|claim| draft.seen.claims.get(claim)?.volume.as_deref());
    let volumes: Vec<&str> = volumes.collect();
    let mounts = match volumes.as_slice() {
        [] => String::new(),
        some => format!(" and mounts {}", some.join(", ")),
    };
    let (namespace, LostPod { pod, node, since, .. }) = (&draft.seen.run.namespace, lost);
    let text = if there {
        format!(
            "pod {pod} is on node {node}, which does not answer ({since:.0}){mounts}: whether it still writes is unknown. Bring the node back, or make certain that the machine is off and kubectl taint node {node} {}: its pods are removed then and the run goes on. Who may not taint nodes: kubectl delete pod {pod} -n {namespace} --force, and say here that the machine is off",
            workload::OUT_OF_SERVICE
        )
    } else {
        format!(
            "pod {pod} was removed by force{mounts}, and its node {node} does not answer ({since:.0}): it may still write there. Bring the node back, or make certain that the machine is off and say so here, or by kubectl taint node {node} {}",
            workload::OUT_OF_SERVICE
        )
    };
    texts::bounded(&text)
}
