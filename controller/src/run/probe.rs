//! Whether a fence holds, tried without creating anything: a dry run of a pod that mounts the fenced claim must be
//! refused, while the same pod with another claim is let through. Without the second half a quota or a pod security
//! level that refuses every pod would look like a fence.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, PersistentVolumeClaimVolumeSource, Pod, PodSecurityContext, PodSpec,
    ResourceRequirements, SeccompProfile, SecurityContext, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use plan::recovery::seen::Proof;

use crate::context::Context;
use crate::error::{Error, answer};

/// Tries the fence of every claim of `claims`.
///
/// # Errors
/// When the API server can't be asked.
pub(super) async fn prove(ctx: &Context, namespace: &str, claims: &[String]) -> Result<Proof, Error> {
    for claim in claims {
        if let Admission::Open = admitted(ctx, namespace, claim).await? {
            return Ok(Proof::Open(format!("a pod that mounts claim {claim} is let through")));
        }
        // The control: a claim of this name is never made.
        if let Admission::Refused(why) = admitted(ctx, namespace, &format!("{claim}-not-fenced")).await? {
            return Ok(Proof::Open(format!(
                "every pod with a claim is refused, not only one with {claim}: {why}"
            )));
        }
    }
    Ok(if claims.is_empty() { Proof::NotTried } else { Proof::Holds })
}

enum Admission {
    Open,
    Refused(String),
}

async fn admitted(ctx: &Context, namespace: &str, claim: &str) -> Result<Admission, Error> {
    let pods: Api<Pod> = Api::namespaced(ctx.client.clone(), namespace);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    match pods.create(&dry, &pod(namespace, claim)).await {
        Ok(_) => Ok(Admission::Open),
        Err(error) => match answer(&error) {
            Some(status) if matches!(status.code, 403 | 422) => {
                Ok(Admission::Refused(status.message.clone()))
            }
            _ => Err(Error::api("try a pod that mounts", format!("PersistentVolumeClaim/{claim}"))(error)),
        },
    }
}

/// A pod that the strictest pod security level and a quota let through.
fn pod(namespace: &str, claim: &str) -> Pod {
    let little = BTreeMap::from([
        ("cpu".to_owned(), Quantity("1m".to_owned())),
        ("memory".to_owned(), Quantity("1Mi".to_owned())),
    ]);
    Pod {
        metadata: ObjectMeta {
            name: Some("holdfast-fence-probe".to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            automount_service_account_token: Some(false),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(65532),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..SeccompProfile::default()
                }),
                ..PodSecurityContext::default()
            }),
            containers: vec![Container {
                name: "probe".to_owned(),
                image: Some("holdfast-fence-probe".to_owned()),
                resources: Some(ResourceRequirements {
                    requests: Some(little.clone()),
                    limits: Some(little),
                    ..ResourceRequirements::default()
                }),
                security_context: Some(SecurityContext {
                    allow_privilege_escalation: Some(false),
                    capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
                    ..SecurityContext::default()
                }),
                ..Container::default()
            }],
            volumes: Some(vec![Volume {
                name: "claim".to_owned(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: claim.to_owned(),
                    read_only: None,
                }),
                ..Volume::default()
            }]),
            ..PodSpec::default()
        }),
        status: None,
    }
}
