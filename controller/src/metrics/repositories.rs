//! Of each repository: whether it can be used, what it holds, and whether anything keeps its points from being removed.

use std::sync::Arc;

use crds::condition::is_true;
use crds::repository::RepositoryMode;
use crds::{BackupPolicy, RecoveryRepository};
use kube::ResourceExt;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::registry::{Registry, Unit};

use super::families::{Numbers, ObjectLabel, Word, label, numbers, put};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct HeldLabel {
    namespace: String,
    name: String,
    reason: Word,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    namespace: String,
    kind: Word,
}

pub(super) fn measure(
    registry: &mut Registry,
    repositories: &[Arc<RecoveryRepository>],
    policies: &[Arc<BackupPolicy>],
) {
    let up = numbers(registry, "repository_up", "Whether the repository is Ready");
    let points = numbers(registry, "repository_points", "Points in the repository, as far as known here");
    let bytes = Numbers::<ObjectLabel>::default();
    let help = "Bytes in the repository, as far as known here";
    registry.register_with_unit("repository_size", help, Unit::Bytes, bytes.clone());
    let held = numbers(
        registry,
        "repository_deletions_held",
        "Whether points that no rule keeps stay all the same, by reason",
    );
    let maintained =
        numbers(registry, "repository_maintenance_healthy", "Whether the last maintenance went well");
    let uncovered = numbers(
        registry,
        "namespace_uncovered",
        "Objects of a protected namespace that no policy covers, by kind",
    );
    for repository in repositories {
        let label = label(repository.as_ref());
        let status = repository.status.as_ref();
        let conditions = status.map_or(&[][..], |status| &status.conditions);
        put(&up, &label, is_true(conditions, "Ready"));
        if let Some(usage) = status.and_then(|status| status.usage.as_ref()) {
            put(&points, &label, usage.points);
            put(&bytes, &label, usage.bytes);
        }
        let known = crds::condition::get(conditions, "MaintenanceHealthy");
        if let Some(found) = known {
            put(&maintained, &label, found.status != "False");
        }
        // Several repositories of a namespace say the same, each when it looked last.
        for of in status.and_then(|status| status.coverage.as_ref()).iter().flat_map(|found| &found.counts) {
            let kind = Word(of.kind.as_str());
            put(&uncovered, &KindLabel { namespace: label.namespace.clone(), kind }, of.count);
        }
        let mode = status.and_then(|status| status.mode).unwrap_or(repository.spec.mode);
        let shrunken = policies.iter().any(|policy| {
            policy.namespace() == repository.namespace()
                && policy.spec.repository_ref.name == label.name
                && policy.status.as_ref().is_some_and(|s| is_true(&s.conditions, "AnomalyDetected"))
        });
        let reasons = [
            ("Sealed", mode == RepositoryMode::Sealed),
            ("ReadOnly", mode == RepositoryMode::ReadOnly),
            ("AnomalyDetected", shrunken),
        ];
        for (reason, holds) in reasons {
            let (namespace, name) = (label.namespace.clone(), label.name.clone());
            put(&held, &HeldLabel { namespace, name, reason: Word(reason) }, holds);
        }
    }
}
