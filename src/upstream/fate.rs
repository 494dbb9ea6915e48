//! What is known about the execution of a request that has no final reply (invariant 5). What follows from it is said in
//! one place, `route::resend`.

use super::FaultKind;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No node has got all of its bytes: none has executed it.
    NeverSent,
    /// A node replied that it did not execute it: MOVED, ASK, TRYAGAIN, CLUSTERDOWN, LOADING, READONLY …, NOSCRIPT.
    Refused,
    /// All of it was handed over, and the connection was lost before the reply.
    MaybeExecuted,
    /// Its time is up, and its reply may still come.
    OnItsWay,
}

/// How much of a request the kernel has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandedOver {
    /// At least its last byte is still here.
    NotAll,
    /// Every byte: the node may have got it, whatever the kernel said later.
    All,
}

impl Fate {
    /// Of a request whose connection ended. Why it ended says nothing about the execution, whoever's fault it was.
    pub fn of(fault: &FaultKind, handed_over: HandedOver) -> Self {
        match (fault, handed_over) {
            (_, HandedOver::NotAll) => Self::NeverSent,
            (
                FaultKind::Connect(_)
                | FaultKind::Handshake(_)
                | FaultKind::ConnectLate(_)
                | FaultKind::HandshakeLate
                | FaultKind::TooDeep
                | FaultKind::Closed
                | FaultKind::Io(_)
                | FaultKind::Protocol(_)
                | FaultKind::Silent
                | FaultKind::Stuck
                | FaultKind::Endless
                | FaultKind::Retired,
                HandedOver::All,
            ) => Self::MaybeExecuted,
        }
    }
}
