//! (to come)

mod ask;

pub use ask::{Conversation, error_text};
