//! What is left to chance: jitter of waits and ages. Below this crate nothing is.

use core::hash::{BuildHasher, Hasher as _};

/// A number between 0 and 1 that differs between programs and calls. The standard library seeds its hash maps at random;
/// that is random enough to spread clients.
pub(crate) fn chance() -> f64 {
    let random = std::hash::RandomState::new().build_hasher().finish();
    let top = u32::try_from(random >> 32).unwrap_or(0);
    f64::from(top) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_stays_in_its_bounds_and_varies() {
        let chances: Vec<_> = (0..100).map(|_| chance()).collect();
        assert!(chances.iter().all(|chance| (0.0..=1.0).contains(chance)));
        assert!(chances.iter().any(|chance| *chance != chances[0]));
    }
}
