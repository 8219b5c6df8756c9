//! Files of records, all versions of one path at a time: what they share is read once, and each is held against its hash.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;

use super::Verification;
use crate::error::{Error, Result};
use crate::inspect::finding;
use crate::point::Point;
use crate::subtrees::Subtrees;
use crate::tree::Units;
use crate::units::versions::Hashed;

/// One version of a file of records that is to be read.
pub(super) struct Version {
    /// A point that has it.
    point: Point,
    hash: String,
    identity: [u8; 32],
    size: u64,
    units: Units,
}

impl Version {
    pub(super) fn new(point: &Point, hash: &str, identity: [u8; 32], size: u64, units: &Units) -> Self {
        Self { point: point.clone(), hash: hash.to_owned(), identity, size, units: units.clone() }
    }
}

/// A version while its segments come.
struct Reading {
    version: Version,
    tree: Subtrees,
    /// Nothing of it has failed yet.
    sound: bool,
}

impl Verification {
    /// Reads the files that wait.
    pub(super) async fn files_of_records(&mut self) -> Result<()> {
        while let Some((path, mut versions)) = self.waiting.pop_first() {
            let mut seen = HashSet::new();
            for again in versions.extract_if(.., |version| !seen.insert(version.identity)) {
                self.tell(again.size);
            }
            self.versions(&path, versions).await?;
        }
        Ok(())
    }

    async fn versions(&mut self, path: &Path, versions: Vec<Version>) -> Result<()> {
        let shown = path.to_string_lossy().into_owned();
        let (mut reading, mut files) = (Vec::new(), Vec::new());
        for version in versions {
            let opened = self.reader.segmented(&version.units, version.size, &shown).await;
            match opened.and_then(|file| self.reader.bounded(&file, &shown).map(|()| file)) {
                Ok(file) => {
                    files.push(Arc::new(file));
                    reading.push(Reading { version, tree: Subtrees::default(), sound: true });
                }
                Err(e) => self.told(e, &version.point)?,
            }
        }
        let mut patches = self.reader.patches(&files, &shown).await;
        for (version, e) in std::mem::take(&mut patches.failures) {
            self.told(e, &reading[version].version.point)?;
        }
        self.checked.extend(patches.opened.drain());
        let mut segments = self.reader.segments_of(files, Arc::new(patches), &shown);
        while let Some(segment) = segments.next().await {
            self.checked.extend(segment.frames);
            for Hashed { version, bytes, parts } in segment.versions {
                let of = &mut reading[version];
                match parts {
                    Ok(Some(parts)) => {
                        of.tree.add(parts);
                        self.read(bytes);
                    }
                    Ok(None) => of.sound = false,
                    // One bad block must not hide another object's: the rest of the file is read all the same.
                    Err(e) => {
                        of.sound = false;
                        self.told(e, &of.version.point)?;
                    }
                }
            }
        }
        for Reading { version, tree, .. } in reading.into_iter().filter(|of| of.sound) {
            let hash = tree.finish(version.size);
            if hash.is_some_and(|hash| hash.to_hex().as_str() == version.hash) {
                self.sound.insert(version.identity);
            } else {
                let point = version.point.id.to_string();
                self.told(Error::HashMismatch { path: path.to_owned(), point }, &version.point)?;
            }
        }
        Ok(())
    }

    fn told(&mut self, error: Error, point: &Point) -> Result<()> {
        let finding = finding(error, point)?;
        self.found(finding);
        Ok(())
    }
}
