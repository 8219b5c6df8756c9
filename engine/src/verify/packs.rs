//! Every pack and every block of it, whether a point needs it or not.

use futures::{FutureExt, StreamExt};

use super::{READS_AT_ONCE, Verification};
use crate::ahead::ahead;
use crate::error::{Error, Result};
use crate::index::{Index, KnownPack, Place};
use crate::inspect::Finding;
use crate::pack::{BadPack, Placed, read_footer};
use crate::read::{Reader, Wanted};

impl Verification {
    /// Every pack's frame, and the blocks in it that no point led to.
    pub(super) async fn all_packs(&mut self) -> Result<()> {
        let reader = self.reader.clone();
        let repo = &reader.repo;
        let mut rest: Vec<Wanted> = Vec::new();
        for pack in reader.index.packs() {
            let object = pack.id.object();
            let size = match repo.store().head(&object).await {
                Ok(found) => found.size,
                Err(e) if e.is_not_found() => {
                    self.found(Finding { object, what: "it is missing (the index lists it)".to_owned() });
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            let what = match read_footer(repo.store(), repo.keys(), pack.id, size).await {
                Ok(Ok(placed)) if size == u64::from(pack.size) => {
                    rest.extend(
                        placed.into_iter().filter_map(|block| unread_copy(&reader.index, *pack, block)),
                    );
                    continue;
                }
                Ok(Ok(_)) => format!("it has {size} bytes instead of {}", pack.size),
                Ok(Err(BadPack::Damaged(what))) => what.to_owned(),
                Ok(Err(BadPack::Newer(found))) => return Err(repo.newer(&object, found)),
                Err(e) if e.category == crate::Category::Corrupt => e.detail,
                Err(e) => return Err(e.into()),
            };
            self.found(Finding { object, what });
        }
        for (id, place) in reader.index.blocks().filter(|(id, _)| !self.checked.contains(id)) {
            rest.push(Wanted { id, at: 0, place });
        }
        rest.sort_by_key(|part| (part.place.pack.id, part.place.offset));
        let from = reader.clone();
        let mut proved = ahead(Reader::runs(rest), READS_AT_ONCE, move |run| {
            let reader = from.clone();
            async move { reader.prove(&run, "an index").await }.boxed()
        });
        while let Some(answer) = proved.next().await {
            match answer {
                Ok(()) => {}
                Err(Error::Damaged { object, what, .. }) => {
                    self.findings.insert(Finding { object, what });
                }
                Err(Error::Missing { what: object, .. }) => {
                    let what = "it is missing (the index lists it)".into();
                    self.findings.insert(Finding { object, what });
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// A block that readers take from another pack, so that nothing else would look at this copy of it.
fn unread_copy(index: &Index, pack: KnownPack, block: Placed) -> Option<Wanted> {
    let Placed { id, class, offset, stored, raw } = block;
    let elsewhere = index.find(&id).is_none_or(|place| place.pack.id != pack.id);
    elsewhere.then_some(Wanted { id, at: 0, place: Place { pack, class, offset, stored, raw } })
}
