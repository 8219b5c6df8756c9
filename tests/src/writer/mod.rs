//! A writer as applications are: it adds, updates, upserts and deletes records of several collections of a running ChromaDB
//! over HTTP, several records a request, and keeps a ledger of what it sent and when it was acknowledged. [`truth`] holds a
//! restored server against that ledger. It refuses to guess: a request whose answer was lost is repeated until it is
//! answered, and counts as sent from its first try on.

#![allow(clippy::disallowed_methods, reason = "a writer's clock is the real one; the ledger is judged by it")]

mod ledger;
mod passing;
mod records;
mod server;
pub mod truth;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use ledger::{Entry, Ledger, Request, There, Verb};
pub use records::{Random, Record, synthetic};
pub use server::{Address, Refused, Server, Settings};

/// What a writer does.
#[derive(Clone, Debug)]
pub struct Load {
    /// Seed of every choice, so that a failure can be repeated.
    pub seed: u64,
    /// Collections, each with the records that requests are made of.
    pub collections: BTreeMap<String, Arc<Vec<Record>>>,
    /// Operations after which the server flushes a collection's vectors: few, so that flushes fall into captures.
    pub sync_threshold: u32,
    /// Records in a request, at most.
    pub per_request: usize,
    /// Pause between two requests of one collection.
    pub between: Duration,
    /// Whether further collections come and go all the time.
    pub passing: bool,
    /// Where the server takes settings from.
    pub settings: Settings,
}

impl Load {
    /// `collections` collections of synthetic records of `dimension` numbers: the load of most tests.
    #[must_use]
    pub fn synthetic(seed: u64, collections: usize, dimension: usize) -> Self {
        let pool = |n| Arc::new(synthetic(seed.wrapping_add(n), 200, dimension));
        Self {
            seed,
            collections: (0..collections as u64).map(|n| (format!("papers-{n}"), pool(n))).collect(),
            sync_threshold: 100,
            per_request: 8,
            between: Duration::from_millis(10),
            passing: false,
            settings: Settings::default(),
        }
    }
}

/// A writer at work. Dropping it ends it; [`Writer::stop`] also returns the ledger.
#[derive(Debug)]
pub struct Writer {
    stop: Arc<AtomicBool>,
    ledger: Arc<Mutex<Ledger>>,
    acknowledged: watch::Receiver<usize>,
    tasks: JoinSet<Result<()>>,
}

impl Writer {
    /// Creates the collections and starts writing to them, one request at a time a collection.
    pub async fn start(address: Arc<dyn Address>, load: Load) -> Result<Self> {
        Self::resume(address, load, Ledger::default()).await
    }

    /// Goes on writing where `ledger` ends: what it says is there is taken as being there.
    pub async fn resume(address: Arc<dyn Address>, load: Load, ledger: Ledger) -> Result<Self> {
        let server = Server::new(address)?.with(load.settings);
        let ledger = Arc::new(Mutex::new(ledger));
        let stop = Arc::new(AtomicBool::new(false));
        let (count, acknowledged) = watch::channel(0);
        let count = Arc::new(count);
        let mut tasks = JoinSet::new();
        for (n, (name, pool)) in load.collections.iter().enumerate() {
            if pool.is_empty() {
                bail!("collection {name} has no records to write");
            }
            let id = server.create_collection(name, load.sync_threshold).await?;
            let hand = |collection: String, n: usize| Hand {
                server: server.clone(),
                collection,
                id: id.clone(),
                pool: pool.clone(),
                random: Random::new(load.seed.wrapping_mul(31).wrapping_add(n as u64)),
                per_request: load.per_request.max(1),
                between: load.between,
                stop: stop.clone(),
                ledger: ledger.clone(),
                count: count.clone(),
            };
            tasks.spawn(hand(name.clone(), n).write());
            if load.passing && n == 0 {
                tasks.spawn(hand("passing".into(), load.collections.len()).pass(load.sync_threshold));
            }
        }
        Ok(Self { stop, ledger, acknowledged, tasks })
    }

    /// Waits until `more` requests were acknowledged after this call.
    pub async fn progress(&mut self, more: usize, limit: Duration) -> Result<()> {
        let goal = *self.acknowledged.borrow() + more;
        let waited = tokio::time::timeout(limit, self.acknowledged.wait_for(|n| *n >= goal))
            .await
            .map(|seen| seen.is_ok());
        match waited {
            Ok(true) => Ok(()),
            Ok(false) => self.failure().await,
            Err(_) => bail!(
                "the writer had {} of {goal} requests acknowledged after {limit:?}",
                *self.acknowledged.borrow()
            ),
        }
    }

    /// What was written so far.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets the requests under way end and returns the ledger. A request that can't be answered any more stays in it
    /// without an acknowledgement.
    pub async fn stop(mut self) -> Result<Ledger> {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(task) = self.tasks.join_next().await {
            task.context("a writing task died")??;
        }
        Ok(self.ledger())
    }

    async fn failure(&mut self) -> Result<()> {
        while let Some(task) = self.tasks.join_next().await {
            task.context("a writing task died")??;
        }
        bail!("the writer ended by itself")
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Adds these records, `per_request` at a time, and notes it in the ledger as a writer does.
pub async fn fill(
    address: Arc<dyn Address>,
    collections: &BTreeMap<String, BTreeMap<String, Record>>,
    per_request: usize,
    sync_threshold: u32,
    mut ledger: Ledger,
) -> Result<Ledger> {
    let server = Server::new(address)?;
    for (name, records) in collections {
        let id = server.create_collection(name, sync_threshold).await?;
        let all: Vec<(&String, &Record)> = records.iter().collect();
        for some in all.chunks(per_request.max(1)) {
            let records = some.iter().map(|(id, record)| ((*id).clone(), Some((*record).clone()))).collect();
            let request = Request { verb: Verb::Add, records };
            let index = ledger.begin(name, request.clone(), Timestamp::now());
            server.send(&id, &request).await.with_context(|| format!("filling collection {name}"))?;
            ledger.acknowledge(name, index, Timestamp::now());
        }
    }
    Ok(ledger)
}

/// Writes to one collection.
struct Hand {
    server: Server,
    collection: String,
    id: String,
    pool: Arc<Vec<Record>>,
    random: Random,
    per_request: usize,
    between: Duration,
    stop: Arc<AtomicBool>,
    ledger: Arc<Mutex<Ledger>>,
    count: Arc<watch::Sender<usize>>,
}

impl Hand {
    async fn write(mut self) -> Result<()> {
        let (mut ids, mut next) = {
            let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let ids: Vec<String> = ledger.state(&self.collection).into_keys().collect();
            (ids, ledger.entries(&self.collection).len() * self.per_request)
        };
        while !self.stop.load(Ordering::SeqCst) {
            let request = self.compose(&mut ids, &mut next);
            self.carry_out(request).await?;
            tokio::time::sleep(self.between).await;
        }
        Ok(())
    }

    /// Half adds, the rest updates, upserts and deletes of what is there.
    fn compose(&mut self, ids: &mut Vec<String>, next: &mut usize) -> Request {
        let size = 1 + self.random.below(self.per_request);
        let choice = self.random.below(10);
        let verb = match choice {
            _ if ids.len() < 3 * self.per_request => Verb::Add,
            0..=4 => Verb::Add,
            5 | 6 => Verb::Update,
            7 | 8 => Verb::Upsert,
            _ => Verb::Delete,
        };
        let mut records = BTreeMap::new();
        while records.len() < size {
            let fresh = verb == Verb::Add || (verb == Verb::Upsert && self.random.below(2) == 0);
            let id = if fresh {
                *next += 1;
                format!("{}-{:06}", self.collection, *next)
            } else {
                ids[self.random.below(ids.len())].clone()
            };
            let content = self.pool[self.random.below(self.pool.len())].clone();
            records.insert(id, (verb != Verb::Delete).then_some(content));
        }
        for (id, content) in &records {
            match content {
                None => ids.retain(|known| known != id),
                Some(_) if !ids.contains(id) => ids.push(id.clone()),
                Some(_) => {}
            }
        }
        Request { verb, records }
    }

    /// Sends until it is answered. Every request may be repeated: adding what is there changes nothing, the others say the same.
    async fn carry_out(&self, request: Request) -> Result<()> {
        let index = self.locked().begin(&self.collection, request.clone(), Timestamp::now());
        let began = Instant::now();
        loop {
            match self.server.send(&self.id, &request).await {
                Ok(()) => break,
                Err(refused) if refused.is_final() => {
                    return Err(refused).context(format!("collection {} refuses a request", self.collection));
                }
                // Stopped while the server is away: this request stays unacknowledged.
                Err(_) if self.stop.load(Ordering::SeqCst) => return Ok(()),
                Err(refused) if began.elapsed() > Duration::from_secs(180) => {
                    return Err(refused).context("the server did not come back within 3 minutes");
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        self.locked().acknowledge(&self.collection, index, Timestamp::now());
        self.count.send_modify(|n| *n += 1);
        Ok(())
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
