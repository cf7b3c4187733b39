//! Lines for a log that peers can provoke: so many a second, and then how many were left out. A flood of bad connections must
//! not become a flood of lines.

use core::time::Duration;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// Lines in one [`WINDOW`].
const LINES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(1);

/// Says which lines may be written.
#[derive(Debug, Default)]
pub(crate) struct Sparing(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When the window began; none before the first line.
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Sparing {
    /// None if the line must not be written; otherwise how many were left out since the last that was.
    pub(crate) fn line(&self) -> Option<u64> {
        self.line_at(Instant::now())
    }

    fn line_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.began.is_none_or(|began| now.saturating_duration_since(began) >= WINDOW) {
            (state.began, state.lines) = (Some(now), 0);
        }
        if state.lines == LINES {
            state.left_out = state.left_out.saturating_add(1);
            return None;
        }
        state.lines = state.lines.saturating_add(1);
        Some(core::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second_and_a_count_of_the_rest() {
        let (sparing, start) = (Sparing::default(), Instant::now());
        let written = (0..1_000).filter(|_| sparing.line_at(start).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(sparing.line_at(start + WINDOW), Some(990));
        assert_eq!(sparing.line_at(start + WINDOW), Some(0));
    }
}
