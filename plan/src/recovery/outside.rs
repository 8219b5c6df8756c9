//! What only a mover sees of the network, for an assessment: whether names of the cluster resolve, whether what the policies name outside answers, and the
//! interfaces and routes of a pod. Of `mode: Assess` alone: a recovery waits for no look that it does not need.

use crds::job::{Diagnosed, EndpointSeen, MAX_ENDPOINTS, Report, Request};
use crds::policy::Endpoint;
use crds::run::{Assessed, Health};

use super::assessment::line;
use super::mover::{self, Outcome, Wanted};
use super::seen::Observed;
use super::steps::Kind;
use super::{Draft, Progress};

/// What its Job is called after.
const LOOK: &str = "network";

/// The API server, by the name that every cluster gives it: where this resolves, names of the cluster do.
fn cluster() -> Endpoint {
    Endpoint { host: "kubernetes.default.svc".to_owned(), port: 443 }
}

/// What is asked for: that, then what the policies name, each once, as many as one mover takes.
fn endpoints(seen: &Observed) -> Vec<Endpoint> {
    let mut all = vec![cluster()];
    for endpoint in seen
        .components
        .iter()
        .filter_map(|component| component.offline.as_ref())
        .flat_map(|mode| &mode.endpoints)
    {
        if !all.contains(endpoint) {
            all.push(endpoint.clone());
        }
    }
    all.truncate(MAX_ENDPOINTS);
    all
}

/// Its lines, once the mover has ended.
pub(crate) fn look(draft: &Draft<'_>) -> Result<Vec<Assessed>, Progress> {
    let endpoints = endpoints(draft.seen);
    let wanted = Wanted::bare(
        Kind::Assess,
        LOOK.to_owned(),
        Request::Diagnose { endpoints: endpoints.clone(), patience: None },
    );
    match mover::drive(draft, 0, wanted) {
        Outcome::Pending(progress) => Err(progress),
        Outcome::Said(Report::Diagnosed(diagnosed)) => Ok(told(&endpoints, &diagnosed)),
        Outcome::Said(_) => Ok(vec![line("dns", Health::Unknown, crate::effect::OTHER_ANSWER)]),
        Outcome::GaveUp(failure) => {
            Ok(vec![line("dns", Health::Unknown, format!("nobody looked: {}", failure.message))])
        }
    }
}

fn told(endpoints: &[Endpoint], diagnosed: &Diagnosed) -> Vec<Assessed> {
    let mut lines = Vec::new();
    for (number, endpoint) in endpoints.iter().enumerate() {
        let seen = diagnosed.endpoints.get(number);
        // Of the API server it is the name that counts: a NetworkPolicy may well keep pods from it.
        let (subject, good) = match number {
            0 => ("dns".to_owned(), seen.is_some_and(|seen| !seen.addresses.is_empty())),
            _ => (format!("endpoint/{endpoint}"), seen.is_some_and(|seen| seen.answers)),
        };
        let observed = match seen {
            Some(EndpointSeen { addresses, .. }) if number == 0 && good => {
                format!("{} resolves to {}", endpoint.host, addresses.join(", "))
            }
            Some(EndpointSeen { message, .. }) => message.clone(),
            None => "the mover says nothing of it".to_owned(),
        };
        let state = match (good, seen) {
            (true, _) => Health::Good,
            (false, Some(_)) => Health::Bad,
            (false, None) => Health::Unknown,
        };
        lines.push(line(subject, state, observed));
    }
    for (what, seen) in [("interfaces", &diagnosed.interfaces), ("routes", &diagnosed.routes)] {
        let state = if seen.is_empty() { Health::Unknown } else { Health::Good };
        let observed = if seen.is_empty() { "none was told".to_owned() } else { seen.join(", ") };
        lines.push(line(format!("network/{what}"), state, observed));
    }
    lines
}
