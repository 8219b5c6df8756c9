//! Where a repository is, as the user writes it: `file:///path` or `s3://bucket/prefix`. Credentials have no place in it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A parsed repository URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory.
    Directory(PathBuf),
    /// A bucket and a prefix without leading or trailing slash; the prefix may be empty.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// The prefix, without slashes at its ends.
        prefix: String,
    },
}

/// The URL can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` is no repository URL: {why}; write file:///path or s3://bucket/prefix")]
pub struct LocationError {
    /// What was given.
    pub url: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Location {
    /// Reads a repository URL.
    pub fn parse(url: &str) -> Result<Self, LocationError> {
        // What stands before an @ may be a secret: it isn't repeated.
        if url.contains('@') {
            return Err(LocationError {
                url: "...@...".into(),
                why: "credentials don't belong into it, pass them by environment",
            });
        }
        let fail = |why| Err(LocationError { url: url.to_owned(), why });
        if let Some(path) = url.strip_prefix("file://") {
            if !path.starts_with('/') {
                return fail("the path must be absolute, with three slashes");
            }
            let path = PathBuf::from(path);
            if path.components().any(|c| matches!(c, std::path::Component::ParentDir)) {
                return fail("the path must not contain `..`");
            }
            return Ok(Self::Directory(path));
        }
        let Some(rest) = url.strip_prefix("s3://") else { return fail("the scheme is unknown") };
        if rest.contains(['?', '#', ' ']) {
            return fail("it must not contain `?`, `#` or spaces");
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return fail("the bucket is missing");
        }
        let prefix = prefix.trim_matches('/');
        if prefix
            .split('/')
            .any(|part| part == ".." || part == "." || (part.is_empty() && !prefix.is_empty()))
        {
            return fail("the prefix must not contain `.`, `..` or empty parts");
        }
        Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl FromStr for Location {
    type Err = LocationError;
    fn from_str(url: &str) -> Result<Self, LocationError> {
        Self::parse(url)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "file://{}", path.display()),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_printed_alike() {
        for url in ["file:///srv/repo", "s3://bucket", "s3://bucket/a/b"] {
            assert_eq!(Location::parse(url).unwrap().to_string(), url);
        }
        assert_eq!(Location::parse("s3://b/arxiv/").unwrap().to_string(), "s3://b/arxiv");
    }

    #[test]
    fn what_is_no_url_of_ours_is_refused_with_the_reason() {
        for (url, why) in [
            ("file://srv/repo", "absolute"),
            ("/srv/repo", "scheme"),
            ("https://host/b", "scheme"),
            ("s3://", "bucket"),
            ("s3://b/../x", ".."),
            ("s3://b/a//x", "empty"),
            ("s3://b/a?x=1", "?"),
        ] {
            let message = Location::parse(url).unwrap_err().to_string();
            assert!(message.contains(why), "{message}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        let message = Location::parse("s3://key:hunter2@host/b").unwrap_err().to_string();
        assert!(!message.contains("hunter2"), "{message}");
    }
}
