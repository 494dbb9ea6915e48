//! Requests that got no reply in time, outside of the session's own lanes: those of tasks (`errand`), and those on a lease
//! (`on_lease`, `parking`). Each may still be executed. Until it has come back nothing else of its slot goes over another
//! connection (`fences`), or on behalf of a task (`Pursuit::turn`): it would overtake it (invariant 3).

use super::verdict::PAUSE_MAX;
use super::{Life, Session};
use crate::cluster::{NodeAddr, Slot};
use crate::upstream::{LaneId, Lease};
use std::rc::Weak;
use tokio::time::sleep;

impl Session {
    /// A request of that slot, in flight on that lane, has got no reply in time.
    pub(super) fn strays(&self, slot: Slot, lane: LaneId) {
        let state = &mut *self.state.borrow_mut();
        if state.life != Life::Dead {
            self.fences(state).stray(slot, lane);
        }
    }

    /// It has come back.
    pub(super) fn stray_landed(&self, slot: Slot) {
        let state = &mut *self.state.borrow_mut();
        if let Some(fences) = &mut state.fences {
            fences.stray_landed(slot);
            self.advance(state, slot);
        }
    }

    /// A request of that slot that may change something has got no reply on a lease in time. It counts as in flight until
    /// the node is done with the lease, does not own the slot any more, or has had `timeouts.unavailable` for it.
    pub(super) fn strays_on(&self, slot: Slot, lease: Lease) {
        self.strays(slot, LaneId::LEASE);
        let (me, within) = (self.myself.clone(), self.unavailable());
        tokio::task::spawn_local(async move {
            let replaced = replaced(me.clone(), slot, lease.node().clone());
            tokio::select! {
                biased;
                () = lease.run_out(within) => {}
                () = replaced => {}
            }
            if let Some(me) = me.upgrade() {
                me.context.clock.tick();
                me.stray_landed(slot);
            }
        });
    }
}

/// Ready when another node has come to own the slot, or nobody asks. While the slot moves to that node, another owns it
/// from the beginning.
async fn replaced(session: Weak<Session>, slot: Slot, node: NodeAddr) {
    let owner = |session: &Session| {
        let map = session.context.map();
        map.owner(slot).map(|owner| map.node(owner).addr.clone())
    };
    let before = session.upgrade().and_then(|session| owner(&session));
    let is_kept = |session: &Session| {
        let now = owner(session);
        now.is_none() || now.as_ref() == Some(&node) || now == before
    };
    while session.upgrade().is_some_and(|session| is_kept(&session)) {
        sleep(PAUSE_MAX).await;
    }
}
