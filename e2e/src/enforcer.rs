//! A small enforcer of NetworkPolicies, which the local cluster's network has none of: nftables in each node's network, made anew whenever a pod or a
//! policy of the namespace, or of a sandbox of it, changes. It knows as much of NetworkPolicies as the stories and what they test need, and fails at anything else. Replies go
//! where they are wanted; a connection that was open before is cut off with the others.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::stage::Stage;

/// Enforces until it is stopped, or dropped.
pub struct Enforcer {
    task: JoinHandle<Result<()>>,
    table: String,
}

impl Enforcer {
    /// One for the namespace of a story and its sandboxes. It is in force when this returns.
    pub async fn start(stage: &Stage) -> Result<Self> {
        let table = format!("e2e-{}", stage.place.token);
        let (pods, policies): (Api<Pod>, Api<NetworkPolicy>) =
            (Api::all(stage.place.client.clone()), Api::all(stage.place.client.clone()));
        let place = stage.namespace.clone();
        enforce(&table, &place, &pods, &policies).await?;
        let of = table.clone();
        let task = tokio::spawn(async move {
            let changed = futures::stream::select(
                changes(pods.clone(), place.clone()).boxed(),
                changes(policies.clone(), place.clone()).boxed(),
            );
            let mut changed = std::pin::pin!(changed);
            while changed.next().await.is_some() {
                enforce(&of, &place, &pods, &policies).await?;
            }
            Ok(())
        });
        Ok(Self { task, table })
    }

    /// Stops; a failure of its own is the story's.
    pub async fn stop(self) -> Result<()> {
        ensure!(!self.task.is_finished(), "the enforcer ended before the story");
        self.task.abort();
        for node in nodes()? {
            load(&node, &format!("table inet {0} {{}}\ndelete table inet {0}\n", self.table)).await?;
        }
        Ok(())
    }
}

impl Drop for Enforcer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where packets pass: the network of this process is node1's, and the others lie beside the kubeconfig.
fn nodes() -> Result<Vec<Option<PathBuf>>> {
    let kubeconfig = env::var("KUBECONFIG").context("KUBECONFIG is not set")?;
    let folder = Path::new(&kubeconfig).parent().context("KUBECONFIG lies nowhere")?;
    let mut nodes = vec![None];
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let is_another = name.to_str().is_some_and(|name| name.starts_with("netns-node"));
        if is_another && name != "netns-node1" {
            nodes.push(Some(folder.join(name)));
        }
    }
    Ok(nodes)
}

/// Has nft read these rules, in the network of a node.
async fn load(node: &Option<PathBuf>, rules: &str) -> Result<()> {
    let mut command = match node {
        None => Command::new("nft"),
        Some(path) => {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={}", path.display())).args(["--", "nft"]);
            command
        }
    };
    command.args(["--file", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().context("nft can't be started")?;
    child.stdin.take().context("no way to nft")?.write_all(rules.as_bytes()).await?;
    let done = child.wait_with_output().await?;
    ensure!(done.status.success(), "nft: {}\n{rules}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// One after each change of an object that concerns a namespace or its sandboxes.
fn changes<K>(api: Api<K>, place: String) -> impl futures::Stream<Item = ()> + Send + 'static
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    let objects = watcher::watcher(api, watcher::Config::default()).default_backoff().touched_objects();
    objects.filter_map(move |object| {
        let concerned = object.map_or(true, |object| is_of(&object, &place));
        futures::future::ready(concerned.then_some(()))
    })
}

/// Whether an object is in this namespace, or in a sandbox of it.
fn is_of<K: kube::Resource>(object: &K, place: &str) -> bool {
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    namespace == place || namespace.starts_with(&format!("{place}-drill-"))
}

async fn enforce(table: &str, place: &str, pods: &Api<Pod>, policies: &Api<NetworkPolicy>) -> Result<()> {
    let everything = ListParams::default();
    let (mut pods, mut policies) = tokio::try_join!(pods.list(&everything), policies.list(&everything))?;
    pods.items.retain(|pod| is_of(pod, place));
    policies.items.retain(|policy| is_of(policy, place));
    let rules = rules(table, &pods.items, &policies.items)?;
    for node in nodes()? {
        load(&node, &rules).await?;
    }
    Ok(())
}

/// The rules for these pods: what comes from a node itself passes, as the kubelet's probes must.
fn rules(table: &str, pods: &[Pod], policies: &[NetworkPolicy]) -> Result<String> {
    let mut text = format!("table inet {table} {{}}\nflush table inet {table}\ntable inet {table} {{\n");
    text.push_str("  chain verdict {\n    ct direction reply accept\n    ip saddr 198.18.255.0/24 accept\n");
    for pod in pods {
        let Some(ip) = address(pod) else { continue };
        let mut selecting = Vec::new();
        for policy in policies {
            let spec = policy.spec.as_ref().context("a NetworkPolicy without a spec")?;
            if policy.namespace() == pod.namespace() && selects(spec.pod_selector.as_ref(), pod)? {
                selecting.push(spec);
            }
        }
        let binds = |kind: &str| selecting.iter().any(|spec| types(spec).contains(kind));
        let (mut out, mut into) = (String::new(), String::new());
        for spec in &selecting {
            for rule in spec.egress.iter().flatten() {
                allow(&mut out, pod, ("saddr", "daddr"), rule.to.as_deref(), rule.ports.as_deref(), pods)?;
            }
            for rule in spec.ingress.iter().flatten() {
                allow(&mut into, pod, ("daddr", "saddr"), rule.from.as_deref(), rule.ports.as_deref(), pods)?;
            }
        }
        // Both ends have to agree, so what one of them allows is only not dropped.
        for (bound, ours, allowed) in [(binds("Egress"), "saddr", out), (binds("Ingress"), "daddr", into)] {
            if bound {
                let chain = format!("{}-{ours}", ip.replace('.', "-"));
                writeln!(text, "    ip {ours} {ip} jump pod-{chain}")?;
                text.insert_str(
                    text.find("  chain verdict").context("no chain")?,
                    &format!("  chain pod-{chain} {{\n{allowed}    drop\n  }}\n"),
                );
            }
        }
    }
    text.push_str("  }\n");
    // After the Services' addresses are translated; what is forwarded, and what is for a node itself.
    for hook in ["forward", "input"] {
        writeln!(text, "  chain {hook} {{ type filter hook {hook} priority 10; jump verdict; }}")?;
    }
    text.push_str("}\n");
    Ok(text)
}

fn address(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    status.pod_ip.as_deref().filter(|_| !ended)
}

fn types(spec: &k8s_openapi::api::networking::v1::NetworkPolicySpec) -> BTreeSet<String> {
    match &spec.policy_types {
        Some(types) => types.iter().cloned().collect(),
        None => {
            ["Ingress"].into_iter().chain(spec.egress.as_ref().map(|_| "Egress")).map(str::to_owned).collect()
        }
    }
}

fn selects(selector: Option<&LabelSelector>, pod: &Pod) -> Result<bool> {
    let Some(selector) = selector else { return Ok(true) };
    ensure!(selector.match_expressions.is_none(), "the enforcer knows no matchExpressions");
    let mut wanted = selector.match_labels.iter().flatten();
    Ok(wanted.all(|(key, value)| pod.labels().get(key) == Some(value)))
}

/// The namespace of the pods that a peer means, seen from one in `own`.
fn meant(peer: &NetworkPolicyPeer, own: Option<String>) -> Result<Option<String>> {
    let Some(selector) = &peer.namespace_selector else { return Ok(own) };
    let labels = selector.match_labels.as_ref();
    let named = labels.filter(|labels| labels.len() == 1 && selector.match_expressions.is_none());
    let name = named.and_then(|labels| labels.get("kubernetes.io/metadata.name"));
    ensure!(name.is_some(), "the enforcer knows namespaces by their name only");
    Ok(name.cloned())
}

/// What one rule lets through to or from `of`.
fn allow(
    text: &mut String,
    of: &Pod,
    (ours, theirs): (&str, &str),
    peers: Option<&[NetworkPolicyPeer]>,
    ports: Option<&[NetworkPolicyPort]>,
    pods: &[Pod],
) -> Result<()> {
    let Some(ip) = address(of) else { return Ok(()) };
    let mut others = vec![String::new()];
    if let Some(peers) = peers {
        others.clear();
        for peer in peers {
            ensure!(peer.ip_block.is_none(), "the enforcer knows pods only");
            let namespace = meant(peer, of.namespace())?;
            for pod in pods.iter().filter(|pod| pod.namespace() == namespace) {
                if let (Some(other), true) = (address(pod), selects(peer.pod_selector.as_ref(), pod)?) {
                    others.push(format!("ip {theirs} {other} "));
                }
            }
        }
    }
    let ports: Vec<String> = match ports {
        None => vec![String::new()],
        Some(ports) => ports
            .iter()
            .map(|port| match &port.port {
                Some(IntOrString::Int(number)) => {
                    let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
                    Ok(format!("{protocol} dport {number} "))
                }
                Some(IntOrString::String(_)) | None => bail!("the enforcer knows numbers of ports only"),
            })
            .collect::<Result<_>>()?,
    };
    for other in &others {
        for port in &ports {
            writeln!(text, "    ip {ours} {ip} {other}{port}return")?;
        }
    }
    Ok(())
}
