//! How many large replies may be on their way over a bulk lane. A node executes all requests that have come before it
//! looks at what others have sent, and takes a good part of a millisecond for a reply of a megabyte.
//!
//! Only requests whose replies are likely to be large count, and only they wait for each other: a pipeline of small ones
//! is not held up by what others read.

/// How large replies are taken to be before there are any, in bytes.
const REPLY: usize = 256 * 1024;

/// What a lane is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Load {
    Any,
    /// Clients with large values.
    Bulk,
}

/// How large the reply to a request is likely to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// Not worth a thought.
    Small,
    /// As large as those before it.
    Large,
}

/// See the module. One per bulk lane.
pub(super) struct Window {
    bytes: usize,
    /// What is expected of the next large reply, in bytes.
    reply: usize,
    /// Large replies on their way.
    in_flight: usize,
}

impl Window {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            bytes,
            reply: REPLY,
            in_flight: 0,
        }
    }

    /// Whether one more may be on its way.
    pub(super) fn is_open(&self) -> bool {
        self.in_flight < (self.bytes / self.reply).max(1)
    }

    pub(super) fn taken(&mut self) {
        self.in_flight += 1;
    }

    /// One will not come.
    pub(super) fn given_back(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// One has come: a large one is a sign of more, small ones only if there are many.
    pub(super) fn landed(&mut self, reply: usize) {
        self.given_back();
        self.reply = reply.max(self.reply - self.reply.div_ceil(16)).max(1);
    }

    /// The connection is gone, and all that was on its way.
    pub(super) fn reset(&mut self) {
        self.in_flight = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many more may be on their way now.
    fn room(window: &mut Window) -> usize {
        let before = window.in_flight;
        while window.is_open() {
            window.taken();
        }
        let more = window.in_flight - before;
        window.in_flight = before;
        more
    }

    #[test]
    fn large_replies_come_few_at_a_time() {
        let mut window = Window::new(2_000_000);
        window.taken();
        window.taken();
        window.landed(1_000_000);
        assert_eq!(room(&mut window), 1, "one of two");
        window.landed(100);
        assert_eq!(room(&mut window), 2, "there may be more of them");
        window.landed(usize::MAX);
        assert_eq!(room(&mut window), 1);
        (0..1000).for_each(|_| window.landed(1));
        assert_eq!(room(&mut window), 2_000_000);
    }
}
