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
    // Each mistake is a story of its own: all are told before any failure counts.
    let mut failures = Vec::new();
    let mut note = |what: &str, result: Result<()>| {
        if let Err(error) = result {
            failures.push(format!("{what}: {error:#}"));
        }
    };
    note("repositories at admission", repositories::refused(stage).await);
    note("policies at admission", policies::refused(stage).await);
    note("runs at admission", runs::refused(stage).await);
    // What waits for a probe waits together.
    let terminating = async {
        // Needs the policies of the one before.
        let sources = policies::sources(stage).await;
        (sources, policies::terminating(stage).await)
    };
    let (unreachable, keys, access, (sources, terminating), points) = tokio::join!(
        repositories::unreachable(stage),
        repositories::keys(stage),
        repositories::access(stage),
        terminating,
        runs::points_and_rivals(stage),
    );
    note("an unreachable server", unreachable);
    note("keys", keys);
    note("access", access);
    note("sources", sources);
    note("points and rivals", points);
    note("a Terminating namespace", terminating);
    ensure!(
        failures.is_empty(),
        "{} mistakes are not answered as promised:\n  {}",
        failures.len(),
        failures.join("\n  ")
    );
    Ok(())
}

/// The answer must hold every one of these words.
fn says(answer: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(answer.contains(word), "{word:?} is missing in: {answer}");
    }
    Ok(())
}
