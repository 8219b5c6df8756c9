//! VolumeSnapshots of captures: what there is, and what is made and removed around them. Their API is none of Kubernetes' own and may be
//! missing, so objects are read as they are. The controller asks for no snapshot itself: that is a mover's, who holds the writers.

use std::collections::BTreeMap;

use crds::BackupPolicy;
use crds::policy::Method;
use crds::reference::{CAPTURE_LABEL, MANAGED_BY, MANAGED_BY_LABEL, POLICY_LABEL};
use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedLocalObjectReference,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, ResourceExt};
use plan::backup::snapshot::{Class, Leftovers, Made, NewClone, Seen, SnapshotSeen, VolumeSeen};
use plan::effect::label_value;
use serde_json::Value;

use crate::context::Context;
use crate::error::{Error, is_code};
use crate::execute::{child, delete_of_uid, ensure};
use crate::fail_point::fail_point;
use crate::observe;

const GROUP: &str = "snapshot.storage.k8s.io";
/// What makes a class the default one of its driver.
const DEFAULT_CLASS: &str = "snapshot.storage.kubernetes.io/is-default-class";

/// The resource VolumeSnapshots are.
#[must_use]
pub fn snapshot_resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, "v1", "VolumeSnapshot"))
}

/// What there is of snapshots, where the policy asks for them or a capture under way reads them.
///
/// # Errors
/// When the API server can't be read. That it knows no snapshots is an answer.
pub async fn observe(ctx: &Context, policy: &BackupPolicy, claims: &[String]) -> Result<Seen, Error> {
    let active = policy.status.as_ref().and_then(|status| status.active.as_ref());
    let reads = active.is_some_and(|active| active.snapshot.is_some());
    let asked = matches!(policy.spec.capture.method(), Method::Snapshot(_));
    if !reads && !asked {
        return Ok(Seen::default());
    }
    let namespace = policy.namespace().unwrap_or_default();
    let label = label_value(&policy.name_any());
    let made = ListParams::default()
        .labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY},{POLICY_LABEL}={label},{CAPTURE_LABEL}"));
    let clones: Vec<PersistentVolumeClaim> = observe::list(ctx, &namespace, &made).await?;
    let snapshots: Api<DynamicObject> =
        Api::namespaced_with(ctx.client.clone(), &namespace, &snapshot_resource());
    let what = || format!("volumesnapshots in namespace {namespace}");
    let snapshots = known(snapshots.list(&made).await).map_err(Error::api("list", what()))?;
    Ok(Seen {
        classes: classes(ctx).await?,
        volumes: volumes(ctx, &namespace, claims).await?,
        made: snapshots.unwrap_or_default().iter().filter(|s| is_of(policy, *s)).map(seen).collect(),
        clones: clones.iter().filter(|clone| is_of(policy, *clone)).map(made_of).collect(),
    })
}

/// Nothing where the cluster doesn't know the kind.
fn known(
    listed: kube::Result<kube::core::ObjectList<DynamicObject>>,
) -> kube::Result<Option<Vec<DynamicObject>>> {
    match listed {
        Ok(list) => Ok(Some(list.items)),
        Err(error) if is_code(&error, 404) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_of(policy: &BackupPolicy, object: &impl ResourceExt) -> bool {
    object.owner_references().iter().any(|owner| Some(&owner.uid) == policy.metadata.uid.as_ref())
}

fn made_of(object: &impl ResourceExt) -> Made {
    Made {
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        deleting: object.meta().deletion_timestamp.is_some(),
    }
}

fn seen(snapshot: &DynamicObject) -> SnapshotSeen {
    let status = &snapshot.data["status"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    SnapshotSeen {
        made: made_of(snapshot),
        ready: status["readyToUse"] == true,
        error: text(&status["error"]["message"]),
        size: text(&status["restoreSize"]),
    }
}

async fn classes(ctx: &Context) -> Result<Option<Vec<Class>>, Error> {
    let resource = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk(GROUP, "v1", "VolumeSnapshotClass"),
        "volumesnapshotclasses",
    );
    let api: Api<DynamicObject> = Api::all_with(ctx.client.clone(), &resource);
    let listed = known(api.list(&ListParams::default()).await);
    let listed = listed.map_err(Error::api("list", "volumesnapshotclasses"))?;
    Ok(listed.map(|classes| classes.iter().map(class).collect()))
}

fn class(class: &DynamicObject) -> Class {
    Class {
        name: class.name_any(),
        driver: class.data["driver"].as_str().unwrap_or_default().to_owned(),
        default: class.annotations().get(DEFAULT_CLASS).is_some_and(|value| value == "true"),
        deletes: class.data["deletionPolicy"] == "Delete",
    }
}

async fn volumes(
    ctx: &Context,
    namespace: &str,
    claims: &[String],
) -> Result<BTreeMap<String, VolumeSeen>, Error> {
    let persistent: Api<PersistentVolume> = Api::all(ctx.client.clone());
    let mut volumes = BTreeMap::new();
    for name in claims {
        let Some(claim) = observe::get::<PersistentVolumeClaim>(ctx, namespace, name).await? else {
            continue;
        };
        let spec = claim.spec.unwrap_or_default();
        let volume = match &spec.volume_name {
            Some(volume) => persistent
                .get_opt(volume)
                .await
                .map_err(Error::api("get", format!("PersistentVolume/{volume}")))?,
            None => None,
        };
        let size = |sizes: Option<BTreeMap<String, Quantity>>| Some(sizes?.get("storage")?.0.clone());
        let capacity = size(claim.status.and_then(|status| status.capacity));
        let seen = VolumeSeen {
            driver: volume.and_then(|volume| Some(volume.spec?.csi?.driver)),
            storage_class: spec.storage_class_name,
            size: capacity.or_else(|| size(spec.resources.and_then(|resources| resources.requests))),
        };
        volumes.insert(name.clone(), seen);
    }
    Ok(volumes)
}

/// Removes what captures have left, each by its uid.
///
/// # Errors
/// When the API server refuses.
pub async fn remove(ctx: &Context, namespace: &str, leftovers: &Leftovers) -> Result<(), Error> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(ctx.client.clone(), namespace);
    for clone in &leftovers.clones {
        delete(&claims, clone, "PersistentVolumeClaim", "DeleteClone").await?;
    }
    let snapshots: Api<DynamicObject> =
        Api::namespaced_with(ctx.client.clone(), namespace, &snapshot_resource());
    for snapshot in &leftovers.snapshots {
        delete(&snapshots, snapshot, "VolumeSnapshot", "DeleteSnapshot").await?;
    }
    Ok(())
}

async fn delete<K>(api: &Api<K>, made: &Made, kind: &str, mark: &str) -> Result<(), Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    fail_point("before", Some(mark));
    if delete_of_uid(api, (&made.name, Some(made.uid.clone())), kind, None).await? {
        fail_point("after", Some(mark));
    }
    Ok(())
}

/// Makes the claim unless it exists.
///
/// # Errors
/// When the API server refuses.
pub async fn ensure_clone(ctx: &Context, policy: &BackupPolicy, clone: &NewClone) -> Result<(), Error> {
    let api: Api<PersistentVolumeClaim> =
        Api::namespaced(ctx.client.clone(), &policy.namespace().unwrap_or_default());
    let claim = PersistentVolumeClaim {
        metadata: child(policy, &clone.name, clone.labels.clone())?,
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            data_source: Some(TypedLocalObjectReference {
                api_group: Some(GROUP.to_owned()),
                kind: "VolumeSnapshot".to_owned(),
                name: clone.name.clone(),
            }),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(clone.size.clone()))])),
                limits: None,
            }),
            storage_class_name: clone.class.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    };
    fail_point("before", Some("CreateClone"));
    if ensure(&api, &claim, "PersistentVolumeClaim").await? {
        fail_point("after", Some("CreateClone"));
    }
    Ok(())
}
