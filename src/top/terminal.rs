//! The terminal, taken and given back: raw mode and the other screen while a [`Screen`] is there, the user's screen as it
//! was afterwards, also after an error or a panic.

use ratatui::crossterm::terminal::is_raw_mode_enabled;
use ratatui::{DefaultTerminal, Frame};
use std::io;

/// The whole terminal. Dropping it gives it back.
pub(super) struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// Takes it. From here on a panic, of any thread, gives it back before it prints its message.
    pub(super) fn open() -> io::Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                // It may have been taken by half.
                let _ = ratatui::try_restore();
                Err(error)
            }
        }
    }

    /// Draws, in the size that the terminal has by now.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A panic has given it back: to do so again would write over its message.
        if !matches!(is_raw_mode_enabled(), Ok(true)) {
            return;
        }
        let _ = self.terminal.show_cursor();
        // An error means that the terminal is gone.
        let _ = ratatui::try_restore();
    }
}
