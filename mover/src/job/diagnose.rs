//! Whether endpoints answer, seen from this pod: the resolver is asked, and a connection made and closed. Nothing is sent.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crds::job::{CheckResult, Diagnosed, EndpointSeen, Report};
use crds::policy::Endpoint;
use crds::run::Verdict;
use futures::future::join_all;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

/// The longest wait for the resolver, which asks its servers several times.
const RESOLVER: Duration = Duration::from_secs(20);
/// The longest wait for a connection.
const CONNECTION: Duration = Duration::from_secs(5);
/// Addresses of a name that are tried.
const TRIED: usize = 3;

/// From one round to the next.
const ROUND: Duration = Duration::from_secs(1);

/// Looks once, or as long as this until nothing answers any more.
pub(super) async fn diagnose(endpoints: &[Endpoint], patience: Option<Duration>) -> Report {
    let began = Instant::now();
    let mut seen = join_all(endpoints.iter().map(look)).await;
    while let Some(patience) = patience
        && seen.iter().any(|seen| seen.answers)
        && began.elapsed() < patience
    {
        sleep(ROUND).await;
        seen = join_all(endpoints.iter().map(look)).await;
    }
    let endpoints = seen;
    let (interfaces, routes) = network();
    Report::Diagnosed(Diagnosed { endpoints, interfaces, routes })
}

/// Interfaces and routes of this pod.
pub(super) fn network() -> (Vec<String>, Vec<String>) {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    (interfaces(&routes), told(&routes))
}

/// The line of the checklist about them; none where there are none.
pub(super) async fn checked(endpoints: &[Endpoint]) -> Option<CheckResult> {
    if endpoints.is_empty() {
        return None;
    }
    let seen = join_all(endpoints.iter().map(look)).await;
    let silent = endpoints.iter().zip(&seen).filter(|(_, seen)| !seen.answers);
    let names: Vec<String> = silent.clone().map(|(endpoint, _)| endpoint.to_string()).collect();
    let why = silent.map(|(_, seen)| seen.message.as_str()).next();
    Some(CheckResult {
        name: "network".to_owned(),
        verdict: if names.is_empty() { Verdict::Passed } else { Verdict::Failed },
        expected: format!("{} reached by name", endpoints.len()),
        observed: match why {
            None => format!("{} reached", endpoints.len()),
            Some(why) => format!("not {}: {why}", names.join(", ")),
        },
    })
}

async fn look(Endpoint { host, port }: &Endpoint) -> EndpointSeen {
    let silent = |message: String| EndpointSeen { answers: false, addresses: Vec::new(), message };
    let found: Vec<SocketAddr> = match timeout(RESOLVER, lookup_host((host.as_str(), *port))).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return silent(format!("the name does not resolve: {error}")),
        Err(_) => return silent(format!("the resolver did not answer within {}s", RESOLVER.as_secs())),
    };
    let addresses = found.iter().take(TRIED).map(|address| address.ip().to_string()).collect();
    let mut why = "the name resolves to no address".to_owned();
    for address in found.iter().take(TRIED) {
        let began = Instant::now();
        match timeout(CONNECTION, TcpStream::connect(address)).await {
            Ok(Ok(_)) => {
                let message = format!("connected in {}ms", began.elapsed().as_millis());
                return EndpointSeen { answers: true, addresses, message };
            }
            Ok(Err(error)) => why = format!("{}: {error}", address.ip()),
            Err(_) => why = format!("{}: no connection within {}s", address.ip(), CONNECTION.as_secs()),
        }
    }
    EndpointSeen { answers: false, addresses, message: why }
}

/// The interfaces but for the loopback, each with its state and the address from which it would send.
fn interfaces(routes: &str) -> Vec<String> {
    let Ok(found) = std::fs::read_dir("/sys/class/net") else { return Vec::new() };
    let names = found.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name != "lo").collect();
    names.sort();
    names
        .iter()
        .map(|name| {
            let state = std::fs::read_to_string(format!("/sys/class/net/{name}/operstate"));
            let state = state.map_or_else(|_| "?".to_owned(), |state| state.trim().to_owned());
            match own_address(routes, name) {
                Some(address) => format!("{name} {state} {address}"),
                None => format!("{name} {state}, no IPv4 route"),
            }
        })
        .collect()
}

/// The address of this pod towards what is behind an interface. Connecting a datagram socket sends nothing.
fn own_address(routes: &str, interface: &str) -> Option<IpAddr> {
    let route = routes.lines().skip(1).filter_map(Route::read).find(|route| route.interface == interface)?;
    let there = if route.gateway.is_unspecified() { route.destination } else { route.gateway };
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((there, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// An IPv4 route of the kernel's table.
#[derive(Debug, PartialEq)]
struct Route<'a> {
    interface: &'a str,
    destination: Ipv4Addr,
    gateway: Ipv4Addr,
    mask: Ipv4Addr,
}

impl<'a> Route<'a> {
    /// A line of `/proc/net/route`: addresses are hexadecimal, as they lie in memory.
    fn read(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let address = |n: usize| {
            let number = u32::from_str_radix(fields.get(n)?, 16).ok()?;
            Some(Ipv4Addr::from(number.to_ne_bytes()))
        };
        Some(Self {
            interface: fields.first()?,
            destination: address(1)?,
            gateway: address(2)?,
            mask: address(7)?,
        })
    }

    fn told(&self) -> String {
        let prefix = u32::from(self.mask).count_ones();
        let to = match prefix {
            0 => "default".to_owned(),
            _ => format!("{}/{prefix}", self.destination),
        };
        let via = match self.gateway {
            gateway if gateway.is_unspecified() => String::new(),
            gateway => format!(" via {gateway}"),
        };
        format!("{to}{via} dev {}", self.interface)
    }
}

/// The routes as people write them, the default one first.
fn told(routes: &str) -> Vec<String> {
    let mut all: Vec<Route<'_>> = routes.lines().skip(1).filter_map(Route::read).collect();
    all.sort_by_key(|route| u32::from(route.mask).count_ones());
    all.iter().map(Route::told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_told_as_people_write_them() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            eth0\t0000F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            eth0\t00000000\t0100F40A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            broken\n";
        assert_eq!(told(table), ["default via 10.244.0.1 dev eth0", "10.244.0.0/24 dev eth0"]);
        assert!(told("").is_empty());
    }
}
