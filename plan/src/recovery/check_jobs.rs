//! Checks that are Jobs: made of a CronJob's template once the component runs, all of them side by side, each with its own time.

use crds::job::CheckResult;
use crds::names;
use crds::policy::PolicyCheck;
use crds::run::Verdict;

use super::effect::Effect;
use super::seen::Component;
use super::{Draft, Progress};
use crate::effect::JobState;

/// The Job checks of `component`, with their CronJobs.
fn all(component: &Component) -> impl Iterator<Item = (&PolicyCheck, &str)> {
    component.checks.iter().filter_map(|check| Some((check, check.job.as_ref()?.cron_job_ref.name.as_str())))
}

/// Name of the Job of a check.
fn job_name(draft: &Draft<'_>, component: &Component, check: &PolicyCheck) -> String {
    let run = &draft.seen.run;
    names::job(&run.name, &run.uid, &format!("Check/{}/{}", component.policy, check.name), 1)
}

/// Names of the Jobs of `component`: they are needed for as long as it is validated.
pub(crate) fn names_of(draft: &Draft<'_>, component: &Component) -> Vec<String> {
    all(component).map(|(check, _)| job_name(draft, component, check)).collect()
}

/// What came of the Jobs, once all have ended.
pub(crate) fn look(draft: &Draft<'_>, component: &Component) -> Result<Vec<CheckResult>, Progress> {
    let (mut checks, mut effects, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    for (check, cron_job) in all(component) {
        let name = job_name(draft, component, check);
        let result = |verdict, observed: String| CheckResult {
            name: check.name.clone(),
            verdict,
            expected: "Job Complete".to_owned(),
            observed,
        };
        match draft.seen.jobs.get(&name) {
            Some(job) if job.completed => checks.push(result(Verdict::Passed, "Complete".to_owned())),
            Some(job) => match &job.state {
                JobState::Silent { why } => {
                    let look =
                        format!("{why}; look at kubectl logs job/{name} -n {}", draft.seen.run.namespace);
                    checks.push(result(Verdict::Failed, look));
                }
                // No Job of ours: whatever its containers wrote means nothing here.
                JobState::Ended(_) => checks.push(result(Verdict::Failed, "it failed".to_owned())),
                JobState::Running { waiting } => {
                    waits.push(waiting.clone().unwrap_or_else(|| format!("Job {name} runs")));
                }
                JobState::Absent => waits.push(format!("Job {name} is made")),
            },
            None if !draft.seen.cron_jobs.iter().any(|known| known == cron_job) => {
                checks.push(result(Verdict::Failed, format!("no CronJob {cron_job}")));
            }
            None => {
                effects.push(Effect::CreateCheckJob {
                    name: name.clone(),
                    policy: Some(component.policy.clone()),
                    cron_job: cron_job.to_owned(),
                    timeout: check.timeout,
                });
                waits.push(format!("Job {name} is made"));
            }
        }
    }
    if waits.is_empty() { Ok(checks) } else { Err(Progress::acting(effects, waits.join("; "))) }
}
