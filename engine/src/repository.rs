//! A repository: a store, an id, and the keys. Everything the engine does starts from an open one. It never guesses: a
//! place that is empty, foreign, half made, newer or locked with another password is told apart and left alone.

use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::JoinError;

use crate::ahead::ahead;
use crate::envelope::{self, BadHead, FORMAT, Kind};
use crate::error::{Error, Result};
use crate::keys::{self, Keys, MasterKey, Opened, Password};
use crate::names::{self, CONFIG};
use crate::older::{all_older, older};
use crate::plain::{self, Unreadable};
use crate::point::{Catalogue, Point, PointId, Record};
use crate::seal::{MAX_PLAIN, random};
use crate::store::{Object, Put, Store};

const MAGIC: &str = "holdfast repository";
const READS_AT_ONCE: usize = 8;
/// Opening tries each slot at the price of a password derivation, so their number is bounded.
pub(crate) const MOST_SLOTS: usize = 32;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    magic: String,
    format: u32,
    id: String,
    key_check: String,
    created: Timestamp,
}

/// What every version can read of a configuration.
#[derive(Deserialize)]
struct AnyConfig {
    magic: String,
    format: u32,
}

/// An open repository. Cheap to clone.
#[derive(Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    id: [u8; 16],
    master: MasterKey,
    keys: Keys,
    fingerprint: String,
    /// The object of the slot that opened.
    slot: String,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Repository({} in {})", self.id(), self.inner.store.place())
    }
}

/// Runs password derivations and other heavy work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = oneshot::channel();
    // Boxed, so that the runtime's machinery is compiled once and not for each piece of work.
    let boxed: Box<dyn FnOnce() + Send> = Box::new(move || drop(tell.send(work())));
    let ended = tokio::task::spawn_blocking(boxed).await;
    if let Err(Ok(panic)) = ended.map_err(JoinError::try_into_panic) {
        std::panic::resume_unwind(panic);
    }
    match told.await {
        Ok(done) => done,
        Err(_) => futures::future::pending().await, // the runtime is shutting down
    }
}

impl Repository {
    /// Makes a new repository. The configuration is written last, by a conditional write: of two that race one wins.
    pub fn init(store: Arc<dyn Store>, password: &Password, now: Timestamp) -> BoxFuture<'_, Result<Self>> {
        Box::pin(async move {
            password.check_strength()?;
            match survey(store.as_ref()).await? {
                Err(Error::RepositoryMissing { .. } | Error::HalfInitialised { .. }) => {}
                Err(other) => return Err(other),
                Ok(_) => return Err(Error::AlreadyARepository { place: store.place() }),
            }
            let id: [u8; 16] = random();
            let master = MasterKey::generate();
            let (made, secret) = (master.clone(), password.clone());
            let (info, slot) = blocking(move || {
                let keys = Keys::derive(&made, id);
                keys::new_slot(&made, &keys, &id, &secret, "first", now)
            })
            .await;
            let slot_name = format!("{}{}", names::KEYS, info.id);
            store.put_if_absent(&slot_name, Bytes::from(slot)).await?;
            let config = Config {
                magic: MAGIC.to_owned(),
                format: FORMAT,
                id: hex::encode(id),
                key_check: master.check(&id),
                created: now,
            };
            if store.put_if_absent(CONFIG, Bytes::from(plain::write(&config))).await? == Put::Exists {
                // Somebody else was faster: our slot opens nothing. Whoever may not delete leaves it, it does no harm.
                let _ = store.delete(&slot_name).await;
                return Err(Error::AlreadyARepository { place: store.place() });
            }
            // Opened as anybody would: a repository that can't be opened again must not look made.
            Self::open(store, password).await
        })
    }

    /// Opens an existing repository. Where a configuration or slots that somebody wrote over don't open, older versions of
    /// them are tried, if the bucket has any.
    pub fn open(store: Arc<dyn Store>, password: &Password) -> BoxFuture<'_, Result<Self>> {
        Box::pin(async move {
            let config = survey(store.as_ref()).await??;
            let listed = store.list(names::KEYS).await?;
            let mut slots = Vec::new();
            for object in listed.into_iter().take(MOST_SLOTS) {
                match store.get(&object.name, None).await {
                    Ok(slot) => slots.push((object.name, slot.to_vec())),
                    // Taken away between the list and the read, by one that lost the race to make the repository.
                    Err(gone) if gone.is_not_found() => {}
                    Err(other) => return Err(other.into()),
                }
            }
            if slots.is_empty() {
                return Err(Error::NoKeySlot { place: store.place() });
            }
            let failure = match Self::unlock(&store, &config, slots.clone(), password).await? {
                Ok(opened) => return Ok(opened),
                Err(failure) => failure,
            };
            let (mut configs, newest) = (vec![config], slots.len());
            let keep = |bytes: &Bytes| configs.extend(read_config(store.as_ref(), bytes).ok());
            all_older(store.as_ref(), CONFIG, keep).await?;
            for name in slots.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>() {
                all_older(store.as_ref(), &name, |slot| slots.push((name.clone(), slot.to_vec()))).await?;
            }
            if configs.len() == 1 && slots.len() == newest {
                return Err(failure);
            }
            slots.truncate(MOST_SLOTS);
            for config in &configs {
                if let Ok(opened) = Self::unlock(&store, config, slots.clone(), password).await? {
                    tracing::warn!(
                        "{}: its configuration or a key slot was written over by somebody; it was opened by an older version",
                        store.place()
                    );
                    return Ok(opened);
                }
            }
            Err(failure)
        })
    }

    /// Tries these slots. The inner error says that none opened.
    async fn unlock(
        store: &Arc<dyn Store>,
        config: &Config,
        slots: Vec<(String, Vec<u8>)>,
        password: &Password,
    ) -> Result<std::result::Result<Self, Error>> {
        let mut id = [0; 16];
        hex::decode_to_slice(&config.id, &mut id)
            .map_err(|_| damaged(store.as_ref(), CONFIG, "its content makes no sense"))?;
        let (secret, check) = (password.clone(), config.key_check.clone());
        let (opened, fingerprint) =
            blocking(move || (keys::open_any(&slots, &id, &check, &secret), secret.fingerprint())).await;
        Ok(match opened {
            Opened::Yes { master, slot } => {
                let keys = Keys::derive(&master, id);
                let store = Arc::clone(store);
                Ok(Self { inner: Arc::new(Inner { store, id, master, keys, fingerprint, slot }) })
            }
            Opened::No { tried, damaged } => Err(Error::WrongPassword {
                place: store.place(),
                slots: tried,
                fingerprint,
                damaged: match damaged.as_slice() {
                    [] => String::new(),
                    names => format!(" (damaged and not tried: {})", names.join(", ")),
                },
            }),
        })
    }

    /// Opens the repository, or makes it where nothing is yet.
    pub fn open_or_init(
        store: Arc<dyn Store>,
        password: &Password,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Self>> {
        Box::pin(async move {
            match Self::open(Arc::clone(&store), password).await {
                Err(Error::RepositoryMissing { .. } | Error::HalfInitialised { .. }) => {}
                other => return other,
            }
            match Self::init(Arc::clone(&store), password, now).await {
                Err(Error::AlreadyARepository { .. }) => Self::open(store, password).await,
                other => other,
            }
        })
    }

    /// The random id it was made with, 32 hex digits: tells it from one made anew in the same place.
    pub fn id(&self) -> String {
        hex::encode(self.inner.id)
    }

    /// The fingerprint of the password it was opened with, see [`Password::fingerprint`].
    pub fn fingerprint(&self) -> &str {
        &self.inner.fingerprint
    }

    /// A key for keyed digests of the caller, such as those of collections: the same for all who can open the
    /// repository, unknown to all others.
    pub fn digest_key(&self) -> [u8; 32] {
        *self.inner.keys.digests
    }

    /// The object of the slot that it was opened with.
    pub(crate) fn slot(&self) -> &str {
        &self.inner.slot
    }

    pub(crate) fn master(&self) -> &MasterKey {
        &self.inner.master
    }

    pub(crate) fn raw_id(&self) -> &[u8; 16] {
        &self.inner.id
    }

    /// Where it is, for messages.
    pub fn place(&self) -> String {
        self.inner.store.place()
    }

    /// The store below.
    pub fn store(&self) -> &dyn Store {
        self.inner.store.as_ref()
    }

    /// Every point, the oldest consistency time first.
    pub fn points(&self) -> BoxFuture<'_, Result<Catalogue>> {
        Box::pin(async move {
            let listed = self.store().list(names::POINTS).await?;
            let from = self.clone();
            let mut points = ahead(listed, READS_AT_ONCE, move |object| {
                let repo = from.clone();
                async move {
                    let read = match names::last_part(&object.name).parse() {
                        Ok(id) => {
                            repo.read_point(id).await.map(|p| Point { stored_at: object.modified, ..p })
                        }
                        Err(_) => Err(repo.damaged(&object.name, "it has no point's name")),
                    };
                    (object.name, read)
                }
                .boxed()
            });
            let mut catalogue = Catalogue::default();
            while let Some((name, read)) = points.next().await {
                match read {
                    Ok(point) => catalogue.points.push(point),
                    Err(Error::Damaged { what, .. }) => catalogue.unreadable.push((name, what)),
                    Err(e @ Error::NewerFormat { .. }) => catalogue.unreadable.push((name, e.to_string())),
                    Err(Error::PointNotFound { .. }) => {} // deleted between the list and the read
                    Err(e) => return Err(e),
                }
            }
            catalogue.points.sort_by_key(|p| (p.attributes.consistency_time, p.id));
            Ok(catalogue)
        })
    }

    /// The newest point of a component, by the order in which the store received them; damaged ones are passed over.
    pub(crate) async fn newest_of(&self, component: &str) -> Result<Option<Point>> {
        let mut listed = self.store().list(names::POINTS).await?;
        listed.sort_by_key(|object| std::cmp::Reverse(object.modified));
        for some in listed.chunks(READS_AT_ONCE) {
            let id = |object: &Object| names::last_part(&object.name).parse().ok().zip(Some(object.modified));
            let ids = some.iter().filter_map(id).collect();
            let from = self.clone();
            let mut points = ahead(ids, READS_AT_ONCE, move |(id, stored_at): (PointId, _)| {
                let repo = from.clone();
                async move { repo.read_point(id).await.map(|point| Point { stored_at, ..point }) }.boxed()
            });
            let mut newest: Option<Point> = None;
            while let Some(read) = points.next().await {
                match read {
                    Ok(point) if point.attributes.component == component => {
                        let time = |p: &Point| p.attributes.consistency_time;
                        if newest.as_ref().is_none_or(|known| time(known) < time(&point)) {
                            newest = Some(point);
                        }
                    }
                    Ok(_)
                    | Err(Error::Damaged { .. } | Error::NewerFormat { .. } | Error::PointNotFound { .. }) => {
                    }
                    Err(e) => return Err(e),
                }
            }
            if newest.is_some() {
                return Ok(newest);
            }
        }
        Ok(None)
    }

    /// One point.
    pub fn point(&self, id: PointId) -> BoxFuture<'_, Result<Point>> {
        Box::pin(async move {
            let point = self.read_point(id).await?;
            let Object { modified: stored_at, locked, .. } = self.store().head(&id.object()).await?;
            Ok(Point { stored_at, locked_until: locked.map(|kept| kept.until), ..point })
        })
    }

    /// The point that this attempt committed, if it did: the answer when a report was lost.
    pub fn find_by_attempt<'a>(&'a self, attempt: &'a str) -> BoxFuture<'a, Result<Option<Point>>> {
        Box::pin(async move {
            match self.point(PointId::of_attempt(self.keys(), attempt)).await {
                Ok(point) => Ok(Some(point)),
                Err(Error::PointNotFound { .. }) => Ok(None),
                Err(e) => Err(e),
            }
        })
    }

    async fn read_point(&self, id: PointId) -> Result<Point> {
        let object = id.object();
        let (stored, body) = match self.read_object(Kind::Point, &object).await {
            Err(Error::Store(e)) if e.is_not_found() => {
                return Err(Error::PointNotFound { place: self.place(), id: id.to_string() });
            }
            other => other?,
        };
        let Record { attributes, totals, skipped, tree } =
            serde_json::from_slice(&body).map_err(|_| self.damaged(&object, "its content makes no sense"))?;
        let digest = plain::sha256(&stored);
        Ok(Point {
            id,
            digest,
            stored_at: None,
            locked_until: None,
            attributes,
            totals,
            skipped,
            tree,
            part: None,
        })
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    /// Reads a sealed object: its bytes as stored, and what they hold.
    pub(crate) async fn read_object(&self, kind: Kind, name: &str) -> Result<(Bytes, Vec<u8>)> {
        let stored = self.store().get(name, None).await?;
        let failure = match self.unsealed(kind, name, &stored) {
            Ok(body) => return Ok((stored, body)),
            Err(failure) => failure,
        };
        let proved = |older: &Bytes| Some((older.clone(), self.unsealed(kind, name, older).ok()?));
        older(self.store(), name, None, proved).await?.ok_or(failure)
    }

    /// What a sealed object holds.
    fn unsealed(&self, kind: Kind, name: &str, stored: &[u8]) -> Result<Vec<u8>> {
        let sealed = match envelope::body(kind, stored) {
            Ok(sealed) => sealed,
            Err(BadHead::Newer(found)) => return Err(self.newer(name, found)),
            Err(BadHead::Damaged) => return Err(self.damaged(name, "its head is not of its kind")),
        };
        let opened = self.keys().objects.open(kind.purpose(), name.as_bytes(), sealed, MAX_PLAIN);
        opened.map_err(|_| self.damaged(name, "it fails authentication"))
    }

    /// Seals and writes an object unless it exists.
    pub(crate) async fn write_object(&self, kind: Kind, name: &str, body: &[u8]) -> Result<Put> {
        let sealed = self.keys().objects.seal(kind.purpose(), name.as_bytes(), body);
        let object = [envelope::head(kind).as_slice(), &sealed].concat();
        Ok(self.store().put_if_absent(name, Bytes::from(object)).await?)
    }

    pub(crate) fn damaged(&self, object: &str, what: impl Into<String>) -> Error {
        damaged(self.store(), object, what)
    }

    pub(crate) fn newer(&self, object: &str, found: u32) -> Error {
        Error::NewerFormat { place: self.place(), object: object.to_owned(), found, supported: FORMAT }
    }
}

fn damaged(store: &dyn Store, object: &str, what: impl Into<String>) -> Error {
    Error::Damaged { place: store.place(), object: object.to_owned(), what: what.into() }
}

/// What is there: a configuration, or the reason why there is none. The outer error is the store's.
async fn survey(store: &dyn Store) -> Result<std::result::Result<Config, Error>> {
    let place = store.place();
    match store.get(CONFIG, None).await {
        Ok(bytes) => {
            let newest = read_config(store, &bytes);
            // A newer format is believed at once only if nobody wrote it over an older one.
            return Ok(match newest {
                Ok(config) => Ok(config),
                Err(failure) => {
                    let proved = |older: &Bytes| read_config(store, older).ok();
                    match older(store, CONFIG, None, proved).await? {
                        Some(config) => Ok(config),
                        None => Err(judged(store, failure).await?),
                    }
                }
            });
        }
        Err(e) if e.is_not_found() => {}
        // A directory that isn't there yet is as good as an empty one; a bucket has to be made by its owner.
        Err(e) if e.category == crate::Category::BucketMissing && place.starts_with("file://") => {
            return Ok(Err(Error::RepositoryMissing { place }));
        }
        Err(e) => return Err(e.into()),
    }
    let Around { keys, ours, foreign } = around(store).await?;
    Ok(Err(match foreign {
        _ if keys && ours => Error::ConfigMissing { place },
        Some(example) => Error::NotARepository { place, example },
        None if keys => Error::HalfInitialised { place },
        None if ours => Error::ConfigMissing { place },
        None => Error::RepositoryMissing { place },
    }))
}

/// What lies beside a configuration that can't be read.
#[derive(Default)]
struct Around {
    keys: bool,
    /// Points, packs and the like.
    ours: bool,
    foreign: Option<String>,
}

async fn around(store: &dyn Store) -> Result<Around> {
    let mut seen = Around::default();
    for object in store.list("").await? {
        match object.name.as_str() {
            name if name.starts_with(names::KEYS) => seen.keys = true,
            name if name == CONFIG || name.starts_with("probe/") => {}
            name if names::STORED.iter().any(|p| name.starts_with(p)) => seen.ours = true,
            name => seen.foreign = Some(name.to_owned()),
        }
    }
    Ok(seen)
}

/// What is no configuration of ours is somebody else's file, unless the rest of a repository is there.
async fn judged(store: &dyn Store, failure: Error) -> Result<Error> {
    let foreign = matches!(failure, Error::NotARepository { .. });
    let damaged_here = foreign && matches!(around(store).await?, Around { keys: true, ours: true, .. });
    let what = "it is cut short or was written over; restore it from an older version of the object, or from a copy of the bucket";
    Ok(if damaged_here { damaged(store, CONFIG, what) } else { failure })
}

fn read_config(store: &dyn Store, bytes: &[u8]) -> std::result::Result<Config, Error> {
    let any: AnyConfig = match plain::read(bytes) {
        Ok(any) => any,
        Err(Unreadable::Checksum) => return Err(damaged(store, CONFIG, "its checksum is wrong")),
        Err(Unreadable::Shape | Unreadable::Content) => {
            return Err(Error::NotARepository { place: store.place(), example: CONFIG.to_owned() });
        }
    };
    if any.magic != MAGIC {
        return Err(Error::NotARepository { place: store.place(), example: CONFIG.to_owned() });
    }
    if any.format > FORMAT {
        return Err(Error::NewerFormat {
            place: store.place(),
            object: CONFIG.to_owned(),
            found: any.format,
            supported: FORMAT,
        });
    }
    plain::read(bytes).map_err(|_| damaged(store, CONFIG, "its content makes no sense"))
}
