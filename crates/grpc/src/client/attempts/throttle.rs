//! How many retries and hedges the failures of a channel may cause (gRFC A6, "Throttling Retry Attempts and Hedged RPCs").
//!
//! Invariant: `0 <= tokens <= max`, in thousandths of a token.

use std::sync::atomic::{AtomicU32, Ordering};

/// A failed attempt costs so much.
const COST: u32 = 1000;

/// The tokens of one channel.
#[derive(Debug)]
pub(crate) struct Throttle {
    tokens: AtomicU32,
    max: u32,
    /// What a success earns.
    ratio: u32,
}

/// Thousandths; decimals beyond the third do not count.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and negative is zero"
)]
fn thousandths(number: f64) -> u32 {
    // What is written as 0.003 is a little less than that in binary.
    (number * 1000.0 + 1e-6).floor() as u32
}

impl Throttle {
    pub(crate) fn new(max_tokens: f64, token_ratio: f64) -> Self {
        let max = thousandths(max_tokens);
        Self { tokens: AtomicU32::new(max), max, ratio: thousandths(token_ratio) }
    }

    /// True if something may be sent again now.
    pub(crate) fn allows(&self) -> bool {
        self.is_enough(self.tokens.load(Ordering::Relaxed))
    }

    /// An attempt failed; true if something may be sent again nevertheless.
    pub(crate) fn failed(&self) -> bool {
        self.is_enough(self.change(|tokens| tokens.saturating_sub(COST)))
    }

    /// A call ended with OK.
    pub(crate) fn succeeded(&self) {
        self.change(|tokens| tokens.saturating_add(self.ratio).min(self.max));
    }

    const fn is_enough(&self, tokens: u32) -> bool {
        tokens > self.max / 2
    }

    /// Gives what is there afterwards.
    fn change(&self, to: impl Fn(u32) -> u32) -> u32 {
        let before =
            self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| Some(to(tokens)));
        to(before.unwrap_or_else(|tokens| tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_tokens_are_a_reserve_and_successes_earn_thousandths() {
        let throttle = Throttle::new(4.0, 0.5);
        assert!(throttle.allows());
        assert!(throttle.failed(), "3 of 4 are left");
        assert!(!throttle.failed(), "2 of 4 are not more than half");
        for _ in 0..10 {
            throttle.failed();
        }
        for _ in 0..4 {
            throttle.succeeded();
        }
        assert!(!throttle.allows(), "they begin at nothing, not below: 2 again");
        throttle.succeeded();
        assert!(throttle.allows());
        (0..100).for_each(|_| throttle.succeeded());
        assert!(throttle.failed() && !throttle.failed(), "and end at the maximum");
    }

    #[test]
    fn three_decimals_count() {
        assert_eq!([0.001, 0.003, 0.1239, 1000.0].map(thousandths), [1, 3, 123, 1_000_000]);
    }
}
