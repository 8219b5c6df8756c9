//! The step Audit: what somebody may have left or changed is looked for, when everything is stopped and before anything is changed back. What the
//! controller sees stands in the status first; what differs from the last known good a mover says, which reads both in the repository, and stores
//! all of it there. Best effort: what can't be looked at is told, and holds up no recovery for longer than the step may take.

use std::collections::{BTreeMap, BTreeSet};

use crds::job::{AuditRequest, Audited, AuditedComponent, Report, Request};
use crds::names;
use crds::policy::ObjectKind;
use crds::reference::AUDIT_ROLE;
use crds::run::{
    AuditCounts, AuditDocument, AuditFinding, AuditKind, AuditSeverity, AuditStatus, MAX_AUDIT_FINDINGS,
    MAX_COMPONENTS,
};
use jiff::Timestamp;
use serde_json::Value;

use super::mover::{self, Outcome, Wanted};
use super::seen::{Access, Component, Observed, PointState};
use super::steps::Kind;
use super::{Draft, Progress, choice, emergency};
use crate::audit::{self, Known, finding};
use crate::backup::emergency::COLLECTING;
use crate::effect::{Account, Bound, Event};

/// Jobs of the step: with the data, and without it.
pub(crate) const ATTEMPTS: u32 = 2;
/// Bytes of findings that a Job is handed; they travel in its environment.
const HANDED: usize = 48 << 10;
/// Bytes of NetworkPolicies that it is handed.
const POLICIES: usize = 24 << 10;
/// Names that it is handed.
const NAMES: usize = 512;

/// The step.
pub(crate) fn advance(draft: &mut Draft<'_>, index: usize) -> Progress {
    let seen = draft.seen;
    let Some(around) = &seen.audit else {
        return Progress::acting(Vec::new(), "looking at what is in the namespace");
    };
    let found = audit::look(around, &known(seen));
    if draft.status.audit.is_none() {
        draft.status.audit = Some(status(draft.now, &found));
    }
    let begun = draft.status.steps[index].start.unwrap_or(draft.now);
    let end = begun.checked_add(emergency::patience(&seen.run)).unwrap_or(Timestamp::MAX);
    draft.next = draft.next.or_at(end);
    let late = draft.now >= end;
    let (mut said, mut not) = (Vec::new(), Vec::new());
    for (number, (name, repository)) in repositories(seen).into_iter().enumerate() {
        let access = match repository {
            Ok(access) if !late => access,
            Ok(_) => {
                let limit = crds::Span::floor(emergency::limit(&seen.run));
                not.push(format!(
                    "{name}: it did not end within {limit}, an eighth of what the run may take"
                ));
                continue;
            }
            Err(why) => {
                not.push(format!("{name}: {why}"));
                continue;
            }
        };
        let wanted = wanted(draft, index, (name, access), &found, number == 0);
        match mover::drive(draft, index, wanted) {
            Outcome::Pending(progress) => return progress,
            Outcome::Said(Report::Audited(audited)) => said.push((name, audited)),
            Outcome::Said(other) => not.push(format!("{name}: it answered {}", mover::kind_of(&other))),
            Outcome::GaveUp(_) if draft.status.steps[index].attempts < ATTEMPTS => {
                return Progress::Again { why: format!("{name} was not audited with its data") };
            }
            Outcome::GaveUp(failure) => {
                not.push(format!("{name}: {:?}: {}", failure.reason, failure.message))
            }
        }
    }
    conclude(draft, said, &not)
}

/// What the controller sees by itself.
fn status(now: Timestamp, found: &[AuditFinding]) -> AuditStatus {
    AuditStatus {
        time: now,
        counts: AuditCounts::of(found),
        findings: found.iter().take(MAX_AUDIT_FINDINGS).cloned().collect(),
        data: Vec::new(),
        documents: Vec::new(),
    }
}

/// Takes in what movers said of the repositories, and what could not be looked at there.
fn conclude(draft: &mut Draft<'_>, said: Vec<(&str, Box<Audited>)>, not: &[String]) -> Progress {
    let mut audit = draft.status.audit.clone().unwrap_or_else(|| status(draft.now, &[]));
    let name = document(draft.seen);
    for (repository, audited) in said {
        let Audited { digest, counts, findings, data } = *audited;
        audit.counts = audit.counts.and(counts);
        audit.findings.extend(findings);
        audit.data.extend(data);
        let document =
            |digest| AuditDocument { repository: repository.to_owned(), name: name.clone(), digest };
        audit.documents.extend(digest.map(document));
    }
    let unseen: Vec<AuditFinding> = not
        .iter()
        .map(|why| {
            finding(AuditSeverity::Unknown, AuditKind::NotSeen, "what differs from the last known good", why)
        })
        .collect();
    audit.counts = audit.counts.and(AuditCounts::of(&unseen));
    audit.findings.extend(unseen);
    audit.findings.sort();
    audit.findings.truncate(MAX_AUDIT_FINDINGS);
    audit.data.truncate(MAX_COMPONENTS);
    let message = told(&audit, &draft.seen.run.name);
    if audit.counts.high > 0 {
        draft.events.push(Event::warning("AuditFound", message.clone()));
    }
    draft.status.audit = Some(audit);
    Progress::Done(message)
}

/// An audit in a sentence, the worst of it by name.
fn told(audit: &AuditStatus, run: &str) -> String {
    let AuditCounts { high, medium, unknown, low } = audit.counts;
    let mut message = format!("{high} high, {medium} medium, {low} low, {unknown} not seen");
    for finding in audit.findings.iter().take(4).filter(|finding| finding.severity == AuditSeverity::High) {
        message.push_str(&format!("; {}: {}", finding.object, finding.message));
    }
    if !audit.documents.is_empty() {
        message.push_str(&format!("; all of it: holdfast audit {run}"));
    }
    message
}

/// What the whole of the audit of a run is called in each repository.
fn document(seen: &Observed) -> String {
    format!("{}/{}/{}", seen.run.namespace, seen.run.name, seen.run.uid)
}

/// What the step would do.
pub(crate) fn foretell(seen: &Observed) -> String {
    format!(
        "say what somebody may have left or changed, and store it in {}; undo: none needed, nothing is changed",
        repositories(seen).into_keys().collect::<Vec<_>>().join(", ")
    )
}

/// The repositories of what is restored.
fn repositories(seen: &Observed) -> BTreeMap<&str, Result<&Access, &String>> {
    seen.restored().map(|component| (component.repository.as_str(), component.access.as_ref())).collect()
}

/// What policies know of: the workloads that they name, or whose labels they do.
pub(crate) fn known(seen: &Observed) -> Known {
    let mut workloads = BTreeSet::new();
    for component in &seen.components {
        let named = component.workloads.iter().map(|seen| &seen.workload).chain(&component.missing);
        workloads.extend(named.map(|workload| format!("{} {}", workload.kind.as_str(), workload.name)));
    }
    let listed = seen.audit.iter().flat_map(|around| around.workloads.iter().flatten());
    for object in listed {
        let word = object["kind"].as_str().unwrap_or_default();
        let kind = match word {
            "StatefulSet" => ObjectKind::StatefulSet,
            "Deployment" => ObjectKind::Deployment,
            "CronJob" => ObjectKind::CronJob,
            _ => continue,
        };
        if seen.components.iter().any(|component| component.emergency.readable.objects.belongs(kind, object))
        {
            workloads.insert(format!("{word} {}", object["metadata"]["name"].as_str().unwrap_or_default()));
        }
    }
    Known { workloads }
}

/// The Job that holds the components of a repository against their last known good, and stores all that was found.
fn wanted(
    draft: &Draft<'_>,
    index: usize,
    (name, access): (&str, &Access),
    found: &[AuditFinding],
    first: bool,
) -> Wanted {
    let seen = draft.seen;
    let run = &seen.run;
    let since = since(seen);
    let (mut components, mut findings) = (Vec::new(), Vec::new());
    for component in seen.restored().filter(|component| component.repository == name) {
        match held_against(seen, component) {
            Ok(audited) => components.push(audited),
            Err(why) => {
                let object = format!("what policy {} captures", component.policy);
                findings.push(finding(AuditSeverity::Unknown, AuditKind::NotSeen, &object, &why));
            }
        }
    }
    let names = names_known(seen);
    let listing = first && names.len() <= NAMES;
    if first && !listing {
        let why = format!("policies name more than {NAMES} of them, so those of nobody were not looked for");
        findings.push(finding(AuditSeverity::Unknown, AuditKind::NotSeen, "ConfigMaps and Secrets", &why));
    }
    let (network_policies, unseen) = network_policies(seen);
    findings.extend(unseen);
    // What was seen here travels with it to be stored, and is counted here.
    let (namespace, left_out) = handed(found);
    let request = Request::Audit(Box::new(AuditRequest {
        repository: access.access.clone(),
        document: document(seen),
        since,
        time: draft.status.audit.as_ref().map_or(draft.now, |audit| audit.time),
        namespace,
        left_out,
        findings,
        components,
        known: if listing { names.into_iter().collect() } else { Vec::new() },
        network_policies,
        data: draft.status.steps[index].attempts < ATTEMPTS,
    }));
    let mut wanted =
        Wanted { keys: Some(access.keys.clone()), ..Wanted::bare(Kind::Audit, name.to_owned(), request) };
    if listing {
        wanted.before = vec![Request::Inventory { namespace: run.namespace.clone(), within: COLLECTING }];
        let name = names::auditor(&run.uid);
        wanted.account = Some(Account { name, role: AUDIT_ROLE, bound: Bound::WithItsJob });
    }
    wanted
}

/// Since when somebody may have been inside.
pub(crate) fn since(seen: &Observed) -> Timestamp {
    let incident = seen.run.spec.incident.as_ref();
    incident.and_then(|incident| incident.suspected_since).unwrap_or(seen.run.created)
}

/// What of a component is held against what; a sentence where that can't be.
fn held_against(seen: &Observed, component: &Component) -> Result<AuditedComponent, String> {
    let good =
        choice::choose(seen, component).map_err(|(_, why)| format!("there is no last known good: {why}"))?;
    let own = seen.points.iter().filter(|point| {
        point.policy == component.policy
            && point.state == PointState::Emergency
            && point.consistency_time.is_some_and(|time| time >= seen.run.created)
    });
    let captured = own.max_by_key(|point| point.consistency_time);
    let captured = captured
        .ok_or("it was not captured in this run, so there is nothing to hold against the last known good")?;
    if captured.repository != component.repository {
        return Err(format!(
            "its emergency capture lies in repository {}, its points in {}: holdfast audit --point can't read both, restore and compare them by hand",
            captured.repository, component.repository
        ));
    }
    Ok(AuditedComponent {
        policy: component.policy.clone(),
        point: good.point.id,
        captured: captured.id.clone(),
    })
}

/// ConfigMaps and Secrets that policies know of, as `Secret env`.
fn names_known(seen: &Observed) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for component in &seen.components {
        let objects = &component.emergency.readable.objects;
        known.extend(objects.config_maps.iter().map(|name| format!("ConfigMap {name}")));
        known.extend(objects.secrets.iter().map(|name| format!("Secret {name}")));
        for access in [&component.access, &component.emergency.access].into_iter().flatten() {
            let keys = &access.keys;
            known.extend(keys.secrets().map(|secret| format!("Secret {}", secret.name)));
            known.extend(keys.ca.iter().map(|map| format!("ConfigMap {}", map.name)));
        }
        let auth = component.auth.iter();
        known.extend(
            auth.clone()
                .filter_map(|auth| auth.token_secret_ref.as_ref())
                .map(|s| format!("Secret {}", s.name)),
        );
        known.extend(
            auth.filter_map(|auth| auth.basic_secret_ref.as_ref()).map(|s| format!("Secret {}", s.name)),
        );
    }
    known
}

/// The NetworkPolicies as they were before the isolation: what an emergency capture holds of them is the isolation.
fn network_policies(seen: &Observed) -> (Option<Vec<Value>>, Option<AuditFinding>) {
    let number = seen.run.status.isolation.as_ref().map_or(0, |known| known.records);
    let Some(record) = seen.network.records.get(&number) else { return (None, None) };
    let told = |policy: &super::seen::NetworkPolicySeen| {
        serde_json::json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": policy.name}, "spec": policy.spec})
    };
    let policies: Vec<Value> = record.policies.iter().map(told).collect();
    if policies.iter().map(|policy| policy.to_string().len()).sum::<usize>() <= POLICIES {
        return (Some(policies), None);
    }
    let why = "there are too many to hand them to a Job; compare the record with the point by hand";
    (None, Some(finding(AuditSeverity::Unknown, AuditKind::NotSeen, "NetworkPolicies", why)))
}

/// As many of the findings as fit, the worst first, and how many don't.
fn handed(found: &[AuditFinding]) -> (Vec<AuditFinding>, u32) {
    let mut room = HANDED;
    let fits = found.iter().take_while(|finding| {
        let size = finding.object.len() + finding.message.len() + 96;
        let fits = size <= room;
        room = room.saturating_sub(size);
        fits
    });
    let handed: Vec<AuditFinding> = fits.cloned().collect();
    let left = u32::try_from(found.len() - handed.len()).unwrap_or(u32::MAX);
    (handed, left)
}

/// Whether the next look needs to see what is in the namespace of `run`, and who may do what there.
#[must_use]
pub fn audits(run: &super::seen::RunSeen) -> bool {
    let due = [
        Kind::Stop,
        Kind::Audit,
        Kind::Start,
        Kind::Validate,
        Kind::LiftIsolation,
        Kind::Unseal,
        // The run ends at the look at which this one does.
        Kind::Protect,
        Kind::Report,
    ];
    run.spec.is_breach()
        && super::walk::frontier(&run.status).into_iter().any(|index| {
            let word = run.status.steps[index].name.split('/').next().unwrap_or_default();
            due.iter().any(|kind| kind.as_str() == word)
        })
}
