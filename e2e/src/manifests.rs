//! The objects that a user writes: a ChromaDB as upstream ships it, Secrets, a RecoveryRepository, a BackupPolicy.

use serde_json::{Value, json};

use crate::place::{Identity, S3};

/// Name of the StatefulSet, its Service, its app label and its policy.
pub const CHROMADB: &str = "chromadb";
/// The claim of its only pod.
pub const CLAIM: &str = "data-chromadb-0";
/// Name of the repository.
pub const REPOSITORY: &str = "primary";

/// ChromaDB by upstream's defaults: as root, data in /data, one claim.
pub fn chromadb(image: &str) -> Vec<Value> {
    let labels = json!({"app": CHROMADB});
    vec![
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": CHROMADB},
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 8000, "targetPort": 8000}]}}),
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": CHROMADB}, "spec": {
            "serviceName": CHROMADB, "replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {
                "terminationGracePeriodSeconds": 10,
                "automountServiceAccountToken": false,
                "containers": [{
                    "name": CHROMADB, "image": image, "imagePullPolicy": "IfNotPresent",
                    "ports": [{"name": "http", "containerPort": 8000}],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    "readinessProbe": {"httpGet": {"path": "/api/v2/heartbeat", "port": 8000}, "periodSeconds": 1},
                }]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}],
        }}),
    ]
}

/// A Secret with the credentials of an S3 identity.
pub fn s3_secret(name: &str, identity: &Identity) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {
        "AWS_ACCESS_KEY_ID": identity.access_key, "AWS_SECRET_ACCESS_KEY": identity.secret_key}})
}

/// A Secret with a repository key.
pub fn key_secret(name: &str, password: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"password": password}})
}

/// A RecoveryRepository on `prefix`, which uses the Secrets `s3` and `repository-key`; without an escrow yet.
pub fn repository(name: &str, s3: &S3, prefix: &str) -> Value {
    json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRepository", "metadata": {"name": name}, "spec": {
        "s3": {"endpoint": s3.endpoint, "region": s3.region, "bucket": s3.bucket, "prefix": prefix,
            "credentials": {"writer": {"secretRef": {"name": "s3"}}}},
        "encryption": {"keySecretRef": {"name": "repository-key"}},
        // Only when a story asks for it: nobody plays for years.
        "maintenance": {"schedule": {"cron": "0 0 29 2 *"}}}})
}

/// A BackupPolicy for the ChromaDB, nothing in it that has a default.
pub fn policy(name: &str, repository: &str) -> Value {
    json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "BackupPolicy", "metadata": {"name": name}, "spec": {
        "component": {"chromaDB": {}, "workloads": [{"kind": "StatefulSet", "name": CHROMADB}]},
        "repositoryRef": {"name": repository}}})
}

/// A RecoveryRun after a corruption of the database.
pub fn run(name: &str, namespace: &str) -> Value {
    json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun", "metadata": {"name": name},
        "spec": {"scenario": "DatabaseCorruption", "target": {"inPlace": {"confirm": namespace}}}})
}
