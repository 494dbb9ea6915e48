//! Writes once per scheduler tick: whoever has bytes to write puts itself on the flusher's list, and one task,
//! woken once and therefore run after everything that was ready before it, writes them all. Nodes come first,
//! clients second. One per worker.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Something with bytes to write.
pub trait Flush {
    /// Writes what it can without waiting. Called once for each time it was put on the list.
    fn flush(&self);
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
        poll_fn(|cx| {
            let mut waker = self.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            drop(waker);
            self.woken.set(false);
            self.drain(&self.nodes);
            self.drain(&self.clients);
            Poll::<()>::Pending
        })
        .await;
    }

    /// A flush may put others on the list (they are for the next tick), so the list is taken first.
    fn drain(&self, list: &List) {
        let mut draining = self.draining.borrow_mut();
        std::mem::swap(&mut *draining, &mut *list.borrow_mut());
        for waiting in draining.drain(..) {
            waiting.flush();
        }
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
            flusher.node(Rc::new(Log("node", log.clone())));
            assert!(
                log.borrow().is_empty(),
                "nothing is written before the tick ends"
            );
            tokio::task::yield_now().await;
            assert_eq!(*log.borrow(), ["node", "client"]);
        });
    }
}
