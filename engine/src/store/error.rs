//! Failures of the medium. One struct instead of an enum: every failure names the same four things (what was being
//! done, to which object, where, why), and the category decides the remedy.

use std::fmt;

use crate::error::Category;

/// A verb of a store failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError {
    /// What kind of failure it was.
    pub category: Category,
    /// What was being done, such as `write`.
    pub action: &'static str,
    /// The object or prefix; empty when the whole store is meant.
    pub object: String,
    /// Where: the URL, and the endpoint if there is one.
    pub place: String,
    /// Why, in the words of the medium.
    pub detail: String,
}

impl StoreError {
    /// Whether the object simply isn't there.
    pub fn is_not_found(&self) -> bool {
        self.category == Category::NotFound
    }

    /// Whether the same request may succeed a moment later. Everything else is final: to repeat it changes nothing.
    pub fn is_transient(&self) -> bool {
        matches!(self.category, Category::Unreachable | Category::Throttled)
    }

    fn remedy(&self) -> &'static str {
        match self.category {
            Category::Unreachable => {
                "check the endpoint, DNS, network policies and the store's health; it can be tried again"
            }
            Category::Throttled => "the store asks to slow down; try again later or lower the parallelism",
            Category::AccessDenied => "check the credentials and that they may do this here",
            Category::BucketMissing => "create it, or correct its name",
            Category::NotFound => "it does not exist or was deleted",
            Category::AlreadyExists => "it exists already and is never overwritten",
            Category::Corrupt => "the store returned other bytes than it should hold; verify the repository",
            Category::Full => "free or add space",
            _ => "correct the configuration",
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, object, place, detail, .. } = self;
        let gap = if object.is_empty() { "" } else { " " };
        write!(f, "can't {action}{gap}{object} in {place}: {detail}; {}", self.remedy())
    }
}

impl std::error::Error for StoreError {}
