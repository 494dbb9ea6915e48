//! Queues that everybody pushes to and pops from, and what is known of each element: nothing may be popped that was not
//! pushed, nothing twice, and nothing may be lost but what was popped for a client that did not stay to hear of it.

use crate::support::RawClient;
use std::collections::HashSet;
use std::sync::Mutex;

/// Queues that are waited for together.
pub struct Family {
    pub names: &'static [&'static str],
    /// Whether clients leave while they wait for them.
    pub deserted: bool,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    pushed: HashSet<String>,
    popped: HashSet<String>,
    /// Clients that left while they waited: each may have been given one element.
    gone: usize,
}

/// See the module.
pub struct Queues(pub [Family; 4]);

impl Queues {
    pub fn new() -> Self {
        Self([
            Family::new(&["{calm}1", "{calm}2"], false),
            Family::new(&["calm1", "calm2", "calm3", "calm4"], false),
            Family::new(&["{deserted}1", "{deserted}2"], true),
            Family::new(&["deserted1", "deserted2", "deserted3"], true),
        ])
    }

    /// Empties the queues, and compares.
    pub fn settle(&self, client: &mut RawClient) {
        for family in &self.0 {
            for name in family.names {
                loop {
                    let reply = String::from_utf8(client.line(&format!("LPOP {name}"))).unwrap();
                    match reply.lines().nth(1) {
                        Some(element) => family.popped(element),
                        None => break,
                    }
                }
            }
            family.compare();
        }
    }
}

impl Family {
    fn new(names: &'static [&'static str], deserted: bool) -> Self {
        let book = Mutex::default();
        Self {
            names,
            deserted,
            book,
        }
    }

    /// To be said before it is pushed.
    pub fn pushes(&self, element: &str) {
        let mut book = self.book.lock().unwrap();
        assert!(book.pushed.insert(element.to_owned()), "{element} again");
    }

    #[track_caller]
    pub fn popped(&self, element: &str) {
        let mut book = self.book.lock().unwrap();
        let family = self.names[0];
        assert!(
            book.pushed.contains(element),
            "{family}: {element} from nowhere"
        );
        assert!(
            book.popped.insert(element.to_owned()),
            "{family}: {element} twice"
        );
    }

    /// To be said before it leaves.
    pub fn leaves(&self) {
        self.book.lock().unwrap().gone += 1;
    }

    /// Everything was pushed and popped, and the queues are empty. The books are closed.
    fn compare(&self) {
        let book = std::mem::take(&mut *self.book.lock().unwrap());
        let missing = book.pushed.difference(&book.popped).count();
        let family = self.names[0];
        assert!(self.deserted || book.gone == 0);
        assert!(
            missing <= book.gone,
            "{family}: {missing} lost, {} left",
            book.gone
        );
    }
}
