//! RecoveryRepository (`hfrepo`): where points are kept.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;
use crate::cron::Schedule;
use crate::names;
use crate::reference::NameRef;

mod coverage;
mod status;

pub use coverage::{Coverage, CoveredKind, MOST_NAMED, Uncovered, UncoveredCount};
pub use status::*;

/// Where recovery points are kept: an S3 bucket and prefix or a volume, its key, and who may write. Used from its own namespace only.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "holdfast.dev",
    version = "v1alpha1",
    kind = "RecoveryRepository",
    doc = "Where recovery points are kept: an S3 bucket and prefix or a volume, its key, and who may write. Used from its own namespace only.",
    plural = "recoveryrepositories",
    shortname = "hfrepo",
    category = "holdfast",
    namespaced,
    status = "RecoveryRepositoryStatus",
    derive = "PartialEq",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.mode"),
    printcolumn(name = "Lock", type_ = "string", json_path = ".status.lock"),
    printcolumn(name = "Points", type_ = "integer", json_path = ".status.usage.points"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.usage.size"),
    printcolumn(name = "Bucket", type_ = "string", json_path = ".spec.s3.bucket", priority = 1),
    printcolumn(name = "Prefix", type_ = "string", json_path = ".spec.s3.prefix", priority = 1),
    printcolumn(name = "Claim", type_ = "string", json_path = ".spec.volume.claimRef.name", priority = 1),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.s3) != has(self.volume)",
     "message": "set exactly one of s3, volume: where points are kept"},
    {"rule": "has(self.s3) == has(oldSelf.s3)",
     "message": "s3 and volume can't be exchanged, points would be out of reach; make a second RecoveryRepository"},
    {"rule": "!has(self.volume) || !has(self.objectLock) || self.objectLock.mode == 'None'", "fieldPath": ".objectLock.mode",
     "message": "a volume has no Object Lock; use s3 with a bucket that was made with it, or leave out objectLock"},
]))]
pub struct RecoveryRepositorySpec {
    /// The S3 bucket and prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3>,
    /// Or a volume of this namespace: a disk of one's own, for the day when no bucket can be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumePlace>,
    /// The key that everything is encrypted with before it leaves the cluster. There is no default key.
    pub encryption: Encryption,
    /// How long what a point needs can't be deleted, by the Object Lock of the bucket; omitted: nothing is locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_lock: Option<ObjectLock>,
    /// ReadWrite; or ReadOnly: points can be restored but no capture is taken and nothing is removed; or Sealed: besides evidence of an
    /// incident nothing is captured, nothing is removed and no key is added. A seal in the bucket seals it whatever is written here.
    #[serde(default)]
    pub mode: RepositoryMode,
    /// When what no policy keeps is removed.
    #[serde(default)]
    pub maintenance: Maintenance,
}

/// When a repository is tidied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Maintenance {
    /// When the points that no retention rule keeps are removed, and what only they needed; omitted: every night.
    pub schedule: Schedule,
}

impl Default for Maintenance {
    fn default() -> Self {
        Self {
            schedule: Schedule {
                cron: "17 3 * * *".to_owned(),
                time_zone: "UTC".to_owned(),
                starting_deadline: None,
                jitter: Some(Span::from_mins(30)),
            },
        }
    }
}

/// Where the points of a repository are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PlaceRef<'a> {
    /// In a bucket.
    S3(&'a S3),
    /// On the volume of this claim.
    Volume(&'a str),
}

impl RecoveryRepositorySpec {
    /// Where points are kept.
    #[must_use]
    pub fn place(&self) -> PlaceRef<'_> {
        match (&self.s3, &self.volume) {
            (Some(s3), _) => PlaceRef::S3(s3),
            // The schema wants exactly one of them: an empty name is of no claim.
            (None, volume) => {
                PlaceRef::Volume(volume.as_ref().map_or("", |volume| volume.claim_ref.name.as_str()))
            }
        }
    }

    /// The lock that captures ask for.
    #[must_use]
    pub fn lock(&self) -> Option<Lock> {
        let ObjectLock { mode, retain_for } = self.object_lock.as_ref()?;
        Some(Lock { strength: mode.strength()?, retain_for: (*retain_for)? })
    }

    /// Hash of what a probe can test: all but the user's word about a key, which is judged by what the last probe found.
    #[must_use]
    pub fn probed_hash(&self) -> String {
        let mut probed = Self { maintenance: Maintenance::default(), ..self.clone() };
        if let Some(escrow) = &mut probed.encryption.escrow {
            escrow.acknowledged = None;
        }
        probed.encryption.escrow = probed.encryption.escrow.filter(|escrow| escrow.key_secret_ref.is_some());
        let value = serde_json::to_value(&probed).expect("a spec holds only strings");
        // serde_json's Map is ordered by key, so equal specs print equal bytes.
        names::short_hash(&[&value.to_string()])
    }
}

/// The lock of a bucket that was made with Object Lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.mode == 'None' || has(self.retainFor)", "fieldPath": ".retainFor",
     "messageExpression": "'required with mode ' + self.mode + ': say for how long what a point needs is kept, as in 720h'"},
    {"rule": "self.mode != 'None' || !has(self.retainFor)", "fieldPath": ".mode",
     "message": "None locks nothing for retainFor; write Governance (those with a special right may delete) or Compliance (nobody may)"},
]))]
pub struct ObjectLock {
    /// None, Governance (whoever has s3:BypassGovernanceRetention may still delete) or Compliance (nobody may, not even the
    /// owner of the account, and it can't be taken back).
    #[serde(default)]
    pub mode: LockMode,
    /// How long everything a point needs is kept, from its capture on, e.g. 720h. A shorter time given later shortens no
    /// lock that there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_for: Option<Span>,
}

/// Whether objects are locked, and who may lift it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LockMode {
    /// Nothing is locked.
    #[default]
    None,
    /// Those with a special right may lift it.
    Governance,
    /// Nobody may.
    Compliance,
}

impl LockMode {
    fn strength(self) -> Option<Strength> {
        match self {
            Self::None => None,
            Self::Governance => Some(Strength::Governance),
            Self::Compliance => Some(Strength::Compliance),
        }
    }
}

/// Who may lift a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strength {
    /// Those with a special right.
    Governance,
    /// Nobody.
    Compliance,
}

/// A lock that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lock {
    /// Who may lift it.
    pub strength: Strength,
    /// How long everything a point needs is kept, from its capture on.
    pub retain_for: Span,
}

impl std::fmt::Display for Lock {
    /// `Compliance/720h`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}/{}", self.strength, self.retain_for)
    }
}

/// A volume of this namespace. It is mounted by every mover of the repository: with access mode ReadWriteMany wherever they run, with ReadWriteOnce on
/// one node at a time. Nobody else needs to mount it; whoever does can remove what lies there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumePlace {
    /// The claim. It must exist; it is never created.
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "self == oldSelf", "message": "can't be changed, points would be out of reach; make a second RecoveryRepository"}]))]
    pub claim_ref: NameRef,
}

/// An S3 bucket and prefix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.bucket == oldSelf.bucket", "fieldPath": ".bucket",
     "message": "can't be changed, points would be out of reach; make a second RecoveryRepository"},
    {"rule": "has(self.prefix) == has(oldSelf.prefix) && (!has(self.prefix) || self.prefix == oldSelf.prefix)", "fieldPath": ".prefix",
     "message": "can't be changed, points would be out of reach; make a second RecoveryRepository"},
]))]
pub struct S3 {
    /// Endpoint URL, https unless on a network of your own; omitted: AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = [
        {"rule": "self.startsWith('https://') || self.startsWith('http://')",
         "messageExpression": "'\"' + self + '\" is no URL; write it with its scheme: \"https://' + self + '\"'"}]))]
    pub endpoint: Option<String>,
    /// Region.
    #[serde(default = "default_region")]
    #[schemars(length(min = 1, max = 64))]
    pub region: String,
    /// Bucket. It must exist; it is never created.
    #[schemars(length(min = 3, max = 63))]
    pub bucket: String,
    /// Prefix of every object, ending in a slash. Two clusters must not share one.
    #[serde(default)]
    #[schemars(length(max = 256), extend("x-kubernetes-validations" = [
        {"rule": "self == '' || (self.endsWith('/') && !self.startsWith('/') && !self.contains('//'))",
         "message": "write it as a folder: \"arxiv/\", ending in a slash and not beginning with one"}]))]
    pub prefix: String,
    /// Whether the bucket stands in the path (most stores of one's own) or in the host name (AWS).
    #[serde(default)]
    pub addressing: Addressing,
    /// A ConfigMap whose key `ca.crt` holds the certificate authorities of the endpoint, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<NameRef>,
    /// Credentials.
    pub credentials: Credentials,
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

/// Where the bucket's name stands in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Addressing {
    /// `https://endpoint/bucket/key`.
    #[default]
    Path,
    /// `https://bucket.endpoint/key`.
    VirtualHost,
}

/// Credentials of a repository, in Secrets of the same namespace with the keys `AWS_ACCESS_KEY_ID`,
/// `AWS_SECRET_ACCESS_KEY` and optionally `AWS_SESSION_TOKEN`. The controller never reads them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// What captures and recoveries use: needs no right to delete.
    pub writer: SecretCredential,
    /// What alone may delete; omitted: the writer, which then needs that right for maintenance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<SecretCredential>,
}

/// Credentials from a Secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretCredential {
    /// The Secret.
    pub secret_ref: NameRef,
}

/// The key of a repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Encryption {
    /// The Secret whose key `password` opens the repository.
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "self == oldSelf", "message": "can't be changed, points would be out of reach; make a second RecoveryRepository"}]))]
    pub key_secret_ref: NameRef,
    /// How the points stay readable when this cluster and the key in it are lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escrow: Option<Escrow>,
}

/// One of: a second key that opens the repository, or the user's word that the key is kept outside this cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.acknowledged) != has(self.keySecretRef)", "message": "set exactly one of acknowledged, keySecretRef"}]))]
pub struct Escrow {
    /// The key is kept outside this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
    /// A Secret whose key `password` opens the repository as well; it may be removed from the cluster afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_secret_ref: Option<NameRef>,
}

/// The user's word that one particular key is kept outside this cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Acknowledgement {
    /// Fingerprint of that key as status.keyFingerprint shows it, e.g. 7c1f-09aa-52d3.
    #[schemars(length(min = 14, max = 14), regex(pattern = r"^[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}$"))]
    pub fingerprint: String,
}

/// What may be done with a repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RepositoryMode {
    /// Captures and recoveries.
    #[default]
    ReadWrite,
    /// Recoveries only.
    ReadOnly,
    /// Recoveries, and captures of evidence: nothing is removed, no key is added, nothing else is captured.
    Sealed,
}

impl RepositoryMode {
    /// The word as users read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadWrite => "ReadWrite",
            Self::ReadOnly => "ReadOnly",
            Self::Sealed => "Sealed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_word_about_a_key_is_nothing_to_probe_and_all_else_is() {
        let spec = |escrow: serde_json::Value, endpoint: &str, mode: &str| -> String {
            let spec: RecoveryRepositorySpec = serde_json::from_value(serde_json::json!({
                "s3": {"endpoint": endpoint, "bucket": "yourorg-dr", "credentials": {"writer": {"secretRef": {"name": "s3"}}}},
                "encryption": {"keySecretRef": {"name": "key"}, "escrow": escrow}, "mode": mode
            }))
            .expect("a spec");
            spec.probed_hash()
        };
        let (null, word) =
            (serde_json::Value::Null, |text| serde_json::json!({"acknowledged": {"fingerprint": text}}));
        let bare = spec(null.clone(), "https://a", "ReadWrite");
        assert_eq!(bare, spec(word("7c1f-09aa-52d3"), "https://a", "ReadWrite"));
        assert_eq!(bare, spec(word("aaaa-bbbb-cccc"), "https://a", "ReadWrite"));
        assert_ne!(bare, spec(null.clone(), "https://b", "ReadWrite"));
        assert_ne!(bare, spec(null, "https://a", "ReadOnly"));
        assert_ne!(
            bare,
            spec(serde_json::json!({"keySecretRef": {"name": "second"}}), "https://a", "ReadWrite")
        );
    }
}
