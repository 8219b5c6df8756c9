//! The mover Job as Kubernetes gets it. Pure: what the Job does was decided in `plan`, this file knows how a pod is made
//! that may do no more than that.

use std::collections::BTreeMap;

use crds::job::{
    CA_DIR, ESCROW_DIR, EVIDENCE_DIR, KEY_DIR, OBJECT_ENV, OBJECTS_DIR, RECREATE_DIR, REPOSITORY_DIR,
    REQUEST_ENV, REVOKED_PASSWORD_ENV, REVOKED_TOKEN_ENV, REVOKED_USER_ENV, RepositoryPlace, Request,
    SCRATCH_DIR, SERVER_PASSWORD_ENV, SERVER_TOKEN_ENV, SERVER_USER_ENV, SOURCE_DIR, TARGET_DIR,
    TREE_OBJECTS, TREE_VOLUMES,
};
use crds::names;
use crds::policy::ServerAuth;
use crds::reference::{MANAGED_BY, MANAGED_BY_LABEL, MOVER_LABEL};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapProjection, ConfigMapVolumeSource, Container, EmptyDirVolumeSource,
    EnvVar, EnvVarSource, KeyToPath, LocalObjectReference, NodeAffinity, NodeSelector,
    NodeSelectorRequirement, NodeSelectorTerm, PersistentVolumeClaimVolumeSource, PodSecurityContext,
    PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource, ResourceRequirements, SeccompProfile,
    SecretKeySelector, SecretVolumeSource, SecurityContext, ServiceAccountTokenProjection, TCPSocketAction,
    Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;
use plan::backup::objects::Wanted;
use plan::effect::{MoverJob, Place, RepositoryKeys};
use serde_json::Value;

use crate::context::MoverConfig;

/// Name of a mover's container; those that run before it in its pod have a number behind.
pub const CONTAINER: &str = "mover";
/// User and group of movers that stand in for nobody.
const NOBODY: i64 = 65532;
/// Where programs look for the token of their pod.
const TOKEN_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What a well-behaved storage client reads its credentials from.
const CREDENTIALS: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// Objects that were read for a Job, besides those that its pod mounts.
#[derive(Clone, Debug, Default)]
pub struct Handed {
    /// Those of a component, for whoever captures it.
    pub objects: Vec<Value>,
    /// Those beyond the namespace, for whoever collects.
    pub beyond: Vec<Value>,
}

/// Builds the Job. Labels and annotations of the owner are not inherited: a tool that tracks its own objects by label
/// would prune a Job that it did not make.
#[must_use]
pub fn build(
    namespace: &str,
    owner: Option<OwnerReference>,
    config: &MoverConfig,
    job: &MoverJob,
    handed: &Handed,
) -> Job {
    let mut labels = job.labels.clone();
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned());
    // What an isolation of the namespace excepts; what probes it is no exception.
    if !matches!(job.request, Request::ProbeIsolation { .. }) {
        labels.insert(MOVER_LABEL.to_owned(), "true".to_owned());
    }
    Job {
        metadata: ObjectMeta {
            name: Some(job.name.clone()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.clone()),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            // A second pod would be a second attempt that nobody decided on.
            backoff_limit: Some(0),
            active_deadline_seconds: Some(i64::try_from(job.deadline.as_secs()).unwrap_or(i64::MAX)),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }),
                spec: Some(pod(config, job, handed)),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

fn pod(config: &MoverConfig, job: &MoverJob, handed: &Handed) -> PodSpec {
    let (volumes, mounts) = volumes(job);
    // The first that captures leaves the objects in the scratch space of all.
    let first = job.requests().position(|request| !request.leaves_evidence());
    let objects = |n: usize, request: &Request| match request {
        Request::Collect { .. } => handed.beyond.as_slice(),
        _ if Some(n) == first => handed.objects.as_slice(),
        _ => &[],
    };
    let identity = &job.identity;
    PodSpec {
        restart_policy: Some("Never".to_owned()),
        service_account_name: job.service_account.as_ref().map(|account| account.name.clone()),
        // Mounted where it is needed: no container has both a token and a key.
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        image_pull_secrets: pull_secrets(config),
        // Time to let the writers go and to say how it ended.
        termination_grace_period_seconds: Some(30),
        tolerations: (!job.place.tolerations.is_empty()).then(|| job.place.tolerations.clone()),
        node_selector: (job.place.node.is_none() && !job.place.node_selector.is_empty())
            .then(|| job.place.node_selector.clone()),
        affinity: affinity(&job.place),
        security_context: Some(PodSecurityContext {
            // Said here and not left to the image, so that "not root" never depends on how an image was built.
            run_as_user: Some(identity.uid.unwrap_or(NOBODY)),
            run_as_group: Some(identity.gid.unwrap_or(NOBODY)),
            run_as_non_root: Some(identity.uid != Some(0)),
            supplemental_groups: groups(job),
            se_linux_options: identity.selinux.clone(),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            // No fsGroup where files of the workload are: the kubelet would re-own them. A volume to restore into is empty
            // and root's, and only so can an unprivileged mover write to it.
            fs_group: fs_group(job),
            // What lies in a repository is not gone through every hour.
            fs_group_change_policy: is_probe_of_a_volume(job).then(|| "OnRootMismatch".to_owned()),
            ..PodSecurityContext::default()
        }),
        // What comes before: Kubernetes runs these one after the other, each to its end, and keeps what each of them said.
        init_containers: (!job.before.is_empty()).then(|| {
            let before = job.before.iter().enumerate();
            let made = before.map(|(n, request)| {
                container(config, format!("{CONTAINER}-{n}"), request, job, objects(n, request), &mounts)
            });
            made.collect()
        }),
        containers: vec![container(
            config,
            CONTAINER.to_owned(),
            &job.request,
            job,
            objects(job.before.len(), &job.request),
            &mounts,
        )],
        volumes: Some(volumes),
        ..PodSpec::default()
    }
}

/// Besides those of the workload the one to which the root of a repository's volume is given.
fn groups(job: &MoverJob) -> Option<Vec<i64>> {
    let of_volume = job.requests().any(|request| request.repository_claim().is_some()).then_some(NOBODY);
    let groups: Vec<i64> = job.identity.groups.iter().copied().chain(of_volume).collect();
    (!groups.is_empty()).then_some(groups)
}

/// To whom the kubelet gives the files of the pod's volumes.
fn fs_group(job: &MoverJob) -> Option<i64> {
    let identity = &job.identity;
    if is_probe_of_a_volume(job) {
        return Some(NOBODY);
    }
    let writes = job.targets.values().any(|target| !target.read_only && identity.uid != Some(0));
    writes.then(|| identity.groups.first().copied().or(identity.gid)).flatten()
}

/// The first mover that writes into a repository's volume, whose root is root's, has no volume of a workload.
fn is_probe_of_a_volume(job: &MoverJob) -> bool {
    matches!(&job.request, Request::Probe { .. }) && job.request.repository_claim().is_some()
}

/// A container that is asked one thing, with what this needs of the pod's volumes.
fn container(
    config: &MoverConfig,
    name: String,
    request: &Request,
    job: &MoverJob,
    objects: &[Value],
    mounts: &[VolumeMount],
) -> Container {
    let has = |mount: &&VolumeMount| match mount.name.as_str() {
        "key" | "escrow" | "ca" | "repository" => request.repository().is_some(),
        "token" => request.asks_the_cluster(),
        // Nobody with a token sees a Secret, but for who copies what was prepared.
        name if name.starts_with("object-") => {
            !request.asks_the_cluster() || matches!(request, Request::Rotate { .. })
        }
        _ => true,
    };
    Container {
        name,
        image: Some(config.image.clone()),
        image_pull_policy: config.pull_policy.clone(),
        args: Some(vec!["job".to_owned()]),
        env: Some(environment(request, job, objects)),
        volume_mounts: Some(mounts.iter().filter(has).cloned().collect()),
        resources: Some(ResourceRequirements {
            requests: Some(BTreeMap::from([
                ("cpu".to_owned(), Quantity("100m".to_owned())),
                ("memory".to_owned(), Quantity("128Mi".to_owned())),
            ])),
            // No CPU limit: a throttled mover that holds the lock holds up the writers.
            ..ResourceRequirements::default()
        }),
        readiness_probe: listens(request),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

/// The probe of an isolation is ready when it listens: then it has connected, and the isolation may begin.
fn listens(request: &Request) -> Option<Probe> {
    let Request::ProbeIsolation { ready_on: Some(port), .. } = request else { return None };
    Some(Probe {
        tcp_socket: Some(TCPSocketAction { port: IntOrString::Int(i32::from(*port)), host: None }),
        period_seconds: Some(1),
        ..Probe::default()
    })
}

fn pull_secrets(config: &MoverConfig) -> Option<Vec<LocalObjectReference>> {
    let secrets: Vec<_> =
        config.pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect();
    (!secrets.is_empty()).then_some(secrets)
}

fn environment(asked: &Request, job: &MoverJob, objects: &[Value]) -> Vec<EnvVar> {
    let request = serde_json::to_string(asked).expect("a request holds only strings, numbers and times");
    let mut env = vec![literal(REQUEST_ENV.to_owned(), &request)];
    let object = |(n, object): (usize, &Value)| literal(format!("{OBJECT_ENV}{n}"), &object.to_string());
    env.extend(objects.iter().enumerate().map(object));
    if let Some(keys) = job.keys.as_ref().filter(|_| asked.repository().is_some()) {
        let credentials = keys.credentials.iter();
        env.extend(
            credentials.flat_map(|secret| CREDENTIALS.map(|name| from_secret(name, &secret.name, name))),
        );
    }
    if let Request::Validate { auth: Some(auth), revoked, .. } = asked {
        for (now, before, secret, key) in server_variables(auth) {
            env.push(from_secret(now, secret, key));
            let keeper = revoked.iter();
            env.extend(keeper.map(|keeper| from_secret(before, keeper, &names::revoked_key(secret, key))));
        }
    }
    env
}

/// What a running ChromaDB is asked with: the variables for what it is and what it was before it was replaced, the Secret and its key.
fn server_variables(auth: &ServerAuth) -> Vec<(&'static str, &'static str, &str, &str)> {
    let token = auth.token_secret_ref.iter();
    let token =
        token.map(|token| (SERVER_TOKEN_ENV, REVOKED_TOKEN_ENV, token.name.as_str(), token.key.as_str()));
    let basic = auth.basic_secret_ref.iter().flat_map(|basic| {
        let name = basic.name.as_str();
        [
            (SERVER_USER_ENV, REVOKED_USER_ENV, name, "username"),
            (SERVER_PASSWORD_ENV, REVOKED_PASSWORD_ENV, name, "password"),
        ]
    });
    token.chain(basic).collect()
}

/// A variable that the kubelet fills from a Secret.
fn from_secret(variable: &str, name: &str, key: &str) -> EnvVar {
    EnvVar {
        name: variable.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: name.to_owned(),
                key: key.to_owned(),
                // A missing Secret is then said by the mover, and the pod is not stuck without a word.
                optional: Some(true),
            }),
            ..EnvVarSource::default()
        }),
    }
}

/// Kubernetes would expand $(NAME) in a value; a doubled dollar is a dollar.
fn literal(name: String, value: &str) -> EnvVar {
    EnvVar { name, value: Some(value.replace("$(", "$$(")), value_from: None }
}

fn volumes(job: &MoverJob) -> (Vec<Volume>, Vec<VolumeMount>) {
    let mut volumes = vec![empty("scratch")];
    let mut mounts = vec![mount("scratch", SCRATCH_DIR, false)];
    if let Some(keys) = &job.keys {
        let (more, at) = key_volumes(keys);
        volumes.extend(more);
        mounts.extend(at);
    }
    if let Some(place) = job.requests().find_map(Request::repository)
        && let RepositoryPlace::Volume { claim } = &place.place
    {
        volumes.push(persistent("repository", claim, place.read_only));
        mounts.push(mount("repository", REPOSITORY_DIR, place.read_only));
    }
    if job.service_account.is_some() {
        volumes.push(token());
        mounts.push(mount("token", TOKEN_DIR, true));
    }
    if matches!(job.request, Request::Recreate { .. }) {
        volumes.push(in_memory("recreate"));
        mounts.push(mount("recreate", RECREATE_DIR, false));
    }
    if job.requests().any(Request::leaves_evidence) {
        volumes.push(empty("evidence"));
        mounts.push(mount("evidence", EVIDENCE_DIR, false));
    }
    let cut = matches!(job.request, Request::Capture { cut: Some(_), .. });
    if cut {
        // Beside the clones, so that both are stored as they lie.
        volumes.push(empty("objects"));
        mounts.push(mount("objects", TREE_OBJECTS, false));
    }
    let mut claim = |name: String, path: &str, claim: &plan::effect::Volume| {
        mounts.push(mount(&name, path, claim.read_only));
        volumes.push(persistent(&name, &claim.claim, claim.read_only));
    };
    let root = if cut { TREE_VOLUMES } else { SOURCE_DIR };
    for (n, (name, source)) in job.sources.iter().enumerate() {
        // A claim's name may be too long for a volume's.
        claim(format!("source-{n}"), &format!("{root}/{name}"), source);
    }
    for (n, (name, target)) in job.targets.iter().enumerate() {
        claim(format!("target-{n}"), &format!("{TARGET_DIR}/{name}"), target);
    }
    for (n, (kind, name)) in job.objects.iter().flat_map(|wanted| mounted(wanted)).enumerate() {
        let volume = format!("object-{n}");
        mounts.push(mount(&volume, &format!("{OBJECTS_DIR}/{kind}/{name}"), true));
        volumes.push(if kind == "Secret" { secret(&volume, name) } else { config_map(&volume, name) });
    }
    (volumes, mounts)
}

fn persistent(name: &str, claim: &str, read_only: bool) -> Volume {
    Volume {
        name: name.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim.to_owned(),
            read_only: read_only.then_some(true),
        }),
        ..Volume::default()
    }
}

fn empty(name: &str) -> Volume {
    Volume { name: name.to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() }
}

/// Secrets lie there for a moment: never on a disk.
fn in_memory(name: &str) -> Volume {
    let medium = Some("Memory".to_owned());
    let empty_dir = Some(EmptyDirVolumeSource { medium, ..EmptyDirVolumeSource::default() });
    Volume { name: name.to_owned(), empty_dir, ..Volume::default() }
}

/// What the kubelet mounts by itself where it is not told otherwise.
fn token() -> Volume {
    let token = ServiceAccountTokenProjection {
        path: "token".to_owned(),
        expiration_seconds: Some(3607),
        audience: None,
    };
    let authorities = ConfigMapProjection {
        name: "kube-root-ca.crt".to_owned(),
        items: Some(vec![KeyToPath { key: "ca.crt".to_owned(), path: "ca.crt".to_owned(), mode: None }]),
        optional: None,
    };
    let sources = vec![
        VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() },
        VolumeProjection { config_map: Some(authorities), ..VolumeProjection::default() },
    ];
    Volume {
        name: "token".to_owned(),
        projected: Some(ProjectedVolumeSource { sources: Some(sources), default_mode: None }),
        ..Volume::default()
    }
}

/// Objects that the mover reads as pods do.
fn mounted(wanted: &Wanted) -> impl Iterator<Item = (&'static str, &str)> {
    let maps = wanted.config_maps.iter().map(|name| ("ConfigMap", name.as_str()));
    maps.chain(wanted.secrets.iter().map(|name| ("Secret", name.as_str())))
}

fn key_volumes(keys: &RepositoryKeys) -> (Vec<Volume>, Vec<VolumeMount>) {
    let mut volumes = vec![secret("key", &keys.key.name)];
    let mut mounts = vec![mount("key", KEY_DIR, true)];
    if let Some(escrow) = &keys.escrow {
        volumes.push(secret("escrow", &escrow.name));
        mounts.push(mount("escrow", ESCROW_DIR, true));
    }
    if let Some(ca) = &keys.ca {
        volumes.push(config_map("ca", &ca.name));
        mounts.push(mount("ca", CA_DIR, true));
    }
    (volumes, mounts)
}

fn config_map(volume: &str, name: &str) -> Volume {
    Volume {
        name: volume.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: name.to_owned(),
            optional: Some(true),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn secret(volume: &str, name: &str) -> Volume {
    Volume {
        name: volume.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(name.to_owned()),
            optional: Some(true),
            // The mover runs as whoever owns the workload's files and sets no fsGroup, so "other" must be able to read;
            // nobody else is in the pod.
            default_mode: Some(0o444),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn affinity(place: &Place) -> Option<Affinity> {
    let node_affinity = match &place.node {
        Some(node) => Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: vec![NodeSelectorTerm {
                    match_fields: Some(vec![NodeSelectorRequirement {
                        key: "metadata.name".to_owned(),
                        operator: "In".to_owned(),
                        values: Some(vec![node.clone()]),
                    }]),
                    match_expressions: None,
                }],
            }),
            preferred_during_scheduling_ignored_during_execution: None,
        }),
        None => place.affinity.as_ref().and_then(|affinity| affinity.node_affinity.clone()),
    };
    node_affinity.map(|node_affinity| Affinity { node_affinity: Some(node_affinity), ..Affinity::default() })
}

#[cfg(test)]
mod tests;
