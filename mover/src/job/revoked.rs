//! Whether a ChromaDB still takes the credential that a run has replaced: only what it refuses is dead.

use chroma::client::{Auth, Client, ClientError, Scope};
use crds::job::{CheckResult, REVOKED_REFUSED};
use crds::policy::ServerAuth;
use crds::run::Verdict;

use super::server_auth::Given;
use super::validate::PATIENCE;
use super::{Desk, server_auth};
use crate::environment::Environment;
use crate::failure::sentence;

/// The line of the checklist. That the server takes the new one was seen by whoever asks this.
pub(super) async fn refused(desk: &Desk, url: &str, wanted: &ServerAuth, scopes: &[Scope]) -> CheckResult {
    let said = |verdict, observed: String| CheckResult {
        name: REVOKED_REFUSED.to_owned(),
        verdict,
        expected: "the old one refused, the new one taken".to_owned(),
        observed,
    };
    let old = match credential(&desk.environment, wanted) {
        Ok(old) => old,
        Err(why) => return said(Verdict::Inconclusive, why),
    };
    desk.telling.say("see that the replaced credential is refused");
    let asked = match Client::new(url, old, PATIENCE) {
        Ok(client) => client.collections(scopes).await.map(drop),
        Err(error) => Err(error),
    };
    match asked {
        Err(ClientError::Denied { status, .. }) => said(Verdict::Passed, format!("status {status}")),
        Err(error) => said(Verdict::Inconclusive, sentence(&error)),
        Ok(()) => said(Verdict::Failed, "the old one is still taken".to_owned()),
    }
}

/// The credential as it was: what was not replaced of it is as it is.
fn credential(environment: &Environment, wanted: &ServerAuth) -> Result<Auth, String> {
    let (now, Environment { revoked_token, revoked_user, revoked_password, .. }) =
        (Given::now(environment), environment);
    if revoked_token.is_none() && revoked_user.is_none() && revoked_password.is_none() {
        return Err("what it was is not there any more".to_owned());
    }
    let before = Given {
        token: revoked_token.as_ref().or(now.token),
        user: revoked_user.as_ref().or(now.user),
        password: revoked_password.as_ref().or(now.password),
    };
    server_auth::credential(&before, Some(wanted)).map_err(|_| "what it was is no credential".to_owned())
}
