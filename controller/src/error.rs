//! What can go wrong while the cluster is read or written, and what that means for the next try.

use std::time::Duration;

use kube::core::Status;

/// Why a reconciliation stopped. Nothing is lost: the next one starts from what the cluster holds.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or could not be reached.
    #[error("can't {verb} {object}")]
    Api {
        /// What was tried: get, list, create.
        verb: &'static str,
        /// Kind and name.
        object: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// An object of that name exists and belongs to somebody else.
    #[error("{object} exists and was not made for {owner}; delete or rename it")]
    NameTaken {
        /// Kind and name.
        object: String,
        /// The object it was wanted for.
        owner: String,
    },
    /// An object lacks what every stored object has.
    #[error("{object} has no {field}; the API server sets it on every object")]
    Incomplete {
        /// Kind and name.
        object: String,
        /// Field.
        field: &'static str,
    },
    /// A controller of a younger term acts.
    #[error("another controller took over (term {theirs}, ours is {ours})")]
    Superseded {
        /// Term of this process.
        ours: i64,
        /// Term found in a status.
        theirs: i64,
    },
}

/// Kinds of error, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    /// Somebody else wrote in between; the next look sees it.
    Conflict,
    /// Our rights don't suffice.
    Forbidden,
    /// The request can't succeed as it is.
    Invalid,
    /// The API server is away or overloaded.
    Unavailable,
    /// Another controller acts.
    Superseded,
}

impl Category {
    /// The word as metrics show it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Forbidden => "forbidden",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
            Self::Superseded => "superseded",
        }
    }
}

impl Error {
    /// Wraps an error of the API with what was tried on which object.
    pub fn api(verb: &'static str, object: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let object = object.into();
        move |source| Self::Api { verb, object, source: Box::new(source) }
    }

    /// Kind of the error.
    #[must_use]
    pub fn category(&self) -> Category {
        match self {
            Self::Api { source, .. } => match answer(source) {
                Some(status) if status.code == 409 => Category::Conflict,
                Some(status) if matches!(status.code, 401 | 403) => Category::Forbidden,
                Some(status) if matches!(status.code, 400 | 405 | 422) => Category::Invalid,
                _ => Category::Unavailable,
            },
            Self::NameTaken { .. } | Self::Incomplete { .. } => Category::Invalid,
            Self::Superseded { .. } => Category::Superseded,
        }
    }

    /// Whether trying the same again without any change can't help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self.category() {
            Category::Invalid | Category::Superseded => true,
            // A missing right may be granted, and no watch tells.
            Category::Conflict | Category::Forbidden | Category::Unavailable => false,
        }
    }

    /// The message with its causes in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            // kube prints its source inside its own message already.
            let told = error.to_string();
            if !text.contains(&told) {
                text.push_str(": ");
                text.push_str(&told);
            }
            cause = error.source();
        }
        text
    }
}

/// The API server's answer, when it is one.
#[must_use]
pub fn answer(error: &kube::Error) -> Option<&Status> {
    if let kube::Error::Api(status) = error { Some(status) } else { None }
}

/// Whether the API server answered with this HTTP code.
#[must_use]
pub fn is_code(error: &kube::Error, code: u16) -> bool {
    answer(error).is_some_and(|status| status.code == code)
}

/// How long to wait after the `failures`-th failure in a row: 1 s doubling to 60 s.
#[must_use]
pub fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1u64 << failures.saturating_sub(1).min(6)).min(Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16) -> Error {
        let status = Status { code, ..Status::default() };
        Error::api("get", "Job/a")(kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn only_what_no_retry_can_mend_is_permanent() {
        for (code, permanent) in
            [(400, true), (422, true), (403, false), (409, false), (429, false), (500, false)]
        {
            assert_eq!(api(code).is_permanent(), permanent, "{code}");
        }
        assert!(Error::Superseded { ours: 1, theirs: 2 }.is_permanent());
    }

    #[test]
    fn the_wait_doubles_and_is_capped() {
        let waits: Vec<u64> = (0..9).map(|n| backoff(n).as_secs()).collect();
        assert_eq!(waits, [1, 1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
