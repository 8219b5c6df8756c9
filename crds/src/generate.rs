//! The CustomResourceDefinitions as YAML. `crds/yaml/` holds what this prints; a test fails when they differ.

use kube::CustomResourceExt;

use crate::{BackupPolicy, RecoveryPoint, RecoveryRepository, RecoveryRun};

/// File name and content of every CustomResourceDefinition, in the order of the design's table.
///
/// # Errors
/// When a definition can't be written as YAML, which would be a defect of the serialiser.
pub fn definitions() -> Result<Vec<(String, String)>, serde_saphyr::ser_error::Error> {
    [RecoveryRepository::crd(), BackupPolicy::crd(), RecoveryPoint::crd(), RecoveryRun::crd()]
        .into_iter()
        .map(|crd| {
            let name = format!("{}.yaml", crd.spec.names.plural);
            Ok((name, serde_saphyr::to_string(&crd)?))
        })
        .collect()
}
