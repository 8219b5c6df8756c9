//! What bad input gets: an admission error or a condition that names the field and the remedy, and nothing lost. What can
//! come right by itself is waited for.

mod policies;
mod repositories;
mod runs;

use anyhow::{Result, ensure};
use futures::FutureExt;

use crate::runner::Story;
use crate::stage::Stage;

pub const STORY: Story = Story {
    name: "bad-input",
    promise: "every mistake is answered by a sentence that names the field and the remedy",
    alone: false,
    play: |stage| play(stage).boxed(),
};

async fn play(stage: &Stage) -> Result<()> {
    repositories::refused(stage).await?;
    policies::refused(stage).await?;
    runs::refused(stage).await?;
    // What waits for a probe waits together.
    let unreachable = repositories::unreachable(stage);
    let keys = repositories::keys(stage);
    let access = repositories::access(stage);
    let sources = policies::sources(stage);
    tokio::try_join!(unreachable, keys, access, sources)?;
    policies::terminating(stage).await?;
    runs::points_and_rivals(stage).await
}

/// The answer must hold every one of these words.
fn says(answer: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(answer.contains(word), "{word:?} is missing in: {answer}");
    }
    Ok(())
}
