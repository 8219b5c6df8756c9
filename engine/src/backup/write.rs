//! The uploading side of a capture: seals blocks on all cores, fills packs, uploads two at a time, and writes a piece of
//! the index every few packs, so that an interrupted capture sends little twice.

use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream::FuturesUnordered;
use futures::{StreamExt, stream};
use tokio::sync::mpsc::Receiver;

use crate::block::{Class, RawBlock, SealedBlock};
use crate::error::Result;
use crate::index::{IndexPiece, KnownPack};
use crate::pack::{ClosedPack, DurablePack, OpenPack, Placed};
use crate::repository::{Repository, blocking};

const UPLOADS_AT_ONCE: usize = 2;
const PACKS_A_PIECE: usize = 8;

/// What was written.
#[derive(Default)]
pub(super) struct Written {
    /// Bytes of packs.
    pub(super) bytes: u64,
    /// What the index pieces of this capture held when they were read back.
    pub(super) recorded: Vec<(KnownPack, Vec<Placed>)>,
}

/// Stores every block that arrives until the sender is gone; then everything is durable and indexed.
pub(super) async fn write_blocks(
    repo: &Repository,
    mut blocks: Receiver<RawBlock>,
    written_so_far: &AtomicU64,
) -> Result<Written> {
    let workers = std::thread::available_parallelism().map_or(2, usize::from).min(4);
    let mut sealed = stream::poll_fn(|cx| blocks.poll_recv(cx))
        .map(|block| {
            let repo = repo.clone();
            blocking(move || block.seal(repo.keys()))
        })
        .buffered(workers);
    let mut packer = Packer {
        repo,
        data: OpenPack::new(),
        meta: OpenPack::new(),
        uploads: FuturesUnordered::new(),
        piece: IndexPiece::default(),
        written: Written::default(),
        written_so_far,
    };
    while let Some(block) = sealed.next().await {
        packer.push(&block).await?;
    }
    packer.finish().await
}

struct Packer<'r, F> {
    repo: &'r Repository,
    data: OpenPack,
    meta: OpenPack,
    uploads: FuturesUnordered<F>,
    piece: IndexPiece,
    written: Written,
    written_so_far: &'r AtomicU64,
}

type Upload<'r> = futures::future::BoxFuture<'r, Result<DurablePack>>;

impl<'r> Packer<'r, Upload<'r>> {
    async fn push(&mut self, block: &SealedBlock) -> Result<()> {
        let pack = match block.class {
            Class::Data | Class::Patch => &mut self.data,
            Class::Meta => &mut self.meta,
        };
        pack.push(block);
        if pack.is_full() {
            let full = std::mem::replace(pack, OpenPack::new());
            self.upload(full.close(self.repo.keys())).await?;
        }
        Ok(())
    }

    async fn upload(&mut self, pack: Option<ClosedPack>) -> Result<()> {
        let Some(pack) = pack else { return Ok(()) };
        while self.uploads.len() >= UPLOADS_AT_ONCE {
            self.settle_one().await?;
        }
        self.uploads.push(Box::pin(pack.upload(self.repo.store())));
        Ok(())
    }

    /// Waits for one upload and records it.
    async fn settle_one(&mut self) -> Result<()> {
        let Some(done) = self.uploads.next().await else { return Ok(()) };
        let pack = done?;
        self.written.bytes += u64::from(pack.size);
        self.written_so_far.fetch_add(u64::from(pack.size), Ordering::Relaxed);
        self.piece.record(&pack);
        if self.piece.packs() >= PACKS_A_PIECE { self.end_piece().await } else { Ok(()) }
    }

    async fn end_piece(&mut self) -> Result<()> {
        let piece = std::mem::take(&mut self.piece);
        let (_, packs) = piece.write(self.repo).await?;
        self.written.recorded.extend(packs);
        Ok(())
    }

    async fn finish(mut self) -> Result<Written> {
        let keys = self.repo.keys();
        let data = std::mem::replace(&mut self.data, OpenPack::new());
        let meta = std::mem::replace(&mut self.meta, OpenPack::new());
        self.upload(data.close(keys)).await?;
        self.upload(meta.close(keys)).await?;
        while !self.uploads.is_empty() {
            self.settle_one().await?;
        }
        if self.piece.packs() > 0 {
            self.end_piece().await?;
        }
        Ok(self.written)
    }
}
