//! Free loopback ports for the servers that tests start. They lie below the range from which the kernel gives out ports for
//! outgoing connections and below the API servers' (`e2e/cluster/apiserver.sh`), and none is given out twice: between the
//! choice of a port and its server's start somebody else may want one.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};

const FIRST: u32 = 10_000;
const COUNT: u32 = 10_000;

/// `N` ports of 127.0.0.1 on which nobody listens.
///
/// # Errors
/// When all are taken.
pub fn free<const N: usize>() -> Result<[u16; N]> {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    // Two test programs at once begin at different places.
    let begin = std::process::id().wrapping_mul(97);
    let mut ports = [0; N];
    for port in &mut ports {
        *port = loop {
            let tried = TRIED.fetch_add(1, Ordering::Relaxed);
            ensure!(tried < COUNT, "no free loopback port from {FIRST} to {}", FIRST + COUNT);
            let candidate = u16::try_from(FIRST + begin.wrapping_add(tried) % COUNT)?;
            if TcpListener::bind(("127.0.0.1", candidate)).is_ok() {
                break candidate;
            }
        };
    }
    Ok(ports)
}
