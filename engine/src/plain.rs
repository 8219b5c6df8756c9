//! The two kinds of objects that must be readable before a key is known, the configuration and the key slots: one line
//! of JSON and one line with its SHA-256, so that damage is told apart from a wrong password.

use aws_lc_rs::digest;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a plain object can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It isn't two lines.
    Shape,
    /// The second line is not the hash of the first.
    Checksum,
    /// It is whole, yet not what was expected.
    Content,
}

/// `sha256:` and 64 hex digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(digest::digest(&digest::SHA256, bytes)))
}

pub(crate) fn write<T: Serialize>(value: &T) -> Vec<u8> {
    let line = serde_json::to_string(value).expect("plain objects are structs of strings and numbers");
    format!("{line}\n{}\n", sha256(line.as_bytes())).into_bytes()
}

pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    let text = std::str::from_utf8(bytes).map_err(|_| Unreadable::Shape)?;
    let (line, sum) = text.split_once('\n').ok_or(Unreadable::Shape)?;
    if sum.strip_suffix('\n') != Some(sha256(line.as_bytes()).as_str()) {
        return Err(Unreadable::Checksum);
    }
    serde_json::from_str(line).map_err(|_| Unreadable::Content)
}
