//! Which answers are about the cluster that is known. A seed, or the address of a node that is gone, may lead to another one by
//! now: what that says is as good as what ours says, its epochs are as high, and it is never mixed with it. It takes the
//! place of ours as a whole, and gives it back.

use super::super::SLOTS;
use super::super::view::{ClusterState, Health, View};
use super::{FORGET_AFTER, KnownNode};
use std::time::{Duration, Instant};

/// Another cluster is taken up after this where nobody of ours answers at all, and not only is late once. Where ours answer,
/// and do not serve, it takes [`FORGET_AFTER`]: longer than a failover.
pub(super) const ABSENT_MAX: Duration = Duration::from_secs(5);

/// For so long ours is looked for after another cluster has taken its place.
const FORMER_KEPT: Duration = Duration::from_secs(600);

/// Whether the cluster that is known serves, as its own nodes say, and which one was known before.
pub(super) struct Kin {
    ours: Ours,
    /// Since when nobody of ours has answered.
    silent: Option<Instant>,
    /// Its nodes, and when another cluster took its place.
    former: Option<(Vec<KnownNode>, Instant)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ours {
    /// It never has: it may have been half a cluster that was found first.
    New,
    Serves,
    /// Nobody has said so since.
    Fails(Instant),
}

/// The answers that are heard.
pub(super) struct Heard<'a> {
    pub(super) views: Vec<&'a View>,
    /// They are another cluster's: nothing that is known holds any more.
    pub(super) others: bool,
}

impl Kin {
    pub(super) fn new() -> Self {
        Self {
            ours: Ours::New,
            silent: None,
            former: None,
        }
    }

    /// The nodes of the cluster whose place another one has taken.
    pub(super) fn former(&self) -> &[KnownNode] {
        self.former.as_ref().map_or(&[], |(nodes, _)| nodes)
    }

    /// The answers that may be heard. One that names no node that is known is a stranger's.
    pub(super) fn among<'a>(
        &mut self,
        known: &[KnownNode],
        views: &'a [View],
        now: Instant,
    ) -> Heard<'a> {
        let (ours, strangers) = split(views.iter().collect(), known);
        self.silent = match ours.is_empty() {
            true => self.silent.or(Some(now)),
            false => None,
        };
        if self.ours == Ours::New && !serve(&ours) {
            if serve(&strangers) {
                self.ours = Ours::Serves;
            }
            return Heard::of(views.iter().collect());
        }
        self.ours = match self.ours {
            _ if serve(&ours) => Ours::Serves,
            Ours::Serves => Ours::Fails(now),
            other => other,
        };
        if let Some(back) = self.come_back(&strangers, now) {
            return back;
        }
        let since = |at: Instant| now.saturating_duration_since(at);
        let is_over = match (self.ours, self.silent) {
            (Ours::New | Ours::Serves, _) => false,
            (Ours::Fails(_), Some(silent)) => since(silent) >= ABSENT_MAX,
            (Ours::Fails(at), None) => since(at) >= FORGET_AFTER,
        };
        if !is_over {
            return Heard::of(ours);
        }
        // The rest of a cluster that was replaced holds little of it.
        let others = match ours.iter().any(|view| holds_majority(view)) {
            true => None,
            false => largest(strangers),
        };
        let Some(others) = others else {
            return Heard::of(ours);
        };
        (self.ours, self.silent) = (Ours::Serves, None);
        if self.former.is_none() {
            self.former = Some((known.to_vec(), now));
        }
        Heard {
            views: others,
            others: true,
        }
    }

    /// The cluster that was known before is there again.
    fn come_back<'a>(&mut self, strangers: &[&'a View], now: Instant) -> Option<Heard<'a>> {
        let (former, since) = self.former.as_ref()?;
        let (views, _) = split(strangers.to_vec(), former);
        if !serve(&views) && !views.iter().any(|view| holds_majority(view)) {
            if now.saturating_duration_since(*since) >= FORMER_KEPT {
                self.former = None;
            }
            return None;
        }
        self.ours = match serve(&views) {
            true => Ours::Serves,
            false => Ours::Fails(now),
        };
        (self.former, self.silent) = (None, None);
        Some(Heard {
            views,
            others: true,
        })
    }
}

impl<'a> Heard<'a> {
    fn of(views: Vec<&'a View>) -> Self {
        Self {
            views,
            others: false,
        }
    }
}

/// Those that name one of these nodes, and those that name none.
fn split<'a>(views: Vec<&'a View>, known: &[KnownNode]) -> (Vec<&'a View>, Vec<&'a View>) {
    let is_ours = |view: &&View| known.iter().any(|node| view.names(&node.id));
    views.into_iter().partition(is_ours)
}

fn serve(views: &[&View]) -> bool {
    views.iter().any(|view| view.state == ClusterState::Ok)
}

/// Whether most slots are at nodes that work, as that one sees it.
fn holds_majority(view: &View) -> bool {
    let online = view.nodes.iter().filter(|n| n.health == Health::Online);
    let slots = online.flat_map(|node| &node.slots);
    let held: usize = slots.map(|range| range.indexes().count()).sum();
    held > SLOTS / 2
}

/// Of several clusters that serve, the one that more have told of.
fn largest(mut views: Vec<&View>) -> Option<Vec<&View>> {
    let mut clusters: Vec<Vec<&View>> = Vec::new();
    while let Some(first) = views.pop() {
        let mut cluster = vec![first];
        while let Some(at) = (views.iter()).position(|view| cluster.iter().any(|c| akin(c, view))) {
            cluster.push(views.swap_remove(at));
        }
        clusters.push(cluster);
    }
    clusters.retain(|cluster| serve(cluster));
    clusters.into_iter().max_by_key(Vec::len)
}

fn akin(one: &View, other: &View) -> bool {
    one.nodes.iter().any(|node| other.names(&node.id))
}
