//! A bad line to a good server: it passes requests on, one a connection, and does to the nth what it was told to. Scripted by
//! the number of the request, never by time or chance. What it passes comes from the real server, signatures included.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends before the server hears of it.
    DropBefore,
    /// The server does it, and not one byte of its answer arrives.
    DropAfter,
    /// The server gets half of it.
    CutRequest,
    /// Half of the answer's body arrives (of its head, if there is no body).
    CutAnswer,
    /// Half of the answer's body arrives, and its head says that this is all of it.
    ShortAnswer,
    /// One bit of the answer's body is another.
    FlippedBit,
    /// Half of the answer's body arrives, and then nothing, with the connection open.
    Stall,
    /// The answer comes in drops, and is whole in the end.
    Slow,
    /// 500 InternalError, and nothing is done.
    InternalError,
    /// 503 SlowDown, and nothing is done.
    SlowDown,
    /// 503 without a word, as a load balancer says it.
    Unavailable,
    /// 200 with a page that somebody between put there, and nothing is done.
    ForeignPage,
    /// 404 for what was asked for, as a store says it that does not see its newest writes; a write is done.
    Unseen,
    /// The answer carries an ETag of other bytes.
    WrongEtag,
    /// A write is acknowledged and forgotten; what is read is the truth.
    LyingOk,
    /// A list is answered as the first time it was asked for.
    StaleList,
}

/// A request as the script sees it.
#[derive(Debug)]
pub struct Seen {
    /// Counted from 1.
    pub number: usize,
    pub method: String,
    pub target: String,
}

impl Seen {
    pub fn is_list(&self) -> bool {
        self.method == "GET" && self.target.contains("list-type=2")
    }
}

/// The first answer to each list: what a stale one says. Shared by the lines of one scene, so that it grows old.
pub type FirstLists = Arc<Mutex<HashMap<String, Vec<u8>>>>;

type Script = dyn Fn(&Seen) -> Option<Fault> + Send + Sync;

/// The line. It ends with the runtime of the test.
pub struct Proxy {
    endpoint: String,
    count: Arc<AtomicUsize>,
}

impl Proxy {
    /// A line to the server at `endpoint` that follows the script.
    pub async fn to(
        endpoint: &str,
        first_lists: FirstLists,
        script: impl Fn(&Seen) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = format!("http://{}", listener.local_addr().unwrap());
        let line = Arc::new(Line {
            server: endpoint.trim_start_matches("http://").parse().unwrap(),
            script: Box::new(script),
            count: Arc::new(AtomicUsize::new(0)),
            first_lists,
        });
        let count = Arc::clone(&line.count);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let line = Arc::clone(&line);
                tokio::spawn(async move {
                    // A connection that breaks is what this is about.
                    let _ = line.serve(client).await;
                });
            }
        });
        Self { endpoint: own, count }
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// How many requests came until now.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

struct Line {
    server: SocketAddr,
    script: Box<Script>,
    count: Arc<AtomicUsize>,
    first_lists: FirstLists,
}

impl Line {
    async fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let Some((head, body)) = request(&mut client).await? else { return Ok(()) };
        let mut words = head.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let seen = Seen { number, method, target };
        let fault = (self.script)(&seen);
        let answer = match fault {
            Some(Fault::DropBefore) => return Ok(()),
            Some(Fault::InternalError) => refusal("500 Internal Server Error", "InternalError"),
            Some(Fault::SlowDown) => refusal("503 Slow Down", "SlowDown"),
            Some(Fault::Unavailable) => {
                b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
            }
            Some(Fault::ForeignPage) => foreign_page(),
            Some(Fault::Unseen) if matches!(seen.method.as_str(), "GET" | "HEAD") && !seen.is_list() => {
                match seen.method.as_str() {
                    "HEAD" => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
                    _ => refusal("404 Not Found", "NoSuchKey"),
                }
            }
            Some(Fault::LyingOk) if seen.method == "PUT" => {
                b"HTTP/1.1 200 OK\r\nETag: \"00000000000000000000000000000000\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
            }
            Some(Fault::CutRequest) => {
                let mut server = TcpStream::connect(self.server).await?;
                server.write_all(head.as_bytes()).await?;
                server.write_all(&body[..body.len() / 2]).await?;
                return Ok(());
            }
            _ => self.ask(&head, &body).await?,
        };
        let split = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
        let half = match answer.len() - split {
            0 => split / 2,
            length => split + length / 2,
        };
        match fault {
            Some(Fault::DropAfter) => {}
            Some(Fault::CutAnswer) => client.write_all(&answer[..half]).await?,
            Some(Fault::Stall) => {
                client.write_all(&answer[..half]).await?;
                // Until the client has had enough.
                while client.read(&mut [0; 64]).await? > 0 {}
            }
            Some(Fault::ShortAnswer) => client.write_all(&shortened(&answer, split, half)).await?,
            Some(Fault::FlippedBit) => {
                let mut answer = answer;
                if answer.len() > split {
                    answer[half] ^= 1;
                }
                client.write_all(&answer).await?;
            }
            Some(Fault::Slow) => {
                for drop in answer.chunks(answer.len().div_ceil(8)) {
                    client.write_all(drop).await?;
                    client.flush().await?;
                    // Not a wait for something: this is what the line is like.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            Some(Fault::WrongEtag) => client.write_all(&with_another_etag(&answer, split)).await?,
            Some(Fault::StaleList) if seen.is_list() => {
                let stale = self.first_lists.lock().unwrap().get(&seen.target).cloned();
                client.write_all(&stale.unwrap_or(answer)).await?;
            }
            _ => {
                if seen.is_list() {
                    let mut lists = self.first_lists.lock().unwrap();
                    lists.entry(seen.target).or_insert_with(|| answer.clone());
                }
                client.write_all(&answer).await?;
            }
        }
        client.shutdown().await
    }

    /// The server's whole answer, as it came.
    async fn ask(&self, head: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut server = TcpStream::connect(self.server).await?;
        let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        server.write_all(head.as_bytes()).await?;
        server.write_all(body).await?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).await?;
        while answer.starts_with(b"HTTP/1.1 100") {
            let end = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
            answer.drain(..end);
        }
        Ok(answer)
    }
}

/// One request: its head with the empty line, and its body.
async fn request(client: &mut TcpStream) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let field = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let length = field("content-length").map_or(0, |n| n.parse().unwrap());
    if field("expect").is_some() && body.len() < length {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    while body.len() < length {
        if client.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    // Ours closes after each request, whatever the client hoped for.
    let head: String = head
        .split_inclusive("\r\n")
        .filter(|line| !line.to_ascii_lowercase().starts_with("connection:"))
        .collect();
    Ok(Some((head, body)))
}

fn refusal(status: &str, code: &str) -> Vec<u8> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>by the script</Message></Error>"
    );
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// As a gateway to the network says that one has to log in first.
fn foreign_page() -> Vec<u8> {
    let body = "<!DOCTYPE html><html><body>Please log in to the network.</body></html>";
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The head with the length of what is left of the body.
fn shortened(answer: &[u8], split: usize, end: usize) -> Vec<u8> {
    let end = end.max(split);
    let head = String::from_utf8_lossy(&answer[..split]);
    let is_framing = |line: &str| {
        let line = line.to_ascii_lowercase();
        line.starts_with("content-length:") || line.starts_with("transfer-encoding:")
    };
    let mut lines: Vec<String> =
        head.split_inclusive("\r\n").filter(|line| !is_framing(line)).map(str::to_owned).collect();
    lines.insert(lines.len().saturating_sub(1), format!("Content-Length: {}\r\n", end - split));
    let mut short = lines.concat().into_bytes();
    short.extend_from_slice(&answer[split..end]);
    short
}

fn with_another_etag(answer: &[u8], split: usize) -> Vec<u8> {
    let head = String::from_utf8_lossy(&answer[..split]);
    let lines =
        head.split_inclusive("\r\n").map(|line| match line.to_ascii_lowercase().starts_with("etag:") {
            true => "ETag: \"0123456789abcdef0123456789abcdef\"\r\n",
            false => line,
        });
    let mut other: Vec<u8> = lines.collect::<String>().into_bytes();
    other.extend_from_slice(&answer[split..]);
    other
}
