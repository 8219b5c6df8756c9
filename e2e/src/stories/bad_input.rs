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
    // Each mistake is a story of its own: all are told before any failure counts, and all wait together.
    let of_policies = async {
        // The second needs the policies of the first.
        let sources = policies::sources(stage).await;
        (sources, policies::terminating(stage).await)
    };
    let (repositories, policies, runs, unreachable, keys, access, (sources, terminating), points) = tokio::join!(
        repositories::refused(stage),
        policies::refused(stage),
        runs::refused(stage),
        repositories::unreachable(stage),
        repositories::keys(stage),
        repositories::access(stage),
        of_policies,
        runs::points_and_rivals(stage),
    );
    let told = [
        ("repositories at admission", repositories),
        ("policies at admission", policies),
        ("runs at admission", runs),
        ("an unreachable server", unreachable),
        ("keys", keys),
        ("access", access),
        ("sources", sources),
        ("a Terminating namespace", terminating),
        ("points and rivals", points),
    ];
    let failures: Vec<String> =
        told.into_iter().filter_map(|(what, told)| Some(format!("{what}: {:#}", told.err()?))).collect();
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
