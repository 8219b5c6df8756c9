//! What a run has to know to replace credentials: who reads them, and which CronJobs do it at a provider. Decides nothing, and reads no Secret.

use std::collections::{BTreeMap, BTreeSet};

use crds::run::CredentialRotation;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use plan::backup::objects::secrets_of;
use plan::recovery::seen::Component;

use super::isolation;

/// Most pods that are named of one Secret.
const NAMED: usize = 16;

/// Pods that belong to no component and read a Secret that is replaced, by its name.
pub(super) fn readers(
    pods: &[Pod],
    components: &[Component],
    rotations: &[CredentialRotation],
) -> BTreeMap<String, Vec<String>> {
    let replaced: BTreeSet<&String> = rotations.iter().map(|rotation| &rotation.secret_ref.name).collect();
    let mut readers = BTreeMap::<String, Vec<String>>::new();
    for pod in pods.iter().filter(|pod| isolation::runs(pod)) {
        if components.iter().any(|component| isolation::belongs(pod, component)) {
            continue;
        }
        let read = pod.spec.as_ref().map(secrets_of).unwrap_or_default();
        for secret in read.into_iter().filter(|secret| replaced.contains(secret)) {
            let named = readers.entry(secret).or_default();
            if named.len() < NAMED {
                named.push(pod.name_any());
            }
        }
    }
    readers
}
