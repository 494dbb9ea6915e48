//! What the proxy's connections report to, and the queue of what is still to happen.

use slotway::io::simulated::{Network, Socket};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// What the proxy did since the world last looked.
#[derive(Default)]
pub struct Doings {
    pub dialled: Vec<(SocketAddr, Socket)>,
    pub touched: Vec<u64>,
}

#[derive(Default)]
pub struct Net {
    doings: Mutex<Doings>,
    pub notify: Notify,
}

impl Net {
    pub fn take(&self) -> Doings {
        std::mem::take(&mut self.doings.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Network for Net {
    fn dialled(&self, to: SocketAddr, socket: Socket) {
        let mut doings = self.doings.lock().unwrap_or_else(PoisonError::into_inner);
        doings.dialled.push((to, socket));
        self.notify.notify_one();
    }

    fn touched(&self, socket: u64) {
        let mut doings = self.doings.lock().unwrap_or_else(PoisonError::into_inner);
        if doings.touched.last() != Some(&socket) {
            doings.touched.push(socket);
        }
        self.notify.notify_one();
    }
}

/// When something happens: millisecond, and the order within it.
pub type When = (u64, u64);

/// What is to happen, in order.
pub struct Agenda<E> {
    entries: BTreeMap<(u64, u64, u64), E>,
    added: u64,
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            added: 0,
        }
    }
}

impl<E> Agenda<E> {
    pub fn add(&mut self, when: When, event: E) {
        self.added += 1;
        self.entries.insert((when.0, when.1, self.added), event);
    }

    pub fn next_at(&self) -> Option<u64> {
        self.entries.first_key_value().map(|(when, _)| when.0)
    }

    pub fn pop(&mut self, now: u64) -> Option<E> {
        let entry = self.entries.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}
