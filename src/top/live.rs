//! The live view: one thread asks the proxy, one waits for signals, this one reads keys and draws. All end with it: both
//! stop at the first message that nobody takes, or with the process.

use super::Options;
use super::page::Page;
use super::terminal::Screen;
use super::view::draw;
use super::watch::Watch;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::io::{self, IsTerminal};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use tokio::signal::unix::{SignalKind, signal};

/// How long a key is waited for before answers are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How old what is on the screen may be: it tells for how long nobody has answered.
const REDRAW: Duration = Duration::from_secs(1);
/// A signal ends it in order within this time, or at once then: who reads from a terminal that is gone does not come back.
const END_WITHIN: Duration = Duration::from_secs(2);
/// Messages that may wait to be shown.
const MESSAGES_MAX: usize = 4;

enum Message {
    Answer(Result<Page, String>),
    /// A signal said to end.
    End,
}

/// What to do after a key.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    End,
}

/// Shows it until the user or a signal ends it.
pub fn live(options: &Options) -> Result<(), String> {
    if !io::stdout().is_terminal() {
        return Err("standard output is no terminal; --once prints plain text".to_owned());
    }
    let (tell, told) = sync_channel(MESSAGES_MAX);
    let asks = (tell.clone(), *options);
    let asker = std::thread::spawn(move || ask_on(&asks.0, &asks.1));
    std::thread::spawn(move || wait_for_signal(&tell));
    let shown = Screen::open().and_then(|mut screen| show(&mut screen, options, &told, &asker));
    shown.map_err(|error| format!("the terminal: {error}"))
}

fn ask_on(tell: &SyncSender<Message>, options: &Options) {
    loop {
        let began = Instant::now();
        if tell.send(Message::Answer(Page::ask(options.addr))).is_err() {
            return;
        }
        std::thread::sleep(options.interval.saturating_sub(began.elapsed()));
    }
}

/// A terminal that is left raw is of no use to anybody: SIGTERM and SIGHUP end it in order.
fn wait_for_signal(tell: &SyncSender<Message>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else { return };
    let received = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
            _ = interrupt.recv() => {}
        }
        io::Result::Ok(())
    });
    if received.is_ok() {
        // If nobody takes it now, nobody will: it has ended, or waits for a terminal that is gone.
        let _ = tell.try_send(Message::End);
        std::thread::sleep(END_WITHIN);
        std::process::exit(1);
    }
}

fn show(
    screen: &mut Screen,
    options: &Options,
    told: &Receiver<Message>,
    asker: &JoinHandle<()>,
) -> io::Result<()> {
    let mut watch = Watch::default();
    let mut drawn: Option<Instant> = None;
    loop {
        let now = Instant::now();
        if drawn.is_none_or(|drawn| now.duration_since(drawn) >= REDRAW) {
            screen.draw(|frame| draw(frame, &watch, options, now))?;
            drawn = Some(now);
        }
        if event::poll(TICK)? {
            if on_event(&event::read()?, &mut watch) == Next::End {
                return Ok(());
            }
            drawn = None;
        }
        match told.try_recv() {
            Ok(Message::Answer(answer)) => {
                watch.answered(answer, Instant::now(), SystemTime::now());
                drawn = None;
            }
            Ok(Message::End) => return Ok(()),
            // It panicked: the terminal has been given back already, and shows why.
            Err(_) if asker.is_finished() => {
                return Err(io::Error::other("nobody asks the proxy any more"));
            }
            Err(_) => {}
        }
    }
}

/// Anything but a key is a reason to draw, no more.
fn on_event(event: &Event, watch: &mut Watch) -> Next {
    let Event::Key(key) = event else {
        return Next::GoOn;
    };
    if key.kind == KeyEventKind::Release {
        return Next::GoOn;
    }
    on_key(*key, watch)
}

fn on_key(key: KeyEvent, watch: &mut Watch) -> Next {
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return Next::End,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Next::End,
        KeyCode::Tab | KeyCode::Right => watch.switch(1),
        KeyCode::BackTab | KeyCode::Left => watch.switch(-1),
        KeyCode::Char('s') => watch.next_order(),
        KeyCode::Up => watch.scroll(-1),
        KeyCode::Down => watch.scroll(1),
        KeyCode::PageUp => watch.scroll(-10),
        KeyCode::PageDown => watch.scroll(10),
        _ => {}
    }
    Next::GoOn
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::watch::Focus;

    #[test]
    fn keys_do_what_the_last_line_says() {
        let mut watch = Watch::default();
        let mut press = |code, modifiers| on_key(KeyEvent::new(code, modifiers), &mut watch);
        let none = KeyModifiers::NONE;
        for (code, modifiers) in [
            (KeyCode::Char('q'), none),
            (KeyCode::Esc, none),
            (KeyCode::Char('c'), KeyModifiers::CONTROL),
        ] {
            assert_eq!(press(code, modifiers), Next::End, "{code}");
        }
        for code in [KeyCode::Char('c'), KeyCode::Char('s'), KeyCode::Tab] {
            assert_eq!(press(code, none), Next::GoOn, "{code}");
        }
        assert_eq!(watch.focus, Focus::Nodes);
    }
}
