//! The CustomResourceDefinitions as YAML. `crds/yaml/` and the chart hold what this prints; a test fails when they differ.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResourceExt, ResourceExt};
use sha2::{Digest, Sha256};

use crate::{BackupPolicy, DrDrill, RecoveryPoint, RecoveryRepository, RecoveryRun};

/// Annotation on every definition: a digest of its spec. By it the chart knows definitions that an earlier release left
/// behind (they are kept, because deleting them would delete every object) from those of another version.
pub const DIGEST_ANNOTATION: &str = "holdfast.dev/schema-digest";

/// File name and content of every CustomResourceDefinition, in the order of the design's table.
///
/// # Errors
/// When a definition can't be written as YAML, which would be a defect of the serialiser.
pub fn definitions() -> Result<Vec<(String, String)>, serde_saphyr::ser_error::Error> {
    [RecoveryRepository::crd(), BackupPolicy::crd(), RecoveryPoint::crd(), RecoveryRun::crd(), DrDrill::crd()]
        .into_iter()
        .map(|mut crd| {
            let digest = digest(&crd);
            crd.annotations_mut().insert(DIGEST_ANNOTATION.to_owned(), digest);
            let name = format!("{}.yaml", crd.spec.names.plural);
            Ok((name, serde_saphyr::to_string(&crd)?))
        })
        .collect()
}

/// The first 16 hex digits of SHA-256 over the spec.
fn digest(crd: &CustomResourceDefinition) -> String {
    let spec = serde_json::to_string(&crd.spec).expect("a definition holds only strings, numbers and lists");
    Sha256::digest(spec).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::Path;

    #[test]
    fn what_is_committed_is_what_is_generated() {
        let generated: BTreeMap<String, String> = definitions().unwrap().into_iter().collect();
        for place in ["yaml", "../charts/holdfast/files/crds"] {
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
            let committed: BTreeMap<String, String> = std::fs::read_dir(&directory)
                .unwrap()
                .map(|entry| entry.unwrap())
                .map(|entry| {
                    let name = entry.file_name().into_string().unwrap();
                    (name, std::fs::read_to_string(entry.path()).unwrap())
                })
                .collect();
            let names = |set: &BTreeMap<String, String>| set.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&committed), names(&generated), "{place}: run `make generate` and commit");
            for (name, yaml) in &generated {
                assert!(committed[name] == *yaml, "{place}/{name} is stale: run `make generate` and commit");
            }
        }
    }
}
