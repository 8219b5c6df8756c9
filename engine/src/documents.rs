//! Documents: what people read later, kept beside the points, such as the report of a recovery or the audit of a breach. Each is written once; who
//! knows more writes another one. Names and contents are hidden from the store.

use futures::{FutureExt, TryStreamExt, future::BoxFuture};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ahead::ahead;
use crate::envelope::Kind;
use crate::error::{Error, Result};
use crate::names::{self, DOCUMENTS};
use crate::plain::sha256;
use crate::repository::Repository;
use crate::store::Put;

/// The most bytes of a document.
pub const MAX_DOCUMENT: usize = 64 << 20;

const READS_AT_ONCE: usize = 4;

/// A document as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The kind it was put under.
    pub kind: String,
    /// The name it was put under.
    pub name: String,
    /// What it holds.
    pub bytes: Vec<u8>,
    /// When it was stored, by the store's clock.
    pub stored_at: Option<Timestamp>,
}

impl Document {
    /// `sha256:` and the hash of its bytes: what `sha256sum` says of the file that they are written to.
    #[must_use]
    pub fn digest(&self) -> String {
        sha256(&self.bytes)
    }
}

/// The result of putting a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutDocument {
    /// It is ours, and was read back. Its digest.
    Created(String),
    /// One of that kind and name was there.
    Exists(Document),
}

#[derive(Serialize, Deserialize)]
struct Title {
    name: String,
}

impl Repository {
    /// Puts a document unless one of this kind and name exists, and reads it back. The kind is visible in the bucket: 1 to 40 letters a-z, digits
    /// and `-`. The name is not. A sealed repository takes it: it is evidence.
    pub fn put_document<'a>(
        &'a self,
        kind: &'a str,
        name: &'a str,
        bytes: &'a [u8],
    ) -> BoxFuture<'a, Result<PutDocument>> {
        Box::pin(async move {
            if bytes.len() > MAX_DOCUMENT {
                return Err(Error::Input(format!(
                    "document {name} has {} bytes, more than the {MAX_DOCUMENT} that one may have",
                    bytes.len()
                )));
            }
            let object = self.document_object(kind, name)?;
            // Looked at first, because a store may ignore the condition of the write.
            if let Some(document) = self.document(kind, name).await? {
                return Ok(PutDocument::Exists(document));
            }
            let title = Title { name: name.to_owned() };
            let mut body = serde_json::to_vec(&title).expect("a title holds only a string");
            body.push(b'\n');
            body.extend_from_slice(bytes);
            let put = self.write_object(Kind::Document, &object, &body).await?;
            let back = self.read_document(kind, &object).await?;
            match put {
                Put::Created if back.bytes == bytes => Ok(PutDocument::Created(sha256(bytes))),
                Put::Created => Err(self.damaged(&object, "it is read back other than it was written")),
                Put::Exists => Ok(PutDocument::Exists(back)),
            }
        })
    }

    /// The document of this kind and name, if there is one.
    pub fn document<'a>(&'a self, kind: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Document>>> {
        Box::pin(async move {
            match self.read_document(kind, &self.document_object(kind, name)?).await {
                Ok(document) => Ok(Some(document)),
                Err(Error::Store(e)) if e.is_not_found() => Ok(None),
                Err(e) => Err(e),
            }
        })
    }

    /// All documents of a kind, by name. A damaged one is an error.
    pub fn documents<'a>(&'a self, kind: &'a str) -> BoxFuture<'a, Result<Vec<Document>>> {
        Box::pin(async move {
            let listed = self.store().list(&names::of_kind(DOCUMENTS, kind)?).await?;
            let (repo, of) = (self.clone(), kind.to_owned());
            let read = ahead(listed, READS_AT_ONCE, move |object| {
                let (repo, kind) = (repo.clone(), of.clone());
                async move { repo.read_document(&kind, &object.name).await }.boxed()
            });
            let mut documents: Vec<Document> = read.try_collect().await?;
            documents.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(documents)
        })
    }

    fn document_object(&self, kind: &str, name: &str) -> Result<String> {
        names::hidden(DOCUMENTS, kind, name, |text| {
            blake3::keyed_hash(&self.keys().names, &[b"document\0", text].concat())
        })
    }

    async fn read_document(&self, kind: &str, object: &str) -> Result<Document> {
        let (_, mut body) = self.read_object(Kind::Document, object).await?;
        let end = body.iter().position(|byte| *byte == b'\n');
        let title = end.and_then(|end| serde_json::from_slice::<Title>(&body[..end]).ok().zip(Some(end)));
        let Some((Title { name }, end)) = title else {
            return Err(self.damaged(object, "it does not begin with its name"));
        };
        if names::last_part(&self.document_object(kind, &name)?) != names::last_part(object) {
            return Err(self.damaged(object, "it holds another document than its name says"));
        }
        body.drain(..=end);
        let stored_at = self.store().head(object).await?.modified;
        Ok(Document { kind: kind.to_owned(), name, bytes: body, stored_at })
    }
}
