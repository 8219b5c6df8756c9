//! Plays stories and says how they ended: several at a time where they don't disturb each other, alone where they touch the
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
use crate::solo::Playing;
use crate::stage::{self, Stage};
use crate::{evidence, install};

/// Stories at a time. Most of a story is waiting for pods, so there are more than the processors of a small machine.
const AT_ONCE: usize = 3;

/// One story.
pub struct Story {
    pub name: &'static str,
    /// What a user may rely on when it passes.
    pub promise: &'static str,
    /// Asks for its turn ([`Stage::alone`]) before it touches the installation.
    pub alone: bool,
    pub play: for<'a> fn(&'a Stage) -> BoxFuture<'a, Result<()>>,
}

/// What is left in the cluster at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Nothing.
    Nothing,
    /// The installation, for the next run.
    Installation,
    /// Whatever there is: the cluster itself is taken away.
    Everything,
}

/// Plays `stories`; true when all passed.
pub async fn run(stories: &[&'static Story], verbose: bool, leave: Leave) -> Result<bool> {
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
            if leave != Leave::Everything {
                stage::sweep_stories(&place).await?;
            }
            Err(anyhow!("interrupted"))
        }
        Some(played) => played,
    };
    match leave {
        Leave::Nothing => install::remove(&place).await.context("the installation can't be removed")?,
        Leave::Installation if result.is_ok() => install::as_usual(&place).await?,
        Leave::Installation | Leave::Everything => {}
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
    // Counted before the first begins, so that no turn comes while some of the company still wait for a place. Those that
    // play alone come last: they would keep a place from the others while they wait for their turn.
    let (alone, company): (Vec<_>, Vec<_>) = stories.iter().copied().partition(|story| story.alone);
    let company = company.into_iter().map(|story| (story, Some(place.solo.join())));
    let all: Vec<_> = company.chain(alone.into_iter().map(|story| (story, None))).collect();
    // Striking a stage waits for pods to end; the next story need not.
    let strikes = Arc::new(Semaphore::new(4));
    let ended = stream::iter(all)
        .map(|(story, playing)| play(place, story, playing, &strikes))
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let mut passed = 0;
    for (good, strike) in ended {
        passed += usize::from(good);
        if let Some(strike) = strike {
            strike.await.context("a clean-up died")?.context("a stage can't be taken away")?;
        }
    }
    Ok(passed)
}

type Strike = tokio::task::JoinHandle<Result<()>>;

async fn play(
    place: &Arc<Place>,
    story: &'static Story,
    playing: Option<Playing>,
    strikes: &Arc<Semaphore>,
) -> (bool, Option<Strike>) {
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
    // Without the wait for its turn.
    let seconds = (began.elapsed() - stage.waited()).as_secs_f32();
    match &ended {
        Ok(()) => println!("ok     {:<21}{seconds:>7.1} s", story.name),
        Err(error) => {
            evidence::print(place, &stage.namespace).await;
            println!("FAILED {:<21}{seconds:>7.1} s  {error:#}", story.name);
        }
    }
    drop(playing);
    let strikes = strikes.clone();
    let strike = tokio::spawn(async move {
        let _turn = strikes.acquire().await?;
        stage.strike().await
    });
    (ended.is_ok(), Some(strike))
}

/// Ends at Ctrl-C, at SIGTERM, and when the terminal goes.
pub async fn interrupted() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let Ok(mut signals) = kinds.into_iter().map(signal).collect::<Result<Vec<_>, _>>() else {
        return std::future::pending().await;
    };
    futures::future::select_all(signals.iter_mut().map(|signal| signal.recv().boxed())).await;
}
