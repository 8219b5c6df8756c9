//! Checks that are expressions over the status of an object: looked at until they hold or their time is over.

use crds::job::CheckResult;
use crds::policy::{PolicyCheck, StatusCheck};
use crds::run::Verdict;
use jiff::Timestamp;

use super::seen::Component;
use super::{Draft, Progress, assess};
use crate::expression::Expression;

/// How long until the next look, in milliseconds: not every kind that can be named wakes the run.
const AGAIN: i64 = 2000;

fn all(component: &Component) -> impl Iterator<Item = (&PolicyCheck, &StatusCheck)> {
    component.checks.iter().filter_map(|check| Some((check, check.status.as_ref()?)))
}

/// What came of the expressions, once each holds or its time is over. The time of each begins with step `index`.
pub(crate) fn look(
    draft: &Draft<'_>,
    index: usize,
    component: &Component,
) -> Result<Vec<CheckResult>, Progress> {
    let since = draft.status.steps[index].start.unwrap_or(draft.now);
    let (mut checks, mut waits) = (Vec::new(), Vec::new());
    for (check, status) in all(component) {
        let until = since.checked_add(check.timeout.to_duration()).unwrap_or(Timestamp::MAX);
        let (verdict, observed) = judged(draft, status);
        if verdict == Verdict::Failed && draft.now < until {
            waits.push(format!("{}: {observed}", check.name));
        }
        let (name, expected) = (check.name.clone(), status.expression.clone());
        checks.push(CheckResult { name, verdict, expected, observed });
    }
    if waits.is_empty() {
        return Ok(checks);
    }
    Err(Progress::Polling { effects: Vec::new(), note: waits.join("; "), at: assess::soon(draft, AGAIN) })
}

fn judged(draft: &Draft<'_>, check: &StatusCheck) -> (Verdict, String) {
    let (kind, name) = (check.object_ref.kind.as_str(), &check.object_ref.name);
    let expression = match Expression::parse(&check.expression) {
        Ok(expression) => expression,
        Err(why) => return (Verdict::Inconclusive, why),
    };
    match draft.seen.objects.get(&check.object_ref) {
        None => (Verdict::Failed, format!("no {kind} {name}")),
        Some(object) => match expression.holds(object) {
            Ok(true) => (Verdict::Passed, format!("it holds of {kind} {name}")),
            Ok(false) => (Verdict::Failed, format!("it does not hold of {kind} {name}")),
            Err(why) => (Verdict::Failed, format!("{kind} {name}: {why}")),
        },
    }
}
