//! Checks that send a mail.

use crds::job::{CheckResult, TestMail};
use crds::run::Verdict;

use super::seen::{Component, Observed};
use super::validate::port_of;

/// The mails that the policy wants to be taken, and what comes of those that can't be sent.
pub(crate) fn asked(seen: &Observed, component: &Component) -> (Vec<TestMail>, Vec<CheckResult>) {
    let (mut mails, mut unsent) = (Vec::new(), Vec::new());
    let (namespace, run) = (&seen.run.namespace, &seen.run.name);
    for (check, smtp) in component.checks.iter().filter_map(|check| Some((check, check.smtp.as_ref()?))) {
        let service = &smtp.service_ref.name;
        match port_of(seen, service, smtp.port, "smtp.port") {
            Ok(port) => mails.push(TestMail {
                name: check.name.clone(),
                host: format!("{service}.{namespace}.svc"),
                port,
                from: smtp.from.clone().unwrap_or_else(|| format!("holdfast@{namespace}")),
                to: smtp.to.clone(),
                by: format!("RecoveryRun {namespace}/{run}"),
                patience: check.timeout.to_duration(),
            }),
            Err(why) => unsent.push(CheckResult {
                name: check.name.clone(),
                verdict: Verdict::Failed,
                expected: "a test mail is taken".to_owned(),
                observed: why,
            }),
        }
    }
    (mails, unsent)
}
