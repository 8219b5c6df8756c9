//! Checks that are commands in pods: each in one ready pod of its component. What may run stands in the run's status before its Job is made, and the chart's
//! admission policy lets the Job's account run nothing else.

use std::collections::BTreeMap;

use crds::Span;
use crds::job::{CheckResult, FailureReason, Report, Request};
use crds::names;
use crds::policy::{ExecCheck, Hook, PolicyCheck};
use crds::reference::{HOOK_ROLE, POLICY_LABEL, RUN_LABEL};
use crds::run::{ExecStatus, Verdict};

use super::effect::Effect;
use super::seen::Component;
use super::{Draft, Progress};
use crate::effect::{Account, Bound, JobState, MoverJob, label_value};

/// What a Job may take besides its command: its pod has to be started.
const STARTING: Span = Span::from_mins(2);

fn all(component: &Component) -> impl Iterator<Item = (&PolicyCheck, &ExecCheck)> {
    component.checks.iter().filter_map(|check| Some((check, check.exec.as_ref()?)))
}

fn line(component: &Component, check: &PolicyCheck) -> String {
    format!("{}/{}", component.policy, check.name)
}

fn job_name(draft: &Draft<'_>, component: &Component, check: &PolicyCheck) -> String {
    let run = &draft.seen.run;
    names::job(&run.name, &run.uid, &format!("Exec/{}", line(component, check)), 1)
}

/// Names of the Jobs of `component`: they are needed for as long as it is validated.
pub(crate) fn names_of(draft: &Draft<'_>, component: &Component) -> Vec<String> {
    all(component).map(|(check, _)| job_name(draft, component, check)).collect()
}

/// What came of the commands, once all have ended.
pub(crate) fn look(draft: &mut Draft<'_>, component: &Component) -> Result<Vec<CheckResult>, Progress> {
    let (mut checks, mut effects, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    for (check, exec) in all(component) {
        match one(draft, component, check, exec) {
            Look::Ended(verdict, observed) => checks.push(CheckResult {
                name: check.name.clone(),
                verdict,
                expected: "the command ends with 0".to_owned(),
                observed,
            }),
            Look::Waits(job, why) => {
                effects.extend(job.map(|job| Effect::CreateJob { step: "Validate", job }));
                waits.push(why);
            }
        }
    }
    if waits.is_empty() { Ok(checks) } else { Err(Progress::acting(effects, waits.join("; "))) }
}

enum Look {
    Ended(Verdict, String),
    /// For this Job, which is to be made, or for one that runs.
    Waits(Option<Box<MoverJob>>, String),
}

fn one(draft: &mut Draft<'_>, component: &Component, check: &PolicyCheck, exec: &ExecCheck) -> Look {
    let (seen, name, line) = (draft.seen, job_name(draft, component, check), line(component, check));
    let known = draft.status.exec_checks.iter().find(|known| known.check == line).cloned();
    let Some(known) = known else {
        if !seen.hooks_allowed {
            let why =
                "this installation lets no command run in pods; install the chart with hooks.enabled=true";
            return Look::Ended(Verdict::Inconclusive, why.to_owned());
        }
        let Some(pod) = component.ready_pods.first() else {
            return Look::Ended(Verdict::Failed, "it has no ready pod".to_owned());
        };
        draft.status.exec_checks.push(ExecStatus {
            check: line,
            pod: pod.clone(),
            container: exec.container.clone(),
            command: exec.command.clone(),
        });
        return Look::Waits(None, format!("Job {name} is made"));
    };
    let pod = &known.pod;
    match seen.jobs.get(&name).map(|job| &job.state) {
        None | Some(JobState::Absent) => {
            let hook = Hook {
                command: known.command.clone(),
                container: known.container.clone(),
                timeout: check.timeout,
            };
            let request = Request::Hook {
                namespace: seen.run.namespace.clone(),
                pods: vec![pod.clone()],
                hook,
                all_or_none: true,
                needed: true,
            };
            let deadline = Span::from_secs(check.timeout.as_secs().saturating_add(STARTING.as_secs()));
            let account =
                Account { name: names::checker(&seen.run.uid), role: HOOK_ROLE, bound: Bound::WithItsOwner };
            let job = MoverJob {
                labels: BTreeMap::from([
                    (RUN_LABEL.to_owned(), label_value(&seen.run.name)),
                    (POLICY_LABEL.to_owned(), label_value(&component.policy)),
                ]),
                service_account: Some(account),
                ..MoverJob::bare(name.clone(), request, deadline)
            };
            Look::Waits(Some(Box::new(job)), format!("Job {name} is made"))
        }
        Some(JobState::Running { waiting }) => {
            Look::Waits(None, waiting.clone().unwrap_or_else(|| format!("Job {name} runs")))
        }
        Some(JobState::Ended(Report::Ran)) => Look::Ended(Verdict::Passed, format!("0 in pod {pod}")),
        Some(JobState::Ended(Report::Failed(failure))) if failure.reason == FailureReason::HookFailed => {
            Look::Ended(Verdict::Failed, failure.message.clone())
        }
        Some(JobState::Ended(Report::Failed(failure))) => {
            Look::Ended(Verdict::Inconclusive, format!("{:?}: {}", failure.reason, failure.message))
        }
        Some(JobState::Ended(_)) => {
            Look::Ended(Verdict::Inconclusive, crate::effect::OTHER_ANSWER.to_owned())
        }
        Some(JobState::Silent { why }) => Look::Ended(Verdict::Inconclusive, why.clone()),
    }
}
