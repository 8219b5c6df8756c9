//! What can go wrong between a server and us.

/// A request that brought no answer we can use.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection, or no answer in time.
    #[error("{what} cannot be asked of {url}")]
    Unreachable {
        /// What was asked.
        what: String,
        /// Of whom.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The server refuses the credential, or wants one.
    #[error(
        "{what} is refused by {url} with status {status}. Give the credential that this server or its proxy wants"
    )]
    Denied {
        /// What was asked.
        what: String,
        /// Of whom.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The server answers with an error.
    #[error("{what} is answered by {url} with status {status}: {body}")]
    Status {
        /// What was asked.
        what: String,
        /// Of whom.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The start of what it said.
        body: String,
    },
    /// The answer is not what this API answers: another version, or not Chroma.
    #[error("{what} is answered with something else: {why}. Is this a Chroma server?")]
    Nonsense {
        /// What was asked.
        what: String,
        /// What is wrong with the answer.
        why: String,
    },
}

impl ClientError {
    /// One word for metrics and condition reasons.
    pub fn category(&self) -> &'static str {
        match self {
            ClientError::Unreachable { source, .. } if source.is_timeout() => "Timeout",
            ClientError::Unreachable { .. } => "Unreachable",
            ClientError::Denied { .. } => "Denied",
            ClientError::Status { .. } => "ServerError",
            ClientError::Nonsense { .. } => "UnknownAnswer",
        }
    }

    /// Whether asking again without a change by somebody is pointless.
    pub fn is_permanent(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } => false,
            ClientError::Status { status, .. } => (400..500).contains(status) && *status != 429,
            ClientError::Denied { .. } | ClientError::Nonsense { .. } => true,
        }
    }
}
