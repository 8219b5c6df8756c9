//! Some blocks of a file.

use futures::{FutureExt, StreamExt};

use super::{READS_AT_ONCE, Verification};
use crate::ahead::ahead;
use crate::error::Result;
use crate::inspect::finding;
use crate::point::Point;
use crate::read::Reader;
use crate::seal::random;
use crate::tree::Content;

/// A sample reads one block in this many, and at least the first of each file.
const SAMPLE_ONE_IN: u8 = 32;

impl Verification {
    /// Reads the first block of a file, or the first segment of one of records, and others by chance.
    pub(super) async fn sample(
        &mut self,
        point: &Point,
        content: &Content,
        size: u64,
        file: &str,
    ) -> Result<()> {
        let chance = || random::<1>()[0].is_multiple_of(SAMPLE_ONE_IN);
        let wanted = match content {
            Content::Units(units) => {
                let segmented = self.reader.segmented(units, size, file).await?;
                let mut wanted = Vec::new();
                for number in (0..segmented.maps.len()).filter(|n| *n == 0 || chance()) {
                    for state in self.reader.states(&segmented, number..number + 1, file).await? {
                        let section = segmented.geometry.section(size, number as u64);
                        wanted.extend(self.reader.locate_units(&section, &state, file)?);
                    }
                }
                wanted
            }
            Content::Blocks(_) | Content::Map(_) => {
                let (mut at, mut wanted) = (0, Vec::new());
                for segment in Reader::segments(content) {
                    let extents = self.reader.extents(&segment, file).await?;
                    let located = self.reader.locate(&extents, at, file)?;
                    at += extents.iter().map(|e| u64::from(e.raw)).sum::<u64>();
                    wanted.extend(located.into_iter().filter(|part| part.at == 0 || chance()));
                }
                wanted
            }
        };
        let (reader, needed_by) = (self.reader.clone(), file.to_owned());
        let mut runs = ahead(Reader::runs(wanted), READS_AT_ONCE, move |run| {
            let (reader, file) = (reader.clone(), needed_by.clone());
            async move {
                let read: u64 = run.parts.iter().map(|part| u64::from(part.place.raw)).sum();
                reader.prove(&run, &file).await.map(|()| read)
            }
            .boxed()
        });
        while let Some(proved) = runs.next().await {
            match proved {
                Ok(read) => {
                    self.report.bytes_checked += read;
                    self.tell(read);
                }
                Err(e) => {
                    let finding = finding(e, point)?;
                    self.found(finding);
                }
            }
        }
        Ok(())
    }
}
