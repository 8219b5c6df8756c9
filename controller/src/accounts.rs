//! ServiceAccounts of movers that talk to the Kubernetes API: one a policy or run and purpose, bound to one ClusterRole of the chart and, by an
//! admission policy, to nothing else. And the right of the controller itself that it has for a run only.

use std::collections::BTreeMap;

use crds::reference::{AUDIT_ROLE, COLLECT_ROLE, ISOLATE_ROLE, MANAGED_BY, MANAGED_BY_LABEL};
use crds::{RecoveryRun, names};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
use kube::api::ObjectMeta;
use kube::{Api, Resource, ResourceExt};
use plan::effect::{Account, Bound};

use crate::context::Context;
use crate::error::Error;
use crate::execute::{child, ensure};
use crate::observe;

/// The controller's own ServiceAccount: the chart gives it no other name, and its admission policies know it by this one.
pub const OWN_ACCOUNT: &str = "holdfast-controller";

/// Makes the account, and its binding where that goes with the owner, unless they exist.
///
/// # Errors
/// When the API server refuses.
pub async fn ensure_account<K>(ctx: &Context, owner: &K, account: &Account) -> Result<(), Error>
where
    K: Resource<DynamicType = ()>,
{
    let namespace = owner.namespace().unwrap_or_default();
    let object = ServiceAccount {
        metadata: child(owner, &account.name, labels())?,
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    ensure(&Api::namespaced(ctx.client.clone(), &namespace), &object, "ServiceAccount").await?;
    match account.bound {
        Bound::WithItsOwner => bind(ctx, owner, &account.name, account).await,
        Bound::WithItsJob => Ok(()),
    }
}

/// Binds an account for as long as `job` exists.
///
/// # Errors
/// When the API server refuses.
pub async fn bind_for(ctx: &Context, job: &Job, account: &Account) -> Result<(), Error> {
    match account.bound {
        Bound::WithItsOwner => Ok(()),
        Bound::WithItsJob => bind(ctx, job, &of_job(account.role, job), account).await,
    }
}

/// The binding of an account for the time of a Job.
fn of_job(role: &str, job: &Job) -> String {
    let uid = job.uid().unwrap_or_default();
    if role == AUDIT_ROLE { names::auditor(&uid) } else { names::collector(&uid) }
}

async fn bind<K>(ctx: &Context, owner: &K, name: &str, account: &Account) -> Result<(), Error>
where
    K: Resource<DynamicType = ()>,
{
    let namespace = owner.namespace().unwrap_or_default();
    let binding = binding(child(owner, name, labels())?, account.role, (&account.name, &namespace));
    ensure(&Api::namespaced(ctx.client.clone(), &namespace), &binding, "RoleBinding").await.map(drop)
}

/// A binding of a ServiceAccount, given with its namespace, to a ClusterRole of the chart.
pub(crate) fn binding(metadata: ObjectMeta, role: &str, (account, of): (&str, &str)) -> RoleBinding {
    RoleBinding {
        metadata,
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: role.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: account.to_owned(),
            namespace: Some(of.to_owned()),
            api_group: None,
        }]),
    }
}

/// Whether a Job has all that it is made with: its account is bound, where that goes with the Job.
///
/// # Errors
/// When the API server can't be read.
pub async fn is_complete(ctx: &Context, job: &Job) -> Result<bool, Error> {
    let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let account = pod.and_then(|pod| pod.service_account_name.as_deref()).unwrap_or_default();
    let roles = [(names::COLLECTOR, COLLECT_ROLE), (names::AUDITOR, AUDIT_ROLE)];
    let Some((_, role)) = roles.into_iter().find(|(prefix, _)| account.starts_with(prefix)) else {
        return Ok(true);
    };
    let name = of_job(role, job);
    let found: Option<RoleBinding> = observe::get(ctx, &job.namespace().unwrap_or_default(), &name).await?;
    Ok(found.is_some_and(|binding| binding.role_ref.name == role))
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned())])
}

/// Gives the controller itself the right on the NetworkPolicies of the run's namespace. The binding goes with the run at the latest.
///
/// # Errors
/// When the API server refuses.
pub async fn grant_isolation(ctx: &Context, run: &RecoveryRun, name: &str) -> Result<(), Error> {
    let metadata = child(run, name, labels())?;
    let binding = binding(metadata, ISOLATE_ROLE, (OWN_ACCOUNT, &ctx.namespace));
    let bindings = Api::namespaced(ctx.client.clone(), &run.namespace().unwrap_or_default());
    ensure(&bindings, &binding, "RoleBinding").await.map(drop)
}
