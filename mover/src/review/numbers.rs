//! The numbers of a period, drawn from the objects once.

use std::collections::BTreeMap;

use crds::kpi::mean;
use crds::policy::Captures;
use crds::run::Verdict;
use crds::{BackupPolicy, RecoveryRun};
use jiff::{SignedDuration, Timestamp};

use super::period::Period;
use super::read::Objects;

/// An execution of a drill.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// The drill.
    pub drill: String,
    /// When it was started.
    pub started: Timestamp,
    /// What came out.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
    /// Measured recovery time, where it was.
    pub rto: Option<String>,
    /// Measured age of the point, where it was.
    pub rpo: Option<String>,
}

/// The numbers of a period.
#[derive(Debug)]
pub struct Numbers<'a> {
    /// Captures that made a good point, and those that did not.
    pub captures: (u64, u64),
    /// Incidents that were declared in it and have ended.
    pub incidents: Vec<&'a RecoveryRun>,
    /// Executions of drills that were started in it.
    pub tests: Vec<Test>,
}

impl<'a> Numbers<'a> {
    /// Those of `period`.
    pub fn of(objects: &'a Objects, period: &Period, several: bool) -> Self {
        let months = period.months();
        let add = |(succeeded, failed): (u64, u64), policy: &BackupPolicy| {
            let (more, less) = captures(policy, &months);
            (succeeded.saturating_add(more), failed.saturating_add(less))
        };
        let inside = |run: &&RecoveryRun| run.declared_at().is_some_and(|at| period.contains(at));
        Self {
            captures: objects.policies.iter().fold((0, 0), add),
            incidents: objects.runs.iter().filter(|run| run.is_incident()).filter(inside).collect(),
            tests: tests(objects, period, several),
        }
    }

    /// Good captures of all, where there were any.
    pub fn backup_success(&self) -> Option<f64> {
        part(self.captures.0, self.captures.0.saturating_add(self.captures.1))
    }

    /// Passed executions of all that were to be; one that proved nothing is no pass.
    pub fn test_success(&self) -> Option<f64> {
        let passed = self.tests.iter().filter(|test| test.verdict == Verdict::Passed).count();
        part(passed as u64, self.tests.len() as u64)
    }

    /// Mean time to recovery.
    pub fn mttr(&self) -> Option<SignedDuration> {
        let recovered = self.incidents.iter().filter(|run| !failed(run));
        mean(recovered.filter_map(|run| run.time_to_recover()))
    }

    /// Incidents after which something written was lost.
    pub fn losses(&self) -> usize {
        self.incidents.iter().filter(|run| run.data_loss() > Some(SignedDuration::ZERO)).count()
    }

    /// Components whose recovery kept both promises, of all that were measured.
    pub fn kept(&self) -> (usize, usize) {
        let measured: Vec<_> = self.incidents.iter().flat_map(|run| run.measured()).collect();
        (measured.iter().filter(|kept| !kept.missed).count(), measured.len())
    }
}

/// Whether a run ended without success.
pub fn failed(run: &RecoveryRun) -> bool {
    run.status.as_ref().and_then(|status| status.phase) == Some(crds::run::RunPhase::Failed)
}

/// Captures of a policy in these months.
pub fn captures(policy: &BackupPolicy, months: &[String]) -> (u64, u64) {
    let none = Captures::default();
    let counted = policy.status.as_ref().and_then(|status| status.captures.as_ref()).unwrap_or(&none);
    let of = counted.months.iter().filter(|known| months.contains(&known.month));
    of.fold((0, 0), |(s, f), month| (s + month.succeeded, f + month.failed))
}

/// A part of a whole, of which there is some.
pub fn part(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Executions of a period: what the drills remember, and the runs that still exist of those that they have forgotten.
fn tests(objects: &Objects, period: &Period, several: bool) -> Vec<Test> {
    let mut found: BTreeMap<(String, String), Test> = BTreeMap::new();
    for run in &objects.runs {
        let Some((drill, _)) = run.drill().zip(run.ended_at()) else { continue };
        let verdict = run.status.as_ref().and_then(|status| status.verdict).unwrap_or(Verdict::Inconclusive);
        let of = |text: Option<SignedDuration>| text.map(|time| crds::Span::floor(time).to_string());
        let test = Test {
            drill: named(run.metadata.namespace.clone(), drill, several),
            started: run.declared_at().unwrap_or_default(),
            verdict,
            reason: String::new(),
            rto: of(run.time_to_recover()),
            rpo: of(run.data_loss()),
        };
        found.insert(
            (
                run.metadata.namespace.clone().unwrap_or_default(),
                run.metadata.name.clone().unwrap_or_default(),
            ),
            test,
        );
    }
    for drill in &objects.drills {
        for result in drill.status.iter().flat_map(|status| &status.results) {
            let test = Test {
                drill: named(
                    drill.metadata.namespace.clone(),
                    &drill.metadata.name.clone().unwrap_or_default(),
                    several,
                ),
                started: result.started,
                verdict: result.verdict,
                reason: result.reason.clone(),
                rto: result.rto.clone(),
                rpo: result.rpo.clone(),
            };
            found.insert((drill.metadata.namespace.clone().unwrap_or_default(), result.run.clone()), test);
        }
    }
    let mut found: Vec<Test> = found.into_values().filter(|test| period.contains(test.started)).collect();
    found.sort_by(|a, b| (a.started, &a.drill).cmp(&(b.started, &b.drill)));
    found
}

/// A name, with its namespace where there are several.
pub fn named(namespace: Option<String>, name: &str, several: bool) -> String {
    match namespace.filter(|_| several) {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}
