//! Whether Services answer: what a client would see, asked again until it comes true or its time is over.

use std::time::{Duration, Instant};

use crds::job::{Answer, CheckResult, Report, TestMail};
use crds::policy::Endpoint;
use crds::run::Verdict;
use reqwest::redirect::Policy;

use super::{Desk, diagnose, mail, positive};
use crate::failure::{Failure, Result, sentence};

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(10);
/// The longest wait between two.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub(super) async fn check(
    desk: &Desk,
    answers: &[Answer],
    mails: &[TestMail],
    endpoints: &[Endpoint],
) -> Result<Report> {
    let mut checks = all(desk, answers).await?;
    checks.extend(mail::all(desk, mails).await?);
    checks.extend(diagnose::checked(endpoints).await);
    Ok(Report::Validated { checks })
}

/// All of them side by side, so that what never answers takes no other's time.
pub(super) async fn all(desk: &Desk, answers: &[Answer]) -> Result<Vec<CheckResult>> {
    let client = reqwest::Client::builder()
        .timeout(REQUEST)
        .redirect(Policy::none())
        .no_proxy()
        .build()
        .map_err(|e| Failure::unexpected("no HTTP client can be made", &e))?;
    let mut waiting = Vec::with_capacity(answers.len());
    for answer in answers {
        desk.telling.say(format!("GET {}", answer.url));
        waiting.push(one(&client, answer, positive("patience", answer.patience)?));
    }
    Ok(futures::future::join_all(waiting).await)
}

async fn one(client: &reqwest::Client, answer: &Answer, patience: Duration) -> CheckResult {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(200);
    let result = |verdict, observed| CheckResult {
        name: answer.name.clone(),
        verdict,
        expected: answer.status.to_string(),
        observed,
    };
    loop {
        let asked = Instant::now();
        let observed = match client.get(&answer.url).send().await {
            Ok(response) if response.status().as_u16() == answer.status => {
                let took = asked.elapsed().as_millis();
                return result(Verdict::Passed, format!("{} in {took}ms", answer.status));
            }
            Ok(response) => response.status().as_u16().to_string(),
            // Its URL stands in the policy; what it was about is said once.
            Err(error) => sentence(&error.without_url()),
        };
        if begun.elapsed() + pause > patience {
            return result(Verdict::Failed, observed);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
