//! Scripted nodes that tell tales, and the proxy that hears them. Every node answers `GETRANGE key nonce 0` with its
//! own number and the nonce, so that a client sees who served it.

use super::tale::Tale;
use crate::support::node::{Action, Call, FakeCluster, Gate};
use crate::support::{Proxy, RawClient, SHOWN_WITHIN, show};
use slotway::cluster::Slot;
use std::sync::{Arc, Mutex};

/// How a node answers questions about the cluster.
#[derive(Clone)]
pub enum Manner {
    /// The truth.
    Honest,
    /// A tale.
    Tells(Tale),
    /// These bytes.
    Says(Vec<u8>),
    /// Nothing, until the gate is opened.
    Hangs(Gate),
}

/// What a node says to one key's commands before its usual answer.
pub type Redirect = Arc<dyn Fn(&Call) -> Option<Vec<u8>> + Send + Sync>;

/// See the module.
pub struct Cast {
    pub cluster: FakeCluster,
    manners: Arc<Mutex<Vec<Manner>>>,
    redirect: Arc<Mutex<Option<Redirect>>>,
}

impl Cast {
    /// So many nodes, all honest.
    pub fn of(nodes: usize) -> Self {
        let cluster = FakeCluster::start(nodes);
        let manners = Arc::new(Mutex::new(vec![Manner::Honest; nodes]));
        let redirect: Arc<Mutex<Option<Redirect>>> = Arc::default();
        for node in 0..nodes {
            let (manners, redirect) = (Arc::clone(&manners), Arc::clone(&redirect));
            cluster.on(node, move |call| {
                let manner = manners.lock().unwrap()[node].clone();
                let redirect = redirect.lock().unwrap().clone();
                answer(call, &manner, redirect.as_ref())
            });
        }
        Self {
            cluster,
            manners,
            redirect,
        }
    }

    /// A proxy that is ready, and asks about the cluster as often as it ever does.
    pub fn proxy(&self, args: &[&str]) -> Proxy {
        let proxy = self.spawn(args);
        proxy.wait_ready();
        proxy
    }

    /// The same, not waited for.
    pub fn spawn(&self, args: &[&str]) -> Proxy {
        let usual = ["--workers", "1", "--set", "cluster.refresh_interval=100ms"];
        Proxy::spawn(&self.cluster.addrs(), &[&usual, args].concat())
    }

    pub fn set(&self, node: usize, manner: Manner) {
        self.manners.lock().unwrap()[node] = manner;
    }

    /// All nodes tell the same.
    pub fn all_tell(&self, tale: &Tale) {
        let mut manners = self.manners.lock().unwrap();
        manners.fill(Manner::Tells(tale.clone()));
    }

    /// What nodes say to data commands, where it is `Some`.
    pub fn redirect(&self, say: impl Fn(&Call) -> Option<Vec<u8>> + Send + Sync + 'static) {
        *self.redirect.lock().unwrap() = Some(Arc::new(say));
    }
}

fn answer(call: &Call, manner: &Manner, redirect: Option<&Redirect>) -> Option<Vec<Action>> {
    if call.name() == "CLUSTER" {
        return match manner {
            Manner::Honest => None,
            Manner::Tells(tale) => Some(vec![Action::Send(tale.answer(call)?)]),
            Manner::Says(bytes) => Some(vec![Action::Send(bytes.clone())]),
            Manner::Hangs(gate) => Some(vec![Action::Wait(gate.clone()), Action::Close]),
        };
    }
    if call.name() != "GETRANGE" {
        return None;
    }
    let said = redirect.and_then(|redirect| redirect(call));
    let nonce = String::from_utf8_lossy(&call.args[2]).into_owned();
    let usual = || format!("+{}:{nonce}\r\n", call.node).into_bytes();
    Some(vec![Action::Send(said.unwrap_or_else(usual))])
}

/// A key of that slot.
pub fn key_in(slot: u16) -> String {
    let mut keys = (0..).map(|i| format!("key{i}"));
    let its = keys.find(|key| Slot::of(key.as_bytes()).number() == slot);
    its.expect("every slot has keys")
}

/// What a client gets for a command in that slot.
pub fn ask(client: &mut RawClient, slot: u16) -> String {
    let got = client.command(&["GETRANGE", &key_in(slot), "nonce", "0"]);
    String::from_utf8_lossy(&got).into_owned()
}

/// Whom the proxy has serve these slots.
#[track_caller]
pub fn expect_served(proxy: &Proxy, slots: &[(u16, usize)]) {
    let mut client = proxy.client();
    for &(slot, node) in slots {
        let got = ask(&mut client, slot);
        let expected = format!("+{node}:nonce\r\n");
        assert_eq!(got, expected, "slot {slot}: {}", show(got.as_bytes()));
    }
}

/// Waits until so many more refreshes have ended.
#[track_caller]
pub fn wait_refreshes(proxy: &Proxy, more: f64) {
    let ended = || proxy.metrics().sum("slotway_topology_refreshes_total", &[]);
    let enough = ended() + more;
    proxy.wait_for("refreshes", SHOWN_WITHIN, || match ended() {
        ended if ended >= enough => Ok(()),
        ended => Err(format!("{ended} of {enough}")),
    });
}

/// `/topology`.
pub fn topology(proxy: &Proxy) -> serde_json::Value {
    let (_, body) = proxy.get("/topology").expect("the admin endpoint answers");
    serde_json::from_str(&body).expect("JSON")
}

/// Which node owns which slots, and the map's version.
pub fn map(proxy: &Proxy) -> String {
    let topology = topology(proxy);
    format!("{} {}", topology["version"], topology["ranges"])
}
