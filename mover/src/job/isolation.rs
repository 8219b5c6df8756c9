//! Whether an isolation holds, seen from a pod that it does not except: what connected before must not connect any more. Names are resolved once, while
//! everything still answers, so that a resolver that is cut off looks like no proof. Through the connection that is held one byte is sent at the end,
//! and the kernel tells whether anybody has acknowledged it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use crds::job::{FailureReason, IsolationProbed, Report};
use crds::policy::Endpoint;
use crds::run::HeldConnection;
use futures::future::join_all;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

use super::Desk;
use crate::failure::{Failure, Result};

/// The longest wait for the resolver.
const RESOLVER: Duration = Duration::from_secs(5);
/// The longest wait for a connection.
const CONNECTION: Duration = Duration::from_secs(2);
/// From one round to the next.
const ROUND: Duration = Duration::from_secs(1);
/// Rounds that the control has, because a pod's network may be a moment late.
const CONTROLS: u32 = 3;
/// Rounds in a row in which nothing may connect.
const BLOCKED: u32 = 2;
/// How long somebody has to acknowledge a byte.
const ACKNOWLEDGED: Duration = Duration::from_secs(3);
/// A byte that says nothing yet: a record of TLS begins with it.
const BYTE: [u8; 1] = [0x16];

/// Something to connect to.
struct Target {
    name: String,
    address: SocketAddr,
}

pub(super) async fn probe(
    desk: &Desk,
    endpoints: &[Endpoint],
    ready_on: Option<u16>,
    patience: Duration,
) -> Result<Report> {
    let api = desk.environment.api_server.as_deref().and_then(|url| url.strip_prefix("https://"));
    let api = api.ok_or_else(|| {
        let why = "the pod was not told where the API server is (KUBERNETES_SERVICE_HOST)";
        Failure::new(FailureReason::InvalidRequest, why)
    })?;
    let named = endpoints.iter().map(|Endpoint { host, port }| format!("{host}:{port}"));
    let mut targets = resolve(std::iter::once(api.to_owned()).chain(named)).await;
    let (mut held, mut why, mut listener) = (None, String::new(), None);
    if let Some(port) = ready_on {
        for _ in 0..CONTROLS {
            let tried = join_all(targets.iter().map(|target| connect(target.address))).await;
            if tried.iter().any(std::result::Result::is_ok) {
                let mut connected = Vec::new();
                for (target, tried) in targets.into_iter().zip(tried) {
                    let Ok(stream) = tried else { continue };
                    // The API server says nothing to a byte and knows what to do with it.
                    if target.name == api {
                        held = Some(stream);
                    }
                    connected.push(target);
                }
                targets = connected;
                why.clear();
                break;
            }
            why = tried.iter().find_map(|tried| tried.as_ref().err().cloned()).unwrap_or_default();
            sleep(ROUND).await;
        }
        if targets.is_empty() || !why.is_empty() {
            let why = if why.is_empty() { "no name resolves".to_owned() } else { why };
            return Ok(said(&[], Vec::new(), HeldConnection::Unknown, why));
        }
        listener = Some(ready(port).await?);
    }
    let open = until_blocked(&targets, patience).await;
    let held = match held {
        Some(stream) => acknowledged(stream).await,
        None => HeldConnection::Unknown,
    };
    drop(listener);
    Ok(said(&targets, open, held, String::new()))
}

fn said(targets: &[Target], open: Vec<String>, held: HeldConnection, message: String) -> Report {
    let connected = targets.iter().map(|target| target.name.clone()).collect();
    Report::IsolationProbed(IsolationProbed { connected, open, held, message })
}

/// Those that have an address.
async fn resolve(names: impl Iterator<Item = String>) -> Vec<Target> {
    let one = |name: String| async move {
        let found = timeout(RESOLVER, lookup_host(name.clone())).await.ok()?.ok()?.next()?;
        Some(Target { name, address: found })
    };
    join_all(names.map(one)).await.into_iter().flatten().collect()
}

async fn connect(address: SocketAddr) -> std::result::Result<TcpStream, String> {
    match timeout(CONNECTION, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(format!("{address}: {error}")),
        Err(_) => Err(format!("{address}: no connection within {}s", CONNECTION.as_secs())),
    }
}

/// From now on the pod is ready: whoever isolates may begin.
async fn ready(port: u16) -> Result<TcpListener> {
    let bound = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
    };
    bound.map_err(|error| {
        let why = format!("the pod can't say that it is ready on port {port}: {error}");
        Failure::new(FailureReason::MoverFailed, why)
    })
}

/// What still connects when nothing is waited for any more; nothing once all of it was blocked.
async fn until_blocked(targets: &[Target], patience: Duration) -> Vec<String> {
    let began = Instant::now();
    let mut blocked = 0;
    loop {
        let tried = join_all(targets.iter().map(|target| connect(target.address))).await;
        let open: Vec<String> = targets
            .iter()
            .zip(tried)
            .filter(|(_, tried)| tried.is_ok())
            .map(|(target, _)| target.name.clone())
            .collect();
        blocked = if open.is_empty() { blocked + 1 } else { 0 };
        if blocked == BLOCKED || began.elapsed() > patience {
            return open;
        }
        sleep(ROUND).await;
    }
}

/// What becomes of a byte that is sent through a connection.
async fn acknowledged(mut stream: TcpStream) -> HeldConnection {
    let Ok(own) = stream.local_addr() else { return HeldConnection::Unknown };
    // The other end has closed it meanwhile, when that could still be heard.
    if matches!(stream.try_read(&mut [0; 1]), Ok(0)) {
        return HeldConnection::Unknown;
    }
    if stream.write_all(&BYTE).await.is_err() {
        return HeldConnection::Ended;
    }
    let began = Instant::now();
    loop {
        match waiting(own.port()) {
            Some(0) => return HeldConnection::StillOpen,
            Some(_) if began.elapsed() < ACKNOWLEDGED => sleep(ROUND / 4).await,
            Some(_) | None => return HeldConnection::Ended,
        }
    }
}

/// Bytes of the connection from this port that nobody has acknowledged; nothing when the kernel has given it up.
fn waiting(port: u16) -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    unacknowledged(&read("/proc/net/tcp"), port).or_else(|| unacknowledged(&read("/proc/net/tcp6"), port))
}

/// The same from the kernel's table: of each connection its own address, the other one, its state, and how much waits.
fn unacknowledged(table: &str, port: u16) -> Option<u64> {
    let own = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, state, queues) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let established = local.ends_with(&own) && state == "01";
        let (sent, _) = queues.split_once(':')?;
        established.then(|| u64::from_str_radix(sent, 16).ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_has_acknowledged_is_read_from_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
           0: 0B00120A:1F90 0100120A:01BB 01 00000001:00000000 01:00000014 00000000 65532 0 7 1\n\
           1: 0B00120A:1F91 0100120A:01BB 01 00000000:00000000 00:00000000 00000000 65532 0 8 1\n\
           2: 0B00120A:1F92 0100120A:01BB 06 00000000:00000000 00:00000000 00000000 65532 0 9 1\n";
        assert_eq!(unacknowledged(table, 0x1F90), Some(1));
        assert_eq!(unacknowledged(table, 0x1F91), Some(0));
        assert_eq!(unacknowledged(table, 0x1F92), None);
        assert_eq!(unacknowledged("", 1), None);
    }
}
