//! States of an object that a bucket with versions still has. The engine writes each name once, so a second state is always
//! somebody else's work.

use jiff::Timestamp;

/// One state of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The object's name.
    pub name: String,
    /// What the store calls this state.
    pub id: String,
    /// Bytes; 0 for a deletion.
    pub size: u64,
    /// What the store computed of its bytes: equal for equal bytes written in the same way.
    pub tag: String,
    /// When it was stored, by the store's clock.
    pub modified: Option<Timestamp>,
    /// It only says that the object was deleted.
    pub is_deletion: bool,
    /// It is what a read without more ado meets.
    pub is_newest: bool,
}
