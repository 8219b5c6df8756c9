//! The units of a file that lie in patches. They are written when all others are in place, patch by patch: neighbours in the file
//! lie in many patches, so that by section each patch would be opened again and again. Their dictionaries have been put together out of
//! the frames that were read for the file, as far as those go.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::unwritable;
use crate::block::BlockId;
use crate::error::Result;
use crate::read::Reader;
use crate::repository::blocking;
use crate::units::map::PatchId;
use crate::units::{Gathering, Patched, Patches};

const READ: usize = 1 << 20;

/// Units that lie in patches, and what these need.
pub(super) struct Needed {
    pub(super) patches: Patches,
    pub(super) dictionaries: Arc<Gathering>,
    pub(super) units: Vec<Patched>,
}

/// Writes them into the target, telling the bytes of each patch.
pub(super) async fn write_patched(
    reader: &Reader,
    needed: Needed,
    target: &Arc<File>,
    path: &Path,
    shown: &str,
    mut wrote: impl FnMut(u64),
) -> Result<()> {
    let mut by_reference: BTreeMap<BlockId, BTreeMap<BlockId, Vec<Patched>>> = BTreeMap::new();
    for one in needed.units {
        by_reference.entry(one.patch.reference).or_default().entry(one.patch.id).or_default().push(one);
    }
    for (reference, of) in by_reference {
        let patches = reader.patches_of(&needed.patches, &needed.dictionaries, &reference, shown).await?;
        for (id, units) in of {
            let held = reader.patch(&patches, PatchId { id, reference }, shown).await?;
            let target = Arc::clone(target);
            let written = blocking(move || {
                let mut written = 0;
                for Patched { at, from, length, .. } in units {
                    target.write_all_at(&held[from..from + length], at)?;
                    written += length as u64;
                }
                Ok::<_, io::Error>(written)
            });
            wrote(written.await.map_err(unwritable(path))?);
        }
    }
    Ok(())
}

/// The hash of a file's first `size` bytes, read back; what is beyond its end counts as zeros.
pub(super) async fn hash_of(file: &Arc<File>, size: u64) -> io::Result<blake3::Hash> {
    let file = Arc::clone(file);
    blocking(move || {
        let (mut hasher, mut buffer, mut at) = (blake3::Hasher::new(), vec![0; READ], 0);
        while at < size {
            let length = READ.min(usize::try_from(size - at).unwrap_or(READ));
            match file.read_at(&mut buffer[..length], at) {
                Ok(0) => {
                    buffer[..length].fill(0);
                    hasher.update(&buffer[..length]);
                    at += length as u64;
                }
                Ok(read) => {
                    hasher.update(&buffer[..read]);
                    at += read as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(hasher.finalize())
    })
    .await
}
