//! What runs in the namespace, or would: what its pods may do on their nodes, and whether their images are said by digest.

use std::collections::{BTreeMap, BTreeSet};

use crds::reference::MOVER_LABEL;
use crds::run::{AuditFinding, AuditKind, AuditSeverity};
use jiff::Timestamp;
use serde_json::Value;

use super::{Known, Seen, finding, list, listed, metadata, name_of, text};

/// What runs, told once: of what a workload has made nothing is said that was said of it.
pub(super) struct Running<'a> {
    pub(super) since: Timestamp,
    pub(super) all: Vec<Runs<'a>>,
}

/// A workload, or a pod that none of those has made, or that is not what its own says.
pub(super) struct Runs<'a> {
    pub(super) object: &'a Value,
    /// A policy knows of it.
    pub(super) known: bool,
    /// It was created since somebody may have been inside.
    pub(super) new: bool,
    /// It runs what its workload does not say.
    pub(super) strays: bool,
}

impl<'a> Running<'a> {
    pub(super) fn of(seen: &'a Seen, known: &Known, found: &mut Vec<AuditFinding>) -> Self {
        let workloads = listed("workloads", &seen.workloads, found);
        let pods = listed("pods", &seen.pods, found);
        let by_uid: BTreeMap<&str, &Value> =
            workloads.iter().map(|workload| (text(&workload["metadata"]["uid"]), workload)).collect();
        let maker = |object: &Value| {
            let mut owners = list(&object["metadata"]["ownerReferences"]);
            owners.find_map(|owner| by_uid.get(text(&owner["uid"])).copied())
        };
        let mut all = Vec::new();
        for object in workloads.iter().chain(pods) {
            if is_mover(object) {
                continue;
            }
            // Whoever writes an owner's name on a pod makes it no pod of that owner.
            let strays = match maker(object) {
                Some(made_by) if object["kind"] == "Pod" && !is_of(object, made_by) => true,
                Some(_) => continue,
                None => false,
            };
            let known = known.workloads.contains(&name_of(object));
            all.push(Runs { object, known, new: metadata::is_new(object, seen.since), strays });
        }
        Self { since: seen.since, all }
    }
}

/// What an admission policy keeps anybody else from saying.
fn is_mover(object: &Value) -> bool {
    let template = if object["kind"] == "Pod" { object } else { &object["spec"]["template"] };
    template["metadata"]["labels"][MOVER_LABEL] == "true"
}

/// Whether a pod has no image and may do nothing that what has made it does not say.
fn is_of(pod: &Value, maker: &Value) -> bool {
    let (own, said) = (spec(pod), spec(maker));
    let within = |own: Vec<String>, said: Vec<String>| own.iter().all(|one| said.contains(one));
    within(images(own), images(said)) && within(privileges(own), privileges(said))
}

/// The pod that an object is or makes.
pub(super) fn spec(object: &Value) -> &Value {
    match text(&object["kind"]) {
        "Pod" => &object["spec"],
        "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"]["spec"],
        _ => &object["spec"]["template"]["spec"],
    }
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|field| list(&spec[field]))
}

fn images(spec: &Value) -> Vec<String> {
    containers(spec).map(|container| text(&container["image"]).to_owned()).collect()
}

/// Capabilities that a container may have without being told of: none more than any has by itself.
const HARMLESS: [&str; 2] = ["NET_BIND_SERVICE", "CAP_NET_BIND_SERVICE"];

/// What a pod may do on its node that a plain one may not.
fn privileges(spec: &Value) -> Vec<String> {
    let mut told = BTreeSet::new();
    for (field, words) in [
        ("hostNetwork", "shares the node's network"),
        ("hostPID", "sees the node's processes"),
        ("hostIPC", "shares the node's memory"),
    ] {
        if spec[field] == true {
            told.insert(words.to_owned());
        }
    }
    for volume in list(&spec["volumes"]).filter(|volume| !volume["hostPath"].is_null()) {
        told.insert(format!("mounts {} of the node", text(&volume["hostPath"]["path"])));
    }
    for container in containers(spec) {
        let (context, name) = (&container["securityContext"], text(&container["name"]));
        if context["privileged"] == true {
            told.insert(format!("container {name} is privileged"));
        }
        if context["procMount"] == "Unmasked" {
            told.insert(format!("container {name} sees all of /proc"));
        }
        let added = list(&context["capabilities"]["add"]).map(text).filter(|name| !HARMLESS.contains(name));
        let added: Vec<&str> = added.collect();
        if !added.is_empty() {
            told.insert(format!("container {name} has {} added", added.join(", ")));
        }
    }
    told.into_iter().collect()
}

/// Containers that say that they run as root.
fn roots(spec: &Value) -> Vec<&str> {
    let of_pod = &spec["securityContext"]["runAsUser"];
    let of = |container: &&Value| {
        let own = &container["securityContext"]["runAsUser"];
        if own.is_null() { of_pod == 0 } else { own == 0 }
    };
    containers(spec).filter(of).map(|container| text(&container["name"])).collect()
}

pub(super) fn look(running: &Running<'_>, found: &mut Vec<AuditFinding>) {
    for runs in &running.all {
        let (object, spec) = (name_of(runs.object), spec(runs.object));
        let touch = metadata::since(runs.object, running.since).filter(|touch| touch.created);
        let since = touch.map(|touch| format!("; {}", touch.said())).unwrap_or_default();
        let severity = if runs.new { AuditSeverity::High } else { AuditSeverity::Medium };
        let told = privileges(spec);
        if !told.is_empty() {
            let message = format!("{}{since}", told.join(", "));
            found.push(finding(severity, AuditKind::Privilege, &object, &message));
        }
        let roots = roots(spec);
        if !roots.is_empty() {
            let message = format!("{} as root (runAsUser: 0)", roots.join(", "));
            found.push(finding(AuditSeverity::Low, AuditKind::Privilege, &object, &message));
        }
        if runs.strays {
            let message =
                format!("runs or may do what its workload does not say: {}", images(spec).join(", "));
            found.push(finding(severity, AuditKind::Image, &object, &message));
        }
        let mut loose: Vec<String> =
            images(spec).into_iter().filter(|image| !image.contains("@sha256:")).collect();
        loose.dedup();
        if !loose.is_empty() {
            let message = format!("not pinned by digest: {}", loose.join(", "));
            found.push(finding(AuditSeverity::Low, AuditKind::Image, &object, &message));
        }
    }
}
