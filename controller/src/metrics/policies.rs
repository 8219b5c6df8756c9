//! Of each policy: what was promised, how old its points are, how its captures come out.

use std::sync::Arc;

use crds::BackupPolicy;
use crds::condition::is_true;
use crds::cron::Schedule;
use crds::policy::{LastPoint, PolicyMode, Priority, ResolvedSchedule};
use crds::reference::NameRef;
use jiff::Timestamp;
use kube::ResourceExt;
use plan::schedule::Slots;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Intervals;
use super::families::{ObjectLabel, Word, label, numbers, put, seconds};

/// More schedules than anybody has: what they say is found out anew.
const MOST_SCHEDULES: usize = 4096;

/// What does not change from scrape to scrape, to be joined with the rest.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InfoLabel {
    namespace: String,
    name: String,
    component: String,
    priority: Word,
    repository: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabel {
    namespace: String,
    name: String,
    result: Word,
}

pub(super) fn measure(
    registry: &mut Registry,
    policies: &[Arc<BackupPolicy>],
    intervals: &mut Intervals,
    now: Timestamp,
) {
    let info = numbers(registry, "policy_info", "What a policy protects and where to; always 1");
    let created = seconds(registry, "policy_created_timestamp", "When the policy was created");
    let active = numbers(registry, "policy_active", "Whether captures are taken: 0 is Suspended");
    let ready = numbers(registry, "policy_ready", "Whether the policy is Ready");
    let rpo = seconds(registry, "policy_rpo_objective", "Promised recovery point objective");
    let rto = seconds(registry, "policy_rto_objective", "Promised recovery time objective");
    let interval = seconds(
        registry,
        "policy_expected_interval",
        "The longest time between two captures of the schedule",
    );
    let age = seconds(registry, "policy_recovery_point_age", "Age of the newest Available point");
    let verified =
        seconds(registry, "policy_verified_point_age", "Age of the newest Available point that was verified");
    let points = numbers(registry, "policy_points", "Recorded points");
    let failures = numbers(registry, "policy_capture_failures", "Captures failed in a row");
    let captures = Family::<ResultLabel, Counter>::default();
    registry.register("policy_captures", "Captures that have ended, by result", captures.clone());
    let anomaly = numbers(
        registry,
        "policy_anomaly",
        "Whether captures suddenly shrank, so that no point of the policy is removed",
    );
    for policy in policies {
        let (label, spec) = (label(policy.as_ref()), &policy.spec);
        let status = policy.status.as_ref();
        let conditions = status.map_or(&[][..], |status| &status.conditions);
        put(&info, &info_of(policy, &label), 1);
        if let Some(time) = &policy.metadata.creation_timestamp {
            created.get_or_create(&label).set(time.0.as_duration().as_secs_f64());
        }
        put(&active, &label, spec.mode == PolicyMode::Active);
        put(&ready, &label, is_true(conditions, "Ready"));
        rpo.get_or_create(&label).set(spec.objectives.rpo.as_secs() as f64);
        rto.get_or_create(&label).set(spec.objectives.rto.as_secs() as f64);
        let schedule = status.and_then(|status| status.resolved.as_ref()).map(|known| &known.schedule);
        if let Some(expected) = schedule.and_then(|schedule| longest(schedule, intervals, now)) {
            interval.get_or_create(&label).set(expected);
        }
        age.get_or_create(&label).set(since(status.and_then(|status| status.last_point.as_ref()), now));
        let newest = status.and_then(|status| status.last_verified_point.as_ref());
        verified.get_or_create(&label).set(since(newest, now));
        put(&points, &label, status.map_or(0, |status| status.points));
        put(&failures, &label, status.map_or(0, |status| status.consecutive_failures));
        put(&anomaly, &label, is_true(conditions, "AnomalyDetected"));
        let counted = status.and_then(|status| status.captures.as_ref());
        let (succeeded, failed) = counted.map_or((0, 0), |counted| (counted.succeeded, counted.failed));
        for (result, count) in [(Word("succeeded"), succeeded), (Word("failed"), failed)] {
            let (namespace, name) = (label.namespace.clone(), label.name.clone());
            captures.get_or_create(&ResultLabel { namespace, name, result }).inc_by(count);
        }
    }
}

fn info_of(policy: &BackupPolicy, label: &ObjectLabel) -> InfoLabel {
    let NameRef { name: repository } = policy.spec.repository_ref.clone();
    InfoLabel {
        namespace: label.namespace.clone(),
        name: label.name.clone(),
        component: policy.spec.component.display_name.clone().unwrap_or_else(|| policy.name_any()),
        priority: Word(match policy.spec.priority {
            Priority::Critical => "Critical",
            Priority::High => "High",
            Priority::Medium => "Medium",
            Priority::Low => "Low",
        }),
        repository,
    }
}

/// Seconds since the instant that a point shows; infinite without one.
fn since(point: Option<&LastPoint>, now: Timestamp) -> f64 {
    point.map_or(f64::INFINITY, |point| now.duration_since(point.consistency_time).as_secs_f64())
}

/// The longest wait between two captures, in seconds; none where the schedule says nothing.
fn longest(schedule: &ResolvedSchedule, intervals: &mut Intervals, now: Timestamp) -> Option<f64> {
    if let Some(every) = schedule.cron.strip_prefix("@every ") {
        return every.parse::<crds::Span>().ok().map(|every| every.as_secs() as f64);
    }
    let key = (schedule.cron.clone(), schedule.time_zone.clone());
    if let Some(known) = intervals.get(&key) {
        return known.is_finite().then_some(*known);
    }
    let (cron, time_zone) = key.clone();
    let slots = Slots::parse(&Schedule { cron, time_zone, starting_deadline: None, jitter: None }, "");
    let found = slots.map_or(f64::INFINITY, |slots| slots.longest_gap(now).as_secs_f64());
    if intervals.len() >= MOST_SCHEDULES {
        intervals.clear();
    }
    intervals.insert(key, found);
    found.is_finite().then_some(found)
}
