//! The sandbox of a rehearsal: what is seen of it, and how it is made and removed. Decides nothing.

use std::collections::BTreeMap;

use crds::reference::{MANAGED_BY, MANAGED_BY_LABEL, RECREATE_ROLE, RUN_LABEL, SANDBOX_LABEL, SANDBOX_ROLE};
use crds::{RecoveryRun, names};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, ResourceQuota, ResourceQuotaSpec, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{ListParams, ObjectMeta};
use kube::{Api, ResourceExt};
use plan::recovery::seen::{NamespaceSeen, RunSeen, SandboxSeen};

use super::read;
use crate::accounts;
use crate::context::Context;
use crate::error::Error;
use crate::execute::{delete_of_uid, ensure};
use crate::observe;

/// What a sandbox may hold at most, and what it holds none of: by the quota the API server refuses it whoever asks.
const QUOTA: [(&str, &str); 8] = [
    ("pods", "256"),
    ("persistentvolumeclaims", "256"),
    ("services", "256"),
    ("services.loadbalancers", "0"),
    ("services.nodeports", "0"),
    ("count/cronjobs.batch", "0"),
    ("count/ingresses.networking.k8s.io", "0"),
    ("count/jobs.batch", "8"),
];
/// Name of the quota.
const QUOTA_NAME: &str = "holdfast-sandbox";

/// Looks. Nothing where the run has none.
///
/// # Errors
/// When the API server can't be read.
pub(super) async fn look(
    ctx: &Context,
    run: &RunSeen,
    production: &[Service],
    runs: &[RecoveryRun],
) -> Result<SandboxSeen, Error> {
    if run.spec.sandbox().is_none() {
        return Ok(SandboxSeen::default());
    }
    let name = names::sandbox(&run.namespace, &run.uid);
    let namespaces: Api<Namespace> = Api::all(ctx.client.clone());
    let found = namespaces.get_opt(&name).await.map_err(Error::api("get", format!("Namespace/{name}")))?;
    let mut seen = SandboxSeen {
        namespace: found.map(|found| NamespaceSeen {
            uid: found.uid().unwrap_or_default(),
            ours: found.labels().get(SANDBOX_LABEL) == Some(&run.uid),
            deleting: found.metadata.deletion_timestamp.is_some(),
        }),
        production: production.iter().map(read::ports).collect(),
        ..SandboxSeen::default()
    };
    if run.status.sandbox.as_ref().is_none_or(|known| known.uid.is_none()) {
        seen.leftovers = leftovers(&namespaces, &run.namespace, runs).await?;
    }
    if seen.namespace.is_some() {
        // The last thing that it is given.
        let binding = observe::get::<RoleBinding>(ctx, &name, &names::recreator(&run.uid)).await?;
        seen.furnished = binding.is_some();
        let policies: Vec<NetworkPolicy> = observe::list(ctx, &name, &ListParams::default()).await?;
        seen.denies = policies.iter().map(ResourceExt::name_any).collect();
    }
    Ok(seen)
}

/// Sandboxes that runs of `namespace` have left which do not exist any more.
async fn leftovers(
    namespaces: &Api<Namespace>,
    namespace: &str,
    runs: &[RecoveryRun],
) -> Result<Vec<(String, String)>, Error> {
    let sandboxes = ListParams::default().labels(SANDBOX_LABEL);
    let found = namespaces.list(&sandboxes).await.map_err(Error::api("list", "namespaces of sandboxes"))?;
    let is_left = |found: &&Namespace| {
        let of = found.annotations().get(RUN_LABEL).and_then(|run| run.split_once('/'));
        let run = found.labels().get(SANDBOX_LABEL);
        of.is_some_and(|(of, _)| of == namespace)
            && found.metadata.deletion_timestamp.is_none()
            && runs.iter().all(|known| known.uid().as_ref() != run)
    };
    Ok(found
        .items
        .iter()
        .filter(is_left)
        .map(|left| (left.name_any(), left.uid().unwrap_or_default()))
        .collect())
}

fn labels(uid: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (SANDBOX_LABEL.to_owned(), uid.to_owned()),
        (MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned()),
    ])
}

/// Makes the namespace. In it no pod gets a hold on its node.
///
/// # Errors
/// When the API server refuses.
pub(super) async fn create(ctx: &Context, run: &RecoveryRun, name: &str) -> Result<(), Error> {
    let mut labels = labels(&run.uid().unwrap_or_default());
    labels.insert("pod-security.kubernetes.io/enforce".to_owned(), "baseline".to_owned());
    let of = format!("{}/{}", run.namespace().unwrap_or_default(), run.name_any());
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            // A label would not hold every name.
            annotations: Some(BTreeMap::from([(RUN_LABEL.to_owned(), of)])),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    ensure(&Api::all(ctx.client.clone()), &namespace, "Namespace").await.map(drop)
}

/// Gives the sandbox its quota, the controller its rights in it, and the mover that creates objects in it that of doing so.
///
/// # Errors
/// When the API server refuses.
pub(super) async fn furnish(ctx: &Context, run: &RecoveryRun, name: &str) -> Result<(), Error> {
    let uid = run.uid().unwrap_or_default();
    let bindings: Api<RoleBinding> = Api::namespaced(ctx.client.clone(), name);
    let own = metadata(&uid, name, &names::sandboxer(&uid));
    let own = accounts::binding(own, SANDBOX_ROLE, (accounts::OWN_ACCOUNT, &ctx.namespace));
    ensure(&bindings, &own, "RoleBinding").await?;
    let quota = ResourceQuota {
        metadata: metadata(&uid, name, QUOTA_NAME),
        spec: Some(ResourceQuotaSpec {
            hard: Some(QUOTA.map(|(what, most)| (what.to_owned(), Quantity(most.to_owned()))).into()),
            ..ResourceQuotaSpec::default()
        }),
        status: None,
    };
    ensure(&Api::namespaced(ctx.client.clone(), name), &quota, "ResourceQuota").await?;
    let recreator = names::recreator(&uid);
    let namespace = run.namespace().unwrap_or_default();
    let movers = accounts::binding(metadata(&uid, name, &recreator), RECREATE_ROLE, (&recreator, &namespace));
    ensure(&bindings, &movers, "RoleBinding").await.map(drop)
}

fn metadata(uid: &str, namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(labels(uid)),
        ..ObjectMeta::default()
    }
}

/// Deletes the namespace, and with it all that is in it.
///
/// # Errors
/// When the API server refuses.
pub(super) async fn delete(ctx: &Context, name: &str, uid: &str) -> Result<(), Error> {
    let namespaces: Api<Namespace> = Api::all(ctx.client.clone());
    delete_of_uid(&namespaces, (name, Some(uid.to_owned())), "Namespace", None).await.map(drop)
}

/// The Jobs of a run in its sandbox.
///
/// # Errors
/// When the API server can't be read.
pub(super) async fn jobs(ctx: &Context, run: &RunSeen) -> Result<Vec<Job>, Error> {
    let own = ListParams::default().labels(&format!("{SANDBOX_LABEL}={}", run.uid));
    observe::list(ctx, &names::sandbox(&run.namespace, &run.uid), &own).await
}
