//! What the process was given besides its arguments: read once, here, and passed on. Secrets are kept in types that print
//! nothing.

use std::path::PathBuf;

use jiff::Timestamp;
use secrecy::SecretString;

/// The environment as far as it concerns us.
#[derive(Debug)]
pub struct Environment {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: Option<String>,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: Option<SecretString>,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: Option<SecretString>,
    /// `AWS_ENDPOINT_URL_S3`, else `AWS_ENDPOINT_URL`.
    pub endpoint: Option<String>,
    /// `AWS_REGION`, else `AWS_DEFAULT_REGION`.
    pub region: Option<String>,
    /// `AWS_CA_BUNDLE`.
    pub ca_bundle: Option<PathBuf>,
    /// `HOLDFAST_PASSWORD`.
    pub password: Option<SecretString>,
    /// `HOLDFAST_NEW_PASSWORD`.
    pub new_password: Option<SecretString>,
    /// `HOLDFAST_SERVER_TOKEN`.
    pub server_token: Option<SecretString>,
    /// `HOLDFAST_SERVER_USER`.
    pub server_user: Option<SecretString>,
    /// `HOLDFAST_SERVER_PASSWORD`.
    pub server_password: Option<SecretString>,
    /// `HOLDFAST_REVOKED_TOKEN`: what it was before it was replaced.
    pub revoked_token: Option<SecretString>,
    /// `HOLDFAST_REVOKED_USER`.
    pub revoked_user: Option<SecretString>,
    /// `HOLDFAST_REVOKED_PASSWORD`.
    pub revoked_password: Option<SecretString>,
    /// `HOLDFAST_REQUEST`.
    pub request: Option<String>,
    /// `HOLDFAST_OBJECT_0` and so on.
    pub objects: Vec<String>,
    /// URL of the Kubernetes API, from `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`.
    pub api_server: Option<String>,
    /// `HOLDFAST_ROOT`: put before every directory of a Job, for tests.
    pub root: Option<PathBuf>,
    /// The clock.
    pub clock: fn() -> Timestamp,
}

impl Environment {
    /// Reads the environment of this process. Empty variables count as absent.
    pub fn read() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let secret = |name| text(name).map(SecretString::from);
        Self {
            access_key_id: text("AWS_ACCESS_KEY_ID"),
            secret_access_key: secret("AWS_SECRET_ACCESS_KEY"),
            session_token: secret("AWS_SESSION_TOKEN"),
            endpoint: text("AWS_ENDPOINT_URL_S3").or_else(|| text("AWS_ENDPOINT_URL")),
            region: text("AWS_REGION").or_else(|| text("AWS_DEFAULT_REGION")),
            ca_bundle: text("AWS_CA_BUNDLE").map(PathBuf::from),
            password: secret("HOLDFAST_PASSWORD"),
            new_password: secret("HOLDFAST_NEW_PASSWORD"),
            server_token: secret(crds::job::SERVER_TOKEN_ENV),
            server_user: secret(crds::job::SERVER_USER_ENV),
            server_password: secret(crds::job::SERVER_PASSWORD_ENV),
            revoked_token: secret(crds::job::REVOKED_TOKEN_ENV),
            revoked_user: secret(crds::job::REVOKED_USER_ENV),
            revoked_password: secret(crds::job::REVOKED_PASSWORD_ENV),
            request: text(crds::job::REQUEST_ENV),
            objects: (0..).map_while(|n| text(&format!("{}{n}", crds::job::OBJECT_ENV))).collect(),
            api_server: text("KUBERNETES_SERVICE_HOST").map(|host| {
                let host = if host.contains(':') { format!("[{host}]") } else { host };
                format!("https://{host}:{}", text("KUBERNETES_SERVICE_PORT").as_deref().unwrap_or("443"))
            }),
            root: text("HOLDFAST_ROOT").map(PathBuf::from),
            clock: now,
        }
    }
}

/// The time of day: the one place where it is asked for.
#[expect(clippy::disallowed_methods, reason = "everything else gets it from the environment")]
pub fn now() -> Timestamp {
    Timestamp::now()
}
