//! Writes once per scheduler tick: whoever has bytes to write puts itself on the flusher's list, and one task,
//! woken once and therefore run after everything that was ready before it, writes them all. Nodes come first,
//! clients second. One per worker.
//!
//! A client that will get more within moments (its pipeline went to several nodes, and some have answered) is
//! written one tick later, after those nodes had a chance to run: one `send` instead of one for each node.

use super::give_way::GiveWay;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Way is given once so many nodes were written to in one tick: a single one will be read when it answers.
const NODES_MIN: usize = 2;

/// Something with bytes to write.
pub trait Flush {
    /// Writes what it can without waiting. Called once for each time it was put on the list.
    fn flush(&self);

    /// Whether it waits for more bytes to write, so that they could go out together.
    fn expects_more(&self) -> bool {
        false
    }
}

type List = RefCell<Vec<Rc<dyn Flush>>>;

/// The lists of a worker, and the task that empties them.
#[derive(Default)]
pub struct Flusher {
    nodes: List,
    clients: List,
    /// The vector the task drains, kept so that no tick allocates.
    draining: RefCell<Vec<Rc<dyn Flush>>>,
    waker: RefCell<Option<Waker>>,
    woken: Cell<bool>,
    way: GiveWay,
}

impl Flusher {
    /// Puts a connection to a node on the list. The caller sees to it that it is there once.
    #[inline]
    pub fn node(&self, lane: Rc<dyn Flush>) {
        self.nodes.borrow_mut().push(lane);
        self.wake();
    }

    /// Puts a client on the list. The caller sees to it that it is there once.
    #[inline]
    pub fn client(&self, session: Rc<dyn Flush>) {
        self.clients.borrow_mut().push(session);
        self.wake();
    }

    #[inline]
    fn wake(&self) {
        if !self.woken.replace(true)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// The task: spawned once per worker, ends with the worker.
    pub async fn run(self: Rc<Self>) {
        let mut waited = false;
        loop {
            self.woken().await;
            let nodes = self.drain(&self.nodes, |_| false);
            let may_give = self.way.may();
            let wait = may_give && !waited;
            self.drain(&self.clients, |client| wait && client.expects_more());
            waited = !self.clients.borrow().is_empty();
            if may_give && (waited || nodes >= NODES_MIN) {
                self.way.give();
            }
            if waited {
                // Those that wait are written in the next tick, after whatever has arrived by now.
                self.woken.set(true);
                tokio::task::yield_now().await;
            }
        }
    }

    /// Until something is on a list.
    async fn woken(&self) {
        poll_fn(|cx| {
            let mut waker = self.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            if self.woken.replace(false) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Flushes all on the list but those that are to wait; they stay on it. Returns how many there were.
    ///
    /// A flush may put others on the list (they are for the next tick), so the list is taken first.
    fn drain(&self, list: &List, waits: impl Fn(&dyn Flush) -> bool) -> usize {
        let mut draining = self.draining.borrow_mut();
        std::mem::swap(&mut *draining, &mut *list.borrow_mut());
        let count = draining.len();
        for one in draining.drain(..) {
            if waits(&*one) {
                list.borrow_mut().push(one);
            } else {
                one.flush();
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Log(&'static str, Rc<RefCell<Vec<&'static str>>>);

    impl Flush for Log {
        fn flush(&self) {
            self.1.borrow_mut().push(self.0);
        }

        fn expects_more(&self) -> bool {
            self.0 == "waiting client"
        }
    }

    #[test]
    fn nodes_are_written_before_clients_and_after_what_was_ready() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build_local(Default::default())
            .unwrap();
        runtime.block_on(async {
            let flusher = Rc::new(Flusher::default());
            let log = Rc::new(RefCell::new(Vec::new()));
            tokio::task::spawn_local(flusher.clone().run());
            tokio::task::yield_now().await;
            flusher.client(Rc::new(Log("client", log.clone())));
            flusher.client(Rc::new(Log("waiting client", log.clone())));
            flusher.node(Rc::new(Log("node", log.clone())));
            assert!(
                log.borrow().is_empty(),
                "nothing is written before the tick ends"
            );
            tokio::task::yield_now().await;
            assert_eq!(*log.borrow(), ["node", "client"]);
            tokio::task::yield_now().await;
            assert_eq!(
                *log.borrow(),
                ["node", "client", "waiting client"],
                "one tick is all that anybody waits"
            );
            tokio::task::yield_now().await;
            assert_eq!(log.borrow().len(), 3);
        });
    }
}
