//! ServiceAccounts of movers that talk to the Kubernetes API: one a policy or run and purpose, bound to one ClusterRole of the chart and, by an
//! admission policy, to nothing else.

use std::collections::BTreeMap;

use crds::reference::{MANAGED_BY, MANAGED_BY_LABEL};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
use kube::{Api, Resource, ResourceExt};
use plan::effect::Account;

use crate::context::Context;
use crate::error::Error;
use crate::execute::{child, ensure};

/// Makes the account and its binding unless they exist.
///
/// # Errors
/// When the API server refuses.
pub async fn ensure_account<K>(ctx: &Context, owner: &K, account: &Account) -> Result<(), Error>
where
    K: Resource<DynamicType = ()>,
{
    let (namespace, Account { name, role }) = (owner.namespace().unwrap_or_default(), account);
    let labels = BTreeMap::from([(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned())]);
    let account = ServiceAccount {
        metadata: child(owner, name, labels.clone())?,
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    ensure(&Api::namespaced(ctx.client.clone(), &namespace), &account, "ServiceAccount").await?;
    let binding = RoleBinding {
        metadata: child(owner, name, labels)?,
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: (*role).to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: name.clone(),
            namespace: Some(namespace.clone()),
            api_group: None,
        }]),
    };
    ensure(&Api::namespaced(ctx.client.clone(), &namespace), &binding, "RoleBinding").await?;
    Ok(())
}
