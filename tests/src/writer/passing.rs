//! Collections that come and go beside the others, as applications make them for a task and drop them after it.

use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use jiff::Timestamp;

use super::Hand;

/// Requests to each before it goes.
const REQUESTS: usize = 3;

impl Hand {
    /// Makes a collection, writes to it, drops the one before, and so on. Its own collection is only the first part of their names.
    pub(super) async fn pass(mut self, sync_threshold: u32) -> Result<()> {
        let stem = self.collection.clone();
        let mut before: Option<String> = None;
        let mut number = 0;
        while !self.stop.load(Ordering::SeqCst) {
            number += 1;
            self.collection = format!("{stem}-{number:04}");
            self.locked().being_made(&self.collection, Timestamp::now());
            self.id = self.server.create_collection(&self.collection, sync_threshold).await?;
            self.locked().made(&self.collection, Timestamp::now());
            let (mut ids, mut next) = (Vec::new(), 0);
            for _ in 0..REQUESTS {
                let request = self.compose(&mut ids, &mut next);
                self.carry_out(request).await?;
                tokio::time::sleep(self.between).await;
            }
            if let Some(gone) = before.replace(self.collection.clone()) {
                self.locked().being_dropped(&gone, Timestamp::now());
                self.server.drop_collection(&gone).await.with_context(|| format!("dropping {gone}"))?;
                self.locked().dropped(&gone, Timestamp::now());
            }
        }
        Ok(())
    }
}
