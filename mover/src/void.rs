//! Which values of Secrets are void, in the bucket: what was replaced after a breach comes back from no point. A mark is called by a keyed digest over
//! Secret, key and value, so that the bucket tells nobody what it was, and says who made it void.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use crds::job::Revoked;
use engine::{Mark, Repository};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::{Failure, Result};

const KIND: &str = "revoked";

#[derive(Debug, Serialize, Deserialize)]
struct Word {
    by: String,
    at: Timestamp,
}

/// The marks of a repository.
#[derive(Debug)]
pub struct Void {
    key: [u8; 32],
    /// Who made it void, by the name of the mark.
    marks: BTreeMap<String, String>,
}

impl Void {
    /// What the bucket says.
    pub async fn of(repository: &Repository) -> Result<Self> {
        let read = |mark: Mark| {
            let word = Word::deserialize(&mark.value).map_err(|e| {
                Failure::unexpected("what a mark says of a revoked credential makes no sense", &e)
            })?;
            Ok((mark.name, word.by))
        };
        let marks = repository.marks(KIND).await?.into_iter().map(read).collect::<Result<_>>()?;
        Ok(Self { key: repository.digest_key(), marks })
    }

    /// Says that a value is void. What is said already costs no mark.
    pub async fn say(
        &mut self,
        repository: &Repository,
        of: &Revoked,
        value: &[u8],
        (by, at): (&str, Timestamp),
    ) -> Result<()> {
        let name = name(&self.key, of, value);
        if self.marks.contains_key(&name) {
            return Ok(());
        }
        let word = serde_json::to_value(Word { by: by.to_owned(), at }).expect("a word holds only strings");
        repository.put_mark(KIND, &name, word).await?;
        self.marks.insert(name, by.to_owned());
        Ok(())
    }

    /// The values of `object` that are void, with who made them so; none of what is no Secret.
    pub fn in_it(&self, object: &Value) -> Vec<(Revoked, &str)> {
        if object["kind"] != "Secret" || self.marks.is_empty() {
            return Vec::new();
        }
        let secret = object["metadata"]["name"].as_str().unwrap_or_default();
        let values = object["data"].as_object().into_iter().flatten();
        let void = values.filter_map(|(key, value)| {
            let value = BASE64_STANDARD.decode(value.as_str()?).ok()?;
            let of = Revoked { secret: secret.to_owned(), key: key.clone() };
            let by = self.marks.get(&name(&self.key, &of, &value))?;
            Some((of, by.as_str()))
        });
        void.collect()
    }
}

/// What a mark is called: each part with its length, so that no two of them look alike.
fn name(key: &[u8; 32], of: &Revoked, value: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(b"holdfast revoked credential");
    for part in [of.secret.as_bytes(), of.key.as_bytes(), value] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_about_one_value_of_one_key_of_one_secret_of_one_repository() {
        let of = |secret: &str, key: &str| Revoked { secret: secret.into(), key: key.into() };
        let one = name(&[1; 32], &of("env", "TOKEN"), b"value");
        assert_eq!(one, name(&[1; 32], &of("env", "TOKEN"), b"value"));
        for other in [
            name(&[2; 32], &of("env", "TOKEN"), b"value"),
            name(&[1; 32], &of("envT", "OKEN"), b"value"),
            name(&[1; 32], &of("env", "TOKENv"), b"alue"),
            name(&[1; 32], &of("env", "TOKEN"), b"value\n"),
        ] {
            assert_ne!(one, other);
        }
    }
}
