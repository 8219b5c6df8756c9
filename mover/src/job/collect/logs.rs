//! Logs of pods, the newest end of each.

use std::path::Path;
use std::time::Duration;

use futures::AsyncReadExt;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, Client};
use serde_json::Value;

use super::{Collecting, put, told};
use crate::job::Desk;

/// Bytes of one log that are kept.
const MOST_OF_ONE: usize = 8 << 20;
/// Bytes of all logs together.
const MOST_OF_ALL: u64 = 256 << 20;
/// The longest wait for more of a log.
const MORE: Duration = Duration::from_secs(20);

impl Collecting<'_> {
    /// Writes the logs of `pods`, and of what ran before in their place.
    pub(super) async fn logs(
        &mut self,
        desk: &Desk,
        client: &Client,
        pods: impl Iterator<Item = &Value>,
        since: SignedDuration,
        to: &Path,
    ) {
        let api: Api<Pod> = Api::namespaced(client.clone(), self.namespace);
        for log in pods.flat_map(told::logs) {
            let name = log.file();
            if self.collected.log_bytes >= MOST_OF_ALL {
                self.missed(
                    name,
                    format!("it is left out: {} MiB of logs are kept at most", MOST_OF_ALL >> 20),
                );
                continue;
            }
            desk.telling.say(format!("read {name}"));
            let params = LogParams {
                container: Some(log.container.to_owned()),
                previous: log.previous,
                since_seconds: Some(since.as_secs().max(1)),
                timestamps: true,
                ..LogParams::default()
            };
            let mut tail = Tail::of(MOST_OF_ONE);
            if let Err(why) = self.fetch(&api, log.pod, &params, &mut tail).await {
                self.missed(name.clone(), why);
            }
            let (bytes, dropped) = tail.end();
            if dropped > 0 {
                let why = format!(
                    "its newest {} bytes are kept, {dropped} bytes before them are left out",
                    bytes.len()
                );
                self.missed(name.clone(), why);
            }
            if bytes.is_empty() {
                continue;
            }
            match put(&to.join(&name), &bytes) {
                Ok(()) => {
                    self.collected.logs += 1;
                    self.collected.log_bytes += bytes.len() as u64;
                }
                Err(why) => self.missed(name, why),
            }
        }
    }

    async fn fetch(
        &self,
        api: &Api<Pod>,
        pod: &str,
        params: &LogParams,
        tail: &mut Tail,
    ) -> std::result::Result<(), String> {
        let mut stream = Box::pin(self.in_time(api.log_stream(pod, params)).await?);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let more = tokio::time::timeout(self.left().min(MORE), stream.read(&mut buffer)).await;
            match more {
                Ok(Ok(0)) => return Ok(()),
                Ok(Ok(read)) => tail.push(&buffer[..read]),
                Ok(Err(error)) => return Err(format!("it breaks off: {error}")),
                Err(_) if self.left().is_zero() => return Err(self.out_of_time()),
                Err(_) => return Err(format!("it breaks off: nothing came for {}s", MORE.as_secs())),
            }
        }
    }
}

/// The end of something long: the last bytes of whole lines.
struct Tail {
    most: usize,
    kept: Vec<u8>,
    dropped: u64,
}

impl Tail {
    fn of(most: usize) -> Self {
        Self { most, kept: Vec::new(), dropped: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        // Not at every line: what is moved then is moved once a log.
        if self.kept.len() > self.most * 2 {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let Some(over) = self.kept.len().checked_sub(self.most).filter(|over| *over > 0) else { return };
        let line = self.kept[over - 1..].iter().position(|byte| *byte == b'\n').map_or(over, |at| over + at);
        self.kept.drain(..line);
        self.dropped += line as u64;
    }

    /// The bytes, and how many before them are left out.
    fn end(mut self) -> (Vec<u8>, u64) {
        self.cut();
        (self.kept, self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_lines_of_a_log_are_kept_and_what_is_left_out_is_counted() {
        let lines: String = (0..2000).map(|n| format!("line {n:04}\n")).collect();
        for piece in [1, 7, 10, 333, 100_000] {
            let mut tail = Tail::of(105);
            lines.as_bytes().chunks(piece).for_each(|bytes| tail.push(bytes));
            let (kept, dropped) = tail.end();
            let text = String::from_utf8(kept.clone()).unwrap();
            assert!(text.starts_with("line 1990\n") && text.ends_with("line 1999\n"), "{piece}: {text}");
            assert_eq!(dropped as usize + kept.len(), lines.len());
        }
    }

    #[test]
    fn a_log_that_fits_is_kept_as_it_is_and_one_line_that_does_not_keeps_its_end() {
        let mut tail = Tail::of(10);
        tail.push(b"0123456789");
        assert_eq!(tail.end(), (b"0123456789".to_vec(), 0));
        let mut tail = Tail::of(4);
        tail.push(b"0123456789");
        assert_eq!(tail.end(), (b"6789".to_vec(), 6));
    }
}
