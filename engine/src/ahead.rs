//! Several requests under way at once, their answers in order. Everything is owned, so that the operations built of it
//! can move between threads whatever they borrow themselves.

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};

/// Starts up to `at_once` pieces of work ahead of the answer being looked at.
pub(crate) fn ahead<T, R>(
    items: Vec<T>,
    at_once: usize,
    work: impl FnMut(T) -> BoxFuture<'static, R> + Send + 'static,
) -> BoxStream<'static, R>
where
    T: Send + 'static,
    R: Send + 'static,
{
    stream::iter(items).map(work).buffered(at_once).boxed()
}
