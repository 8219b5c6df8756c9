//! The checklist of a rehearsal: what needs production, its network or a person is left out, and that is said.

use crds::job::CheckResult;
use crds::policy::{InDrills, PolicyCheck};
use crds::run::Verdict;

use super::super::seen::Component;

/// Why a check of a policy's own is not made in a sandbox, where it is not.
fn why(check: &PolicyCheck) -> Option<&'static str> {
    if check.in_drills == InDrills::Skip {
        return Some("spec.checks says inDrills: Skip");
    }
    if check.job.is_some() {
        return Some("a sandbox has no CronJobs");
    }
    if check.exec.is_some() {
        return Some("no command is run in a sandbox");
    }
    if check.smtp.is_some() {
        return Some("no mail is sent in a rehearsal");
    }
    check.manual.as_ref().map(|_| "nobody is asked in a rehearsal")
}

/// The component with those of its checks that a rehearsal makes.
pub(crate) fn rehearsed(component: &Component) -> Component {
    let made = component.checks.iter().filter(|check| why(check).is_none());
    Component { checks: made.cloned().collect(), ..component.clone() }
}

/// The lines of those that it does not make.
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
