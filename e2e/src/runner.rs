//! Plays stories and says how they ended: two at a time where they don't disturb each other, alone where they touch the
//! installation. Whatever happens, also Ctrl-C, everything is taken away at the end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use crate::place::Place;
use crate::stage::{self, Stage};
use crate::{evidence, install};

/// One story.
pub struct Story {
    pub name: &'static str,
    /// What a user may rely on when it passes.
    pub promise: &'static str,
    /// Plays alone: it touches the installation.
    pub alone: bool,
    pub play: for<'a> fn(&'a Stage) -> BoxFuture<'a, Result<()>>,
}

/// Plays `stories`; true when all passed.
pub async fn run(stories: &[&'static Story], verbose: bool, keep_install: bool) -> Result<bool> {
    let place = Arc::new(Place::find(verbose).await?);
    let began = Instant::now();
    stage::sweep_stories(&place).await.context("what an earlier run left can't be removed")?;
    let played = tokio::select! {
        played = play_all(&place, stories) => Some(played),
        () = interrupted() => None,
    };
    let result = match played {
        None => {
            eprintln!("interrupted: cleaning up");
            stage::sweep_stories(&place).await?;
            Err(anyhow!("interrupted"))
        }
        Some(played) => played,
    };
    if !keep_install {
        install::remove(&place).await.context("the installation can't be removed")?;
    }
    let passed = result?;
    println!("{:.1} s in all", began.elapsed().as_secs_f32());
    println!("{passed} passed, {} failed", stories.len() - passed);
    Ok(passed == stories.len())
}

async fn play_all(place: &Arc<Place>, stories: &[&'static Story]) -> Result<usize> {
    let began = Instant::now();
    install::install(place).await?;
    println!("{:<28}{:>7.1} s", "Holdfast installed", began.elapsed().as_secs_f32());
    let (alone, together): (Vec<_>, Vec<_>) = stories.iter().copied().partition(|story| story.alone);
    // Striking a stage waits for pods to end; the next story need not.
    let strikes = Arc::new(Semaphore::new(4));
    let mut tasks = Vec::new();
    let mut passed = 0;
    let mut lines = stream::iter(together)
        .map(|story| play(place, story, &strikes))
        .buffer_unordered(2)
        .collect::<Vec<_>>()
        .await;
    for story in alone {
        lines.push(play(place, story, &strikes).await);
    }
    for (good, strike) in lines {
        passed += usize::from(good);
        tasks.extend(strike);
    }
    for task in tasks {
        task.await.context("a clean-up died")?.context("a stage can't be taken away")?;
    }
    Ok(passed)
}

type Strike = tokio::task::JoinHandle<Result<()>>;

async fn play(place: &Arc<Place>, story: &'static Story, strikes: &Arc<Semaphore>) -> (bool, Option<Strike>) {
    let began = Instant::now();
    let stage = match Stage::set(place, story.name).await {
        Ok(stage) => stage,
        Err(error) => {
            println!("FAILED {:<21}{:>7.1} s  {error:#}", story.name, began.elapsed().as_secs_f32());
            return (false, None);
        }
    };
    let ended = AssertUnwindSafe((story.play)(&stage)).catch_unwind().await;
    let ended = ended.unwrap_or_else(|_| Err(anyhow!("the story panicked")));
    let seconds = began.elapsed().as_secs_f32();
    match &ended {
        Ok(()) => println!("ok     {:<21}{seconds:>7.1} s", story.name),
        Err(error) => {
            evidence::print(place, &stage.namespace).await;
            println!("FAILED {:<21}{seconds:>7.1} s  {error:#}", story.name);
        }
    }
    let strikes = strikes.clone();
    let strike = tokio::spawn(async move {
        let _turn = strikes.acquire().await?;
        stage.strike().await
    });
    (ended.is_ok(), Some(strike))
}

/// Ends at Ctrl-C or SIGTERM.
pub async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
