//! Writes what is too large for one request in parts, several at once, visible only when the last step says so. An upload
//! that fails is given up, so that its parts are not paid for; one that dies with its writer is for the bucket's lifecycle.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::StoreError;
use super::lock::Retention;
use super::s3::S3Store;
use super::s3_errors::classify;
use crate::error::Category;

const PARTS_AT_ONCE: usize = 4;
/// The API's own limits.
const MOST_PARTS: u64 = 10_000;
const SMALLEST_PART: u64 = 5 << 20;

impl S3Store {
    pub(super) async fn write_in_parts(
        &self,
        name: &str,
        body: &Bytes,
        only_if_absent: bool,
    ) -> Result<(), StoreError> {
        let mut request = self.client.create_multipart_upload().bucket(&self.bucket).key(self.key(name));
        request = request.set_checksum_algorithm(self.checksummed.then_some(ChecksumAlgorithm::Crc32));
        if let Some(Retention { mode, until }) = self.retention_of(name) {
            request = request
                .object_lock_mode(mode.into())
                .object_lock_retain_until_date(super::s3_lock::date(until));
        }
        let begun = request.send().await.map_err(|e| self.failed("write", name, classify(&e)))?;
        let Some(upload) = begun.upload_id() else {
            let detail = "the store began no upload in parts".to_owned();
            return Err(self.failed("write", name, (Category::Input, detail)));
        };
        let written = self.parts(name, upload, body, only_if_absent).await;
        if written.is_err() {
            // What failed is what counts; a store that can't even do this has its lifecycle rule.
            let request = self.client.abort_multipart_upload().bucket(&self.bucket);
            let _ = request.key(self.key(name)).upload_id(upload).send().await;
        }
        written
    }

    async fn parts(
        &self,
        name: &str,
        upload: &str,
        body: &Bytes,
        only_if_absent: bool,
    ) -> Result<(), StoreError> {
        let size = part_size(body.len() as u64, self.part_size);
        let cuts = (1..).zip((0..body.len()).step_by(size));
        let sent = cuts.map(|(number, from)| {
            self.part(name, upload, number, body.slice(from..body.len().min(from + size)))
        });
        let done: Vec<CompletedPart> =
            futures::stream::iter(sent).buffered(PARTS_AT_ONCE).try_collect().await?;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(done)).build();
        let request = self.client.complete_multipart_upload().bucket(&self.bucket).key(self.key(name));
        let condition = only_if_absent.then(|| "*".to_owned());
        let request = request.upload_id(upload).multipart_upload(parts).set_if_none_match(condition);
        request.send().await.map(drop).map_err(|e| self.failed("write", name, classify(&e)))
    }

    async fn part(
        &self,
        name: &str,
        upload: &str,
        number: i32,
        bytes: Bytes,
    ) -> Result<CompletedPart, StoreError> {
        let request = self.client.upload_part().bucket(&self.bucket).key(self.key(name));
        let request = request.upload_id(upload).part_number(number).body(ByteStream::from(bytes));
        let sent = request.send().await.map_err(|e| self.failed("write", name, classify(&e)))?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag().map(str::to_owned))
            .set_checksum_crc32(sent.checksum_crc32().filter(|_| self.checksummed).map(str::to_owned))
            .build())
    }
}

/// How large each part is, so that there are not too many.
fn part_size(whole: u64, wanted: u64) -> usize {
    let size = wanted.max(SMALLEST_PART).max(whole.div_ceil(MOST_PARTS));
    usize::try_from(size).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_object_has_more_parts_than_the_api_allows() {
        assert_eq!(part_size(100 << 20, 16 << 20), 16 << 20);
        assert_eq!(part_size(100 << 20, 1), 5 << 20);
        let whole = 5_u64 << 40;
        assert!(whole.div_ceil(part_size(whole, 16 << 20) as u64) <= MOST_PARTS);
    }
}
