//! The checklist of a rehearsal: what needs production, its network or a person is left out, and that is said.

use crds::job::CheckResult;
use crds::policy::PolicyCheck;
use crds::run::Verdict;

use super::super::seen::Component;

/// Why a check of a policy's own is not made in a sandbox, where it is not.
fn why(check: &PolicyCheck) -> Option<&'static str> {
    if check.job.is_some() {
        return Some("a sandbox has no CronJobs");
    }
    if check.exec.is_some() {
        return Some("no command is run in a sandbox");
    }
    check.manual.as_ref().map(|_| "nobody is asked in a rehearsal")
}

/// The lines of checks that a rehearsal does not make.
pub(crate) fn left_out(component: &Component) -> Vec<CheckResult> {
    let of = |check: &PolicyCheck| {
        Some(CheckResult {
            name: check.name.clone(),
            verdict: Verdict::Skipped,
            expected: "made in a recovery".to_owned(),
            observed: why(check)?.to_owned(),
        })
    };
    component.checks.iter().filter_map(of).collect()
}
