//! Names of objects. They hold random or keyed values only: nobody who lists the bucket learns a component's, a file's
//! or a collection's name from them.

use crate::error::{Error, Result};

/// The commit record of creation.
pub(crate) const CONFIG: &str = "config";
/// Key slots.
pub(crate) const KEYS: &str = "keys/";
/// Packs of blocks.
pub(crate) const PACKS: &str = "packs/";
/// Lists of what lies in which pack.
pub(crate) const INDEX: &str = "index/";
/// Commit records of captures.
pub(crate) const POINTS: &str = "points/";
/// Small facts about points and runs.
pub(crate) const MARKS: &str = "marks/";
/// What is kept beside the points to be read by people: reports, audits.
pub(crate) const DOCUMENTS: &str = "documents/";

/// Who is at maintenance, one generation an object.
pub(crate) const LEASE: &str = "lease/";
/// Lists of packs that are to go.
pub(crate) const CONDEMNED: &str = "condemned/";

/// What only a repository that was finished holds.
pub(crate) const STORED: [&str; 7] = [PACKS, INDEX, POINTS, MARKS, DOCUMENTS, LEASE, CONDEMNED];

/// Whether an object of this name stays once it is written, so that a lock may hold it. Leases, probes and lists of the
/// condemned come and go. So do pieces of the index: what they say stands in the packs as well.
pub(crate) fn stays(name: &str) -> bool {
    name == CONFIG || [KEYS, PACKS, POINTS, MARKS, DOCUMENTS].iter().any(|prefix| name.starts_with(prefix))
}

/// A pack's object, spread over 256 prefixes because stores throttle by prefix.
pub(crate) fn pack(id: &[u8; 16]) -> String {
    format!("{PACKS}{}/{}", hex::encode(&id[..1]), hex::encode(id))
}

/// The prefix of a kind that a caller names: it is visible in the bucket.
pub(crate) fn of_kind(prefix: &str, kind: &str) -> Result<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if kind.is_empty() || kind.len() > 40 || !kind.chars().all(plain) {
        return Err(Error::Input(format!(
            "`{kind}` can't be a kind below {prefix}: use 1 to 40 of a-z, 0-9 and `-`"
        )));
    }
    Ok(format!("{prefix}{kind}/"))
}

/// A name that the bucket doesn't see: `keyed` hashes it together with its kind.
pub(crate) fn hidden(
    prefix: &str,
    kind: &str,
    name: &str,
    keyed: impl Fn(&[u8]) -> blake3::Hash,
) -> Result<String> {
    let hash = keyed(&[kind.as_bytes(), b"\0", name.as_bytes()].concat());
    Ok(format!("{}{}", of_kind(prefix, kind)?, hex::encode(&hash.as_bytes()[..16])))
}

/// What stands behind the last slash.
pub(crate) fn last_part(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
