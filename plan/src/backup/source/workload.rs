//! A workload and what its pod template says.

use std::collections::BTreeSet;

use crds::reference::WorkloadKind;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::kube_name::name;
use crate::effect::Place;

/// A workload as it was fetched.
#[derive(Clone, Debug, PartialEq)]
pub enum Workload {
    /// apps/v1 StatefulSet.
    StatefulSet(Box<StatefulSet>),
    /// apps/v1 Deployment.
    Deployment(Box<Deployment>),
    /// batch/v1 CronJob.
    CronJob(Box<CronJob>),
}

impl Workload {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> WorkloadKind {
        match self {
            Self::StatefulSet(_) => WorkloadKind::StatefulSet,
            Self::Deployment(_) => WorkloadKind::Deployment,
            Self::CronJob(_) => WorkloadKind::CronJob,
        }
    }

    /// Its name, labels and annotations.
    #[must_use]
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::StatefulSet(set) => &set.metadata,
            Self::Deployment(deployment) => &deployment.metadata,
            Self::CronJob(job) => &job.metadata,
        }
    }

    /// What its pods are made from.
    #[must_use]
    pub fn pods(&self) -> Option<&PodTemplateSpec> {
        match self {
            Self::StatefulSet(set) => set.spec.as_ref().map(|spec| &spec.template),
            Self::Deployment(deployment) => deployment.spec.as_ref().map(|spec| &spec.template),
            Self::CronJob(job) => job.spec.as_ref()?.job_template.spec.as_ref().map(|spec| &spec.template),
        }
    }

    /// The specification of its pods.
    #[must_use]
    pub fn template(&self) -> Option<&PodSpec> {
        self.pods()?.spec.as_ref()
    }

    /// A pod as it would be made.
    pub(super) fn pod(&self) -> Pod {
        let template = self.pods().cloned().unwrap_or_default();
        Pod { metadata: template.metadata.unwrap_or_default(), spec: template.spec, status: None }
    }

    /// Wherever its pods may run.
    #[must_use]
    pub fn place(&self) -> Place {
        let spec = self.template().cloned().unwrap_or_default();
        Place {
            node: None,
            node_selector: spec.node_selector.unwrap_or_default(),
            affinity: spec.affinity,
            tolerations: spec.tolerations.unwrap_or_default(),
        }
    }

    /// The selector of its pods.
    #[must_use]
    pub fn selector(&self) -> Option<&LabelSelector> {
        match self {
            Self::StatefulSet(set) => set.spec.as_ref().map(|spec| &spec.selector),
            Self::Deployment(deployment) => deployment.spec.as_ref().map(|spec| &spec.selector),
            // Its Jobs get selectors of their own.
            Self::CronJob(_) => None,
        }
    }

    /// The claim that volume `volume` of the first pod names.
    pub(super) fn claim(&self, volume: &str) -> Option<String> {
        let claims = self.claims();
        claims.into_iter().find(|(name, _)| name == volume).map(|(_, claim)| claim)
    }

    /// Volumes that are claims: name of the volume, name of the claim.
    pub(super) fn claims(&self) -> Vec<(String, String)> {
        let named =
            self.template().into_iter().flat_map(|pod| pod.volumes.iter().flatten()).filter_map(|volume| {
                let claim = volume.persistent_volume_claim.as_ref()?;
                Some((volume.name.clone(), claim.claim_name.clone()))
            });
        let mut claims: Vec<_> = named.collect();
        if let Self::StatefulSet(set) = self {
            let spec = set.spec.as_ref();
            let first = spec.and_then(|s| s.ordinals.as_ref()).and_then(|o| o.start).unwrap_or(0);
            let workload = name(&set.metadata);
            for template in spec.into_iter().flat_map(|s| s.volume_claim_templates.iter().flatten()) {
                let volume = name(&template.metadata);
                // A claim template wins over a volume of the same name in the pod template.
                claims.retain(|(name, _)| name != volume);
                claims.push((volume.to_owned(), format!("{volume}-{workload}-{first}")));
            }
        }
        claims
    }

    /// Every claim of the volumes that pass: of a StatefulSet one a pod, as many as exist of `all`, and the first whether it does or not.
    pub(super) fn every_claim(
        &self,
        passes: impl Fn(&str) -> bool,
        all: &[PersistentVolumeClaim],
    ) -> BTreeSet<String> {
        let wanted = || self.claims().into_iter().filter(|(volume, _)| passes(volume));
        let mut claims: BTreeSet<String> = wanted().map(|(_, claim)| claim).collect();
        let Self::StatefulSet(set) = self else { return claims };
        let templates = set.spec.iter().flat_map(|spec| spec.volume_claim_templates.iter().flatten());
        for volume in templates.map(|template| name(&template.metadata)).filter(|volume| passes(volume)) {
            let of_set = format!("{volume}-{}-", name(&set.metadata));
            let ordinals = all.iter().map(|claim| name(&claim.metadata)).filter(|claim| {
                let ordinal = claim.strip_prefix(&of_set).unwrap_or_default();
                !ordinal.is_empty() && ordinal.bytes().all(|digit| digit.is_ascii_digit())
            });
            claims.extend(ordinals.map(str::to_owned));
        }
        claims
    }
}
