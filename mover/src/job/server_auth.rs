//! The credential with which a running ChromaDB is asked, and what is told when it is refused, missing, or not wanted at all.

use std::time::Duration;

use chroma::client::{Auth, Client, ClientError, Scope};
use crds::job::{CREDENTIAL_WANTED, CheckResult, FailureReason};
use crds::policy::ServerAuth;
use crds::run::Verdict;
use secrecy::{ExposeSecret, SecretString};

use crate::environment::Environment;
use crate::failure::{Failure, Result, sentence};

/// Where a policy names the credential.
const FIELD: &str = "spec.component.chromaDB.auth";

/// What a server is asked with.
pub(super) struct Given<'a> {
    pub(super) token: Option<&'a SecretString>,
    pub(super) user: Option<&'a SecretString>,
    pub(super) password: Option<&'a SecretString>,
}

impl<'a> Given<'a> {
    /// What the environment has.
    pub(super) fn now(environment: &'a Environment) -> Self {
        Self {
            token: environment.server_token.as_ref(),
            user: environment.server_user.as_ref(),
            password: environment.server_password.as_ref(),
        }
    }
}

/// What the policy names.
pub(super) fn credential(given: &Given<'_>, wanted: Option<&ServerAuth>) -> Result<Auth> {
    let Some(wanted) = wanted else { return Ok(Auth::None) };
    let secret = wanted.secret();
    let Some(token) = &wanted.token_secret_ref else {
        let user = text(given.user, secret, "username")?;
        let password = text(given.password, secret, "password")?;
        return Ok(Auth::Basic { user, password });
    };
    let token = text(given.token, secret, &token.key)?;
    Ok(match &wanted.token_header {
        Some(name) => Auth::Header { name: name.clone(), value: token },
        None => Auth::Bearer(token),
    })
}

/// One trailing newline is not part of it, as in a key.
fn text(found: Option<&SecretString>, secret: &str, key: &str) -> Result<String> {
    let missing = |what: &str| {
        let why =
            format!("Secret {secret}, which {FIELD} names, {what}; put the one there that ChromaDB wants");
        Failure::new(FailureReason::CredentialsMissing, why)
    };
    let found = found.ok_or_else(|| missing(&format!("doesn't exist or has no `{key}`")))?.expose_secret();
    let found = found.strip_suffix('\n').unwrap_or(found);
    if found.is_empty() || found.chars().any(char::is_control) {
        return Err(missing(&format!("has a `{key}` that no header can carry")));
    }
    Ok(found.to_owned())
}

/// The failure for a server that refuses, or none for another error.
pub(super) fn denied(url: &str, wanted: Option<&ServerAuth>, error: &ClientError) -> Option<Failure> {
    let ClientError::Denied { status, .. } = error else { return None };
    let why = match wanted {
        None => format!(
            "{url} wants a credential (status {status}): name the Secret that has it in {FIELD} of the BackupPolicy"
        ),
        Some(wanted) => format!(
            "{url} refuses the credential of Secret {} (status {status}): correct the Secret, or {FIELD} of the BackupPolicy",
            wanted.secret()
        ),
    };
    Some(Failure::new(FailureReason::ServerAccessDenied, why))
}

/// Whether the server refuses whoever has no credential. ChromaDB lost its own authentication with 1.0, and a server that is put onto files
/// of an older one says nothing of it.
pub(super) async fn wanted(url: &str, scopes: &[Scope], patience: Duration) -> CheckResult {
    let asked = match Client::new(url, Auth::None, patience) {
        Ok(anybody) => anybody.collections(scopes).await.map(drop),
        Err(error) => Err(error),
    };
    let (verdict, observed) = match asked {
        Err(ClientError::Denied { status, .. }) => (Verdict::Passed, format!("status {status}")),
        Err(error) => (Verdict::Inconclusive, sentence(&error)),
        Ok(()) => (Verdict::Skipped, "everybody is answered".to_owned()),
    };
    let expected = "refused without the credential".to_owned();
    CheckResult { name: CREDENTIAL_WANTED.to_owned(), verdict, expected, observed }
}
