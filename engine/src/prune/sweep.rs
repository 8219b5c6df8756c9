//! The deleting half of a prune. In this order, so that a death anywhere leaves nothing that points to what is gone: index
//! pieces without the packs that go are written, the old pieces are deleted, then the packs, then the lists that condemned
//! them.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::condemned::Condemned;
use crate::Category;
use crate::error::{Error, Result};
use crate::index::{IndexPiece, pack_id, read_piece};
use crate::lease::Lease;
use crate::names::{INDEX, PACKS};
use crate::pack::{PackId, read_footer};
use crate::repository::Repository;

/// A piece of the index is closed when it has grown to this.
const PIECE: usize = 2 << 20;
/// Smaller pieces than this are joined when there are more of them than [`MOST_SMALL`].
const SMALL: u64 = 256 << 10;
const MOST_SMALL: usize = 16;

/// Deletes an object. What may not be deleted is told, and stays.
pub(super) async fn delete(repo: &Repository, object: &str, held: &mut Vec<String>) -> Result<bool> {
    match repo.store().delete(object).await {
        Ok(()) => Ok(true),
        Err(e) if e.category == Category::AccessDenied => {
            held.push(object.to_owned());
            Ok(false)
        }
        Err(e) => Err(e.into()),
    }
}

/// Deletes these packs and what lists them, then the lists of the condemned that are through. What was held back is named
/// in `held`. Returns how many index pieces there were and are.
pub(super) async fn sweep(
    repo: &Repository,
    lease: &mut Lease,
    packs: &HashSet<PackId>,
    through: &Condemned,
    wait: SignedDuration,
    held: &mut Vec<String>,
) -> Result<(u64, u64)> {
    let rewritten = rewrite_index(repo, lease, packs, wait, held).await?;
    // A piece that stays and lists what is gone would look like damage.
    if !held.is_empty() {
        return Ok(rewritten);
    }
    for pack in packs {
        lease.keep().await?;
        delete(repo, &pack.object(), held).await?;
    }
    if held.is_empty() {
        for object in through.lists.iter().map(|list| &list.object).chain(&through.unreadable) {
            delete(repo, object, held).await?;
        }
    }
    Ok(rewritten)
}

/// Replaces the pieces that list a pack that goes, is gone, or can't be read, and joins small ones.
async fn rewrite_index(
    repo: &Repository,
    lease: &mut Lease,
    going: &HashSet<PackId>,
    wait: SignedDuration,
    held: &mut Vec<String>,
) -> Result<(u64, u64)> {
    let pieces = repo.store().list(INDEX).await?;
    // After the pieces: a pack is durable before a piece names it.
    let there: HashMap<PackId, u64> = repo
        .store()
        .list(PACKS)
        .await?
        .into_iter()
        .filter_map(|object| Some((pack_id(&object.name)?, object.size)))
        .collect();
    let stays = |id: &PackId| there.contains_key(id) && !going.contains(id);
    // The piece of a capture that is under way is read back by it: what is young stays.
    let taken = lease.taken();
    let old = |modified: Option<Timestamp>| {
        modified.zip(taken).is_some_and(|(stored, now)| now.duration_since(stored) >= wait)
    };
    let small = |size: u64, modified| size < SMALL && old(modified);
    let join = pieces.iter().filter(|piece| small(piece.size, piece.modified)).count() > MOST_SMALL;

    let (mut next, mut written, mut replaced) = (IndexPiece::default(), 0, Vec::new());
    let (mut listed, mut moved, mut damaged) = (HashSet::new(), HashSet::new(), false);
    for piece in &pieces {
        let packs = match read_piece(repo, &piece.name).await {
            Ok(packs) => packs,
            Err(Error::Damaged { .. }) => {
                damaged = true;
                replaced.push(&piece.name);
                continue;
            }
            Err(Error::Store(e)) if e.is_not_found() => continue,
            Err(e) => return Err(e),
        };
        listed.extend(packs.iter().map(|pack| pack.id));
        let joins = join && small(piece.size, piece.modified);
        if !joins && packs.iter().all(|pack| stays(&pack.id)) {
            continue;
        }
        replaced.push(&piece.name);
        for pack in packs.iter().filter(|pack| stays(&pack.id)) {
            if moved.insert(pack.id) {
                next.record(pack);
            }
            if next.bytes() >= PIECE {
                lease.keep().await?;
                std::mem::take(&mut next).write(repo).await?;
                written += 1;
            }
        }
    }
    if damaged {
        // What a damaged piece listed is read from the packs themselves.
        for (id, size) in there.iter().filter(|(id, _)| !listed.contains(*id) && stays(id)) {
            lease.keep().await?;
            let Ok(size) = u32::try_from(*size) else { continue };
            if let Ok(placed) = read_footer(repo.store(), repo.keys(), *id, size.into()).await? {
                next.record(&crate::pack::DurablePack { id: *id, size, placed });
            }
        }
    }
    if next.packs() > 0 {
        next.write(repo).await?;
        written += 1;
    }
    let before = pieces.len() as u64;
    let mut gone = 0;
    for name in replaced {
        gone += u64::from(delete(repo, name, held).await?);
    }
    Ok((before, before - gone + written))
}
