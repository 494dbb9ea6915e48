//! `slotway top`: what a running proxy does, as its admin endpoint tells it, in a terminal or once as plain text. It
//! knows the proxy from outside only; the figures are made by pure modules, the terminal is in `live` and `terminal`.

pub mod figures;
mod live;
mod page;
mod plain;
pub mod rates;
pub mod rows;
pub mod scrape;
mod seen;
mod tables;
mod terminal;
mod text;
pub mod topology;
mod view;
mod watch;

pub use live::live;

use figures::{Figures, Order};
use page::Page;
use std::net::SocketAddr;
use std::time::Duration;

/// Whom to ask, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The admin endpoint.
    pub addr: SocketAddr,
    /// Between two questions.
    pub interval: Duration,
}

/// One interval as plain text; the error says why there is none.
pub fn once(options: &Options) -> Result<String, String> {
    let before = Page::ask(options.addr)?;
    std::thread::sleep(options.interval);
    let now = Page::ask(options.addr)?;
    let seconds = now.at.duration_since(before.at).as_secs_f64();
    let mut figures = Figures::between(&before.scrape, &now.scrape, now.topology, seconds);
    figures.sort(Order::Rate, Order::Rate);
    Ok(plain::plain(&figures, options.addr))
}
