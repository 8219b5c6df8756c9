//! Tells a person how far the work is: a bar on a terminal, plain lines every few seconds otherwise. Everything goes to
//! standard error; standard output belongs to results.

use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::ProgressSink;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a line is written where there is no terminal.
const EVERY: Duration = Duration::from_secs(5);

/// Who is told. Cheap to clone.
#[derive(Clone)]
pub struct Telling {
    inner: Arc<Inner>,
}

struct Inner {
    bar: Option<ProgressBar>,
    stage: Mutex<Option<Arc<Stage>>>,
}

/// One measured stretch of work.
struct Stage {
    name: &'static str,
    begun: Instant,
    bytes: AtomicU64,
    written: AtomicU64,
    total: AtomicU64,
    /// Milliseconds since the beginning, of the last line.
    told: AtomicU64,
}

impl Telling {
    /// A bar when standard error is a terminal and lines otherwise.
    pub fn new() -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { inner: Arc::new(Inner { bar, stage: Mutex::new(None) }) }
    }

    /// Says what happens now.
    pub fn say(&self, what: impl AsRef<str>) {
        match &self.inner.bar {
            Some(bar) => bar.set_message(what.as_ref().to_owned()),
            None => tracing::info!("{}", what.as_ref()),
        }
    }

    /// Whether a bar is shown, which wants to know how much there is to do.
    pub fn has_bar(&self) -> bool {
        self.inner.bar.is_some()
    }

    /// Begins a stretch of work whose bytes are counted.
    pub fn stage(&self, name: &'static str) -> ProgressSink {
        self.stage_of(name, None)
    }

    /// Begins a stretch of work of so many bytes, as far as that is known.
    pub fn stage_of(&self, name: &'static str, total: Option<u64>) -> ProgressSink {
        let stage = Arc::new(Stage {
            name,
            begun: Instant::now(),
            bytes: AtomicU64::new(0),
            written: AtomicU64::new(0),
            total: AtomicU64::new(0),
            told: AtomicU64::new(0),
        });
        *self.inner.stage.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&stage));
        if let Some(bar) = &self.inner.bar {
            bar.set_message(name);
        }
        let bar = self.inner.bar.clone();
        Arc::new(move |mut progress| {
            progress.bytes_total = progress.bytes_total.or(total);
            stage.bytes.store(progress.bytes, Ordering::Relaxed);
            stage.written.store(progress.bytes_written, Ordering::Relaxed);
            stage.total.store(progress.bytes_total.unwrap_or(0), Ordering::Relaxed);
            match &bar {
                Some(bar) => show(bar, &progress),
                None => stage.tell_if_due(),
            }
        })
    }

    /// Ends the stretch, with a line that sums it up.
    pub fn end_stage(&self) {
        let stage = self.inner.stage.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(stage), None) = (stage, &self.inner.bar) {
            tracing::info!("{}", stage.line());
        }
    }

    /// Removes the bar, before results are printed.
    pub fn clear(&self) {
        if let Some(bar) = &self.inner.bar {
            bar.finish_and_clear();
        }
    }
}

fn show(bar: &ProgressBar, progress: &engine::Progress) {
    bar.set_position(progress.bytes);
    if let (Some(total), None) = (progress.bytes_total, bar.length()) {
        let style = ProgressStyle::with_template(
            "{msg} [{bar:20}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
        );
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        // Draws it at once; all else waits for the next tick.
        bar.set_length(total);
    } else if progress.bytes_total.is_none() {
        let style = ProgressStyle::with_template("{msg} {binary_bytes} {binary_bytes_per_sec}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    }
}

impl Stage {
    fn tell_if_due(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = self.told.load(Ordering::Relaxed);
        let due = now.saturating_sub(last) >= EVERY.as_millis() as u64;
        if due && self.told.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::info!("{}", self.line());
        }
    }

    fn line(&self) -> String {
        let (done, total) = (self.bytes.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        let rate = done as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        let of = if total > 0 { format!(" of {}", bytes(total)) } else { String::new() };
        let written = bytes(self.written.load(Ordering::Relaxed));
        format!("{}: {}{of}, {}/s, {written} written", self.name, bytes(done), bytes(rate as u64))
    }
}

/// Bytes as a person reads them: `699Mi`, like Kubernetes prints them.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["", "Ki", "Mi", "Gi", "Ti"];
    let (mut value, mut unit) = (count as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 10.0 {
        format!("{value:.0}{}", UNITS[unit])
    } else {
        format!("{value:.1}{}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_like_those_of_kubernetes() {
        for (count, text) in
            [(0, "0"), (1023, "1023"), (1536, "1.5Ki"), (734_003_200, "700Mi"), (3 << 40, "3.0Ti")]
        {
            assert_eq!(bytes(count), text);
        }
    }
}
