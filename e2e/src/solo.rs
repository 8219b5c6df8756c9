//! Who may touch the installation that every story stands on: one story at a time, and only when nobody plays beside it.
//! Such a story opens beside the others and waits for its turn with all that needs no turn done.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard, watch};

/// The company that plays, and the turn of those that play alone.
#[derive(Default)]
pub struct Solo {
    company: watch::Sender<usize>,
    turn: Arc<Mutex<()>>,
}

/// One story of the company; it has left when this is dropped.
pub struct Playing {
    company: watch::Sender<usize>,
}

/// The installation is its holder's.
pub type Turn = OwnedMutexGuard<()>;

impl Solo {
    /// A story that counts on the installation, from now on.
    pub fn join(&self) -> Playing {
        self.company.send_modify(|playing| *playing += 1);
        Playing { company: self.company.clone() }
    }

    /// Waits until the company has left and nobody else plays alone.
    pub async fn turn(&self) -> Turn {
        let turn = self.turn.clone().lock_owned().await;
        // Fails only when the sender is gone, and that is ours.
        let _ = self.company.subscribe().wait_for(|playing| *playing == 0).await;
        turn
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        self.company.send_modify(|playing| *playing -= 1);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_turn_waits_for_the_company_and_for_the_turn_before() {
        let solo = Solo::default();
        let (one, other) = (solo.join(), solo.join());
        let mut first = Box::pin(solo.turn());
        assert!((&mut first).now_or_never().is_none(), "two play");
        drop(one);
        assert!((&mut first).now_or_never().is_none(), "one plays");
        drop(other);
        let turn = first.await;
        let mut second = Box::pin(solo.turn());
        assert!((&mut second).now_or_never().is_none(), "the first has its turn");
        drop(turn);
        second.await;
    }
}
