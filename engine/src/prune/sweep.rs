//! The deleting half of a prune. In this order, so that a death anywhere leaves nothing that points to what is gone: index
//! pieces without the packs that go are written, the old pieces are deleted, then the packs, then the lists that condemned
//! them.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::condemned::Condemned;
use super::removal::{Removal, Removed};
use crate::error::{Error, Result};
use crate::index::{IndexPiece, PIECE, pack_id, read_piece};
use crate::lease::Lease;
use crate::names::{INDEX, PACKS};
use crate::pack::{PackId, read_footer};
use crate::repository::Repository;
use crate::store::Object;

/// Smaller pieces than this are joined when there are more of them than [`MOST_SMALL`].
const SMALL: u64 = 256 << 10;
const MOST_SMALL: usize = 16;

/// What a sweep came to.
pub(super) struct Swept {
    /// Index pieces there are now.
    pub(super) pieces: u64,
    /// Packs that stay, because a piece that lists them is locked: it would look like damage.
    pub(super) kept_back: HashSet<PackId>,
}

/// What goes, and what must be listed.
pub(super) struct Going<'a> {
    /// Packs that are deleted.
    pub(super) packs: &'a HashSet<PackId>,
    /// Packs that points need and that no piece lists.
    pub(super) unlisted: &'a HashSet<PackId>,
    /// Lists of the condemned that are through.
    pub(super) through: &'a Condemned,
    /// How old a piece must be to be joined with others.
    pub(super) wait: SignedDuration,
}

/// Deletes these packs and what lists them, then the lists of the condemned that are through.
pub(super) async fn sweep(
    repo: &Repository,
    lease: &mut Lease,
    removal: &mut Removal<'_>,
    going: Going<'_>,
) -> Result<Swept> {
    let (locked, kept_back) = locked_pieces(repo, removal, going.packs).await?;
    let packs: HashSet<PackId> = going.packs.difference(&kept_back).copied().collect();
    let pieces = rewrite_index(repo, lease, removal, &Going { packs: &packs, ..going }, &locked).await?;
    // A piece that stays and lists what is gone would look like damage.
    if !removal.held.is_empty() {
        return Ok(Swept { pieces, kept_back });
    }
    for pack in &packs {
        lease.keep().await?;
        removal.delete(&pack.object()).await?;
    }
    if removal.held.is_empty() && kept_back.is_empty() {
        let Condemned { lists, unreadable } = going.through;
        for object in lists.iter().map(|list| &list.object).chain(unreadable) {
            if let Removed::Locked(_) = removal.delete(object).await? {
                removal.others_locked += 1;
            }
        }
    }
    Ok(Swept { pieces, kept_back })
}

/// The index pieces that are locked, and the packs among these that they list. Nobody locks pieces but a bucket's own
/// default.
async fn locked_pieces(
    repo: &Repository,
    removal: &mut Removal<'_>,
    packs: &HashSet<PackId>,
) -> Result<(HashSet<String>, HashSet<PackId>)> {
    let (mut locked, mut listed) = (HashSet::new(), HashSet::new());
    for piece in repo.store().list(INDEX).await? {
        if removal.locked(&piece.name).await?.is_none() {
            continue;
        }
        removal.others_locked += 1;
        match read_piece(repo, &piece.name).await {
            Ok(read) => listed.extend(read.iter().map(|pack| pack.id).filter(|id| packs.contains(id))),
            Err(Error::Damaged { .. }) => {}
            Err(Error::Store(e)) if e.is_not_found() => {}
            Err(e) => return Err(e),
        }
        locked.insert(piece.name);
    }
    Ok((locked, listed))
}

/// Replaces the pieces that list a pack that goes, is gone, or can't be read, joins small ones, and lists what was lost.
/// Those that are locked stay as they are. Returns how many there are now.
async fn rewrite_index(
    repo: &Repository,
    lease: &mut Lease,
    removal: &mut Removal<'_>,
    going: &Going<'_>,
    locked: &HashSet<String>,
) -> Result<u64> {
    let pieces = repo.store().list(INDEX).await?;
    // After the pieces: a pack is durable before a piece names it.
    let there: HashMap<PackId, u64> = repo
        .store()
        .list(PACKS)
        .await?
        .into_iter()
        .filter_map(|object| Some((pack_id(&object.name)?, object.size)))
        .collect();
    let stays = |id: &PackId| there.contains_key(id) && !going.packs.contains(id);
    // The piece of a capture that is under way is read back by it: what is young stays.
    let taken = lease.taken();
    let old = |modified: Option<Timestamp>| {
        modified.zip(taken).is_some_and(|(stored, now)| now.duration_since(stored) >= going.wait)
    };
    let small = |size: u64, modified| size < SMALL && old(modified);
    let is_small = |piece: &Object| !locked.contains(&piece.name) && small(piece.size, piece.modified);
    let join = pieces.iter().filter(|piece| is_small(piece)).count() > MOST_SMALL;

    let (mut next, mut written, mut replaced) = (IndexPiece::default(), 0, Vec::new());
    let (mut listed, mut moved, mut damaged) = (HashSet::new(), HashSet::new(), false);
    for piece in &pieces {
        let packs = match read_piece(repo, &piece.name).await {
            Ok(packs) => packs,
            Err(Error::Damaged { .. }) => {
                damaged = true;
                if !locked.contains(&piece.name) {
                    replaced.push(&piece.name);
                }
                continue;
            }
            Err(Error::Store(e)) if e.is_not_found() => continue,
            Err(e) => return Err(e),
        };
        listed.extend(packs.iter().map(|pack| pack.id));
        let joins = join && is_small(piece);
        if locked.contains(&piece.name) || !joins && packs.iter().all(|pack| stays(&pack.id)) {
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
    // What a damaged or lost piece listed is read from the packs themselves.
    let again = |id: &PackId| !listed.contains(id) && stays(id) && (damaged || going.unlisted.contains(id));
    if damaged || !going.unlisted.is_empty() {
        for (id, size) in there.iter().filter(|(id, _)| again(id)) {
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
        gone += u64::from(removal.delete(name).await? == Removed::Gone);
    }
    Ok(before - gone + written)
}
