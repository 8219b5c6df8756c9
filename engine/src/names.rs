//! Names of objects. They hold random or keyed values only: nobody who lists the bucket learns a component's, a file's
//! or a collection's name from them.

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

/// Who is at maintenance, one generation an object.
pub(crate) const LEASE: &str = "lease/";
/// Lists of packs that are to go.
pub(crate) const CONDEMNED: &str = "condemned/";

/// What only a repository that was finished holds.
pub(crate) const STORED: [&str; 6] = [PACKS, INDEX, POINTS, MARKS, LEASE, CONDEMNED];

/// Whether an object of this name stays once it is written, so that a lock may hold it. Leases, probes and lists of the
/// condemned come and go. So do pieces of the index: what they say stands in the packs as well.
pub(crate) fn stays(name: &str) -> bool {
    name == CONFIG || [KEYS, PACKS, POINTS, MARKS].iter().any(|prefix| name.starts_with(prefix))
}

/// A pack's object, spread over 256 prefixes because stores throttle by prefix.
pub(crate) fn pack(id: &[u8; 16]) -> String {
    format!("{PACKS}{}/{}", hex::encode(&id[..1]), hex::encode(id))
}

/// What stands behind the last slash.
pub(crate) fn last_part(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
