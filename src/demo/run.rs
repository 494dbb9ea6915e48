//! `slotway demo`: a throwaway cluster with the proxy in front. Boots the cluster, hands the proxy's own part to the
//! function it is given, says what can be tried, and takes everything down when that function returns.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

use rustix::process::{getpid, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{Config, ListenAddr};

use super::Error;
use super::alone::Alone;
use super::cluster::{Cluster, ClusterOptions};
use super::node::find_server;
use super::ports::check_listen;
use super::wait::Stop;

/// What `slotway demo` can be told about its cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// One server without cluster support in place of a cluster; `primaries` does not count then.
    pub standalone: bool,
    /// Primaries; they share the slots.
    pub primaries: usize,
    /// Replicas in all; they are dealt out to the primaries in turn.
    pub replicas: usize,
    /// The server program; `None`: the one on PATH.
    pub server: Option<PathBuf>,
    /// The first node's port, the others follow; `None`: free ones.
    pub base_port: Option<u16>,
    /// Where the nodes keep their files until the end; `None`: a temporary directory.
    pub dir: Option<PathBuf>,
}

/// What the proxy calls when it listens: its listeners, and its admin endpoint if it has one.
pub type Ready<'a> = &'a dyn Fn(&[String], Option<&str>);

/// Boots the cluster, runs `serve` in front of it with `config` and the cluster's nodes as seeds, and takes
/// everything down when `serve` returns. `serve` returns on SIGINT and SIGTERM once it has called what it is given;
/// before that, this function looks after these two.
pub fn run<E: std::fmt::Display>(
    options: &Options,
    mut config: Config,
    serve: impl FnOnce(Config, Ready<'_>) -> Result<(), E>,
) -> Result<(), Error> {
    let cluster_options = cluster_options(options, &config)?;
    let program = match &options.server {
        Some(path) => path.clone(),
        None => find_server()?,
    };
    check_listeners(&config)?;
    let stop = cluster_options.stop.clone();
    stop_on_signal(stop.clone())?;
    let (replicas, program) = (options.replicas, program.display());
    let booted = match options.standalone {
        true => {
            say(&format!(
                "slotway demo: booting one server and {replicas} replicas of {program}"
            ));
            Alone::boot(&cluster_options).map(Servers::Alone)
        }
        false => {
            let primaries = options.primaries;
            say(&format!(
                "slotway demo: booting {primaries} primaries and {replicas} replicas of {program}"
            ));
            Cluster::boot(&cluster_options).map(Servers::Cluster)
        }
    };
    let servers = match booted {
        Ok(servers) => servers,
        Err(Error::Interrupted) => return Ok(()),
        Err(error) => return Err(error),
    };
    if stop.is_requested() {
        return Ok(());
    }
    config.cluster.nodes = match &servers {
        Servers::Cluster(cluster) => cluster.seeds(),
        Servers::Alone(alone) => alone.seeds(),
    };
    let ready = |listeners: &[String], admin: Option<&str>| {
        say(&introduction(&servers, listeners, admin));
        if stop.is_requested() {
            // It came before the proxy waited for signals, and would be lost.
            let _ = kill_process(getpid(), rustix::process::Signal::TERM);
        }
    };
    serve(config, &ready).map_err(|error| Error::Proxy(error.to_string()))
}

fn cluster_options(options: &Options, config: &Config) -> Result<ClusterOptions, Error> {
    let upstream = &config.upstream;
    if let Some(user) = upstream
        .username
        .as_deref()
        .filter(|user| *user != "default")
    {
        return Err(Error::Shape(format!(
            "the demo's cluster has only the user 'default': leave out upstream.username = {user:?}"
        )));
    }
    let password = upstream.password.as_ref();
    let password = password.map(|secret| String::from_utf8_lossy(secret.reveal()).into_owned());
    Ok(ClusterOptions {
        server: options.server.clone(),
        primaries: options.primaries,
        replicas: options.replicas,
        base_port: options.base_port,
        dir: options.dir.clone(),
        password,
        ..ClusterOptions::default()
    })
}

/// A taken port is found before the cluster is booted, not after.
fn check_listeners(config: &Config) -> Result<(), Error> {
    let clients = config
        .listen
        .addresses
        .iter()
        .filter_map(|addr| match addr {
            ListenAddr::Tcp(addr) => Some((*addr, "slotway")),
            ListenAddr::Unix(_) => None,
        });
    let admin = config
        .admin
        .listen
        .map(|addr| (addr, "slotway's admin endpoint"));
    for (addr, needed_for) in clients.chain(admin) {
        check_listen(addr).map_err(|source| match source.kind() {
            std::io::ErrorKind::AddrInUse => Error::PortTaken {
                ip: addr.ip(),
                port: addr.port(),
                needed_for: needed_for.to_owned(),
            },
            _ => Error::io(format!("listening on {addr}"), source),
        })?;
    }
    Ok(())
}

/// From here on these signals do not end the process by themselves, which would leave files. The thread ends with the
/// process; it only sets `stop`, which nobody looks at any more once the proxy runs. The proxy does not end on SIGHUP,
/// which a closed terminal sends: it is told so by SIGTERM.
fn stop_on_signal(stop: Stop) -> Result<(), Error> {
    let (ready, is_ready) = sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build();
        let signals = runtime.and_then(|runtime| {
            let signals = runtime.block_on(async { all_signals() })?;
            Ok((runtime, signals))
        });
        let (runtime, mut signals) = match signals {
            Ok(both) => both,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let _ = ready.send(Ok(()));
        runtime.block_on(async {
            let [interrupt, terminate, hangup] = &mut signals;
            let hung_up = tokio::select! {
                _ = interrupt.recv() => false,
                _ = terminate.recv() => false,
                _ = hangup.recv() => true,
            };
            stop.request();
            if hung_up {
                let _ = kill_process(getpid(), rustix::process::Signal::TERM);
            }
        });
    });
    let installed = is_ready
        .recv()
        .unwrap_or_else(|gone| Err(std::io::Error::other(gone)));
    installed.map_err(|error| Error::io("waiting for signals", error))
}

fn all_signals() -> std::io::Result<[Signal; 3]> {
    Ok([
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
    ])
}

/// A listener on every address is reached on the loopback one.
fn as_client(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    addr
}

/// What was booted.
enum Servers {
    Cluster(Cluster),
    Alone(Alone),
}

/// A line for each shard of a cluster, and what can be tried with a replica.
fn introduce(cluster: &Cluster) -> (Vec<String>, Option<String>) {
    let mut lines = Vec::new();
    for primary in 0..cluster.primaries() {
        let (first, last) = cluster.booted_slots(primary);
        let replicas: Vec<String> = (cluster.primaries()..cluster.len())
            .filter(|&replica| cluster.booted_primary(replica) == primary)
            .map(|replica| cluster.addr(replica).to_string())
            .collect();
        let replicas = match replicas.is_empty() {
            true => String::new(),
            false => format!(", replicated by {}", replicas.join(" and ")),
        };
        let addr = cluster.addr(primary);
        lines.push(format!("  {addr} serves slots {first}-{last}{replicas}"));
    }
    let replica = (cluster.primaries() < cluster.len()).then(|| cluster.primaries());
    let hint = replica.map(|replica| {
        let port = cluster.addr(replica).port();
        format!("  redis-cli -p {port} CLUSTER FAILOVER   # while clients are busy")
    });
    (lines, hint)
}

fn introduction(servers: &Servers, listeners: &[String], admin: Option<&str>) -> String {
    let (mut lines, hint) = match servers {
        Servers::Cluster(cluster) => introduce(cluster),
        Servers::Alone(alone) => alone.introduction(),
    };
    lines.push(format!(
        "slotway is in front of them, on {}",
        listeners.join(" and ")
    ));
    lines.push("Try, in another terminal:".to_owned());
    let tcp = listeners.iter().find_map(|listener| listener.parse().ok());
    if let Some(addr) = tcp.map(as_client) {
        let cli = format!("-h {} -p {}", addr.ip(), addr.port());
        lines.push(format!("  redis-cli {cli} SET greeting hello"));
        lines.push(format!(
            "  redis-cli {cli} MSET a 1 b 2 c 3      # three slots, one command"
        ));
        lines.push(format!("  redis-cli {cli} MGET greeting a b c"));
        lines.push(format!(
            "  redis-benchmark {cli} -t set,get -n 100000 -c 50 -q"
        ));
    }
    if let Some(admin) = admin.and_then(|admin| admin.parse().ok()).map(as_client) {
        lines.push(format!(
            "  curl http://{admin}/topology   # also /metrics, /readyz"
        ));
    }
    lines.extend(hint);
    lines.push("Ctrl-C takes all of it down.".to_owned());
    lines.join("\n")
}

/// Nobody may be listening any more; the demo runs on.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, Sources, load_without_nodes};
    use crate::demo::{Client, Reservation};
    use std::net::TcpListener;

    fn options() -> Options {
        Options {
            standalone: false,
            primaries: 1,
            replicas: 0,
            server: None,
            base_port: None,
            dir: None,
        }
    }

    fn config(listen: SocketAddr, admin: SocketAddr) -> Config {
        let variables = [
            ("SLOTWAY_LISTEN_ADDRESSES", listen),
            ("SLOTWAY_ADMIN_LISTEN", admin),
        ];
        let variables = variables.map(|(name, addr)| (name.into(), addr.to_string().into()));
        let sources = Sources {
            file: None,
            variables: variables.to_vec(),
            flags: Flags::default(),
        };
        load_without_nodes(&sources).unwrap().config
    }

    #[test]
    fn the_proxy_gets_a_living_cluster_and_nothing_is_left() {
        let (listen, admin) = (Reservation::any().unwrap(), Reservation::any().unwrap());
        let mut node = None;
        run(
            &options(),
            config(listen.addr(), admin.addr()),
            |config, _| {
                let seed = config.cluster.nodes.first().ok_or("no seed")?.to_string();
                let addr: SocketAddr = seed.parse().map_err(|_| "no address")?;
                let reply =
                    Client::connect(addr, None).and_then(|mut c| c.command(&["SET", "a", "1"]));
                assert_eq!(reply.unwrap().text(), "OK");
                node = Some(addr);
                Ok::<(), &str>(())
            },
        )
        .unwrap();
        assert!(Client::connect(node.unwrap(), None).is_err());
    }

    #[test]
    fn a_taken_port_is_named_before_anything_is_booted() {
        let (listen, admin) = (Reservation::any().unwrap(), Reservation::any().unwrap());
        for taken in [&listen, &admin] {
            let listener = TcpListener::bind(taken.addr()).unwrap();
            let result = run(&options(), config(listen.addr(), admin.addr()), |_, _| {
                Err("was run")
            });
            let error = result.unwrap_err().to_string();
            assert!(
                error.contains(&format!("port {} ", taken.port())),
                "{error}"
            );
            drop(listener);
        }
    }
}
