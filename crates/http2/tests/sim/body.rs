//! What bodies consist of: octets that say which call, which side and which place they belong to, so that loss, repetition and mixing
//! show.

use std::sync::LazyLock;

use clearway_http2::Role;
use clearway_testkit::Random;

/// Places after which a body repeats itself; not a number that lengths of frames are multiples of.
const PERIOD: usize = 65_521;
/// The longest piece anybody asks for.
const LONGEST: usize = 128 * 1024;

static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = Random::new(1);
    let once: Vec<u8> = (0..PERIOD).map(|_| random.bits().to_le_bytes()[0]).collect();
    once.iter().copied().cycle().take(PERIOD + LONGEST).collect()
});

/// The octets of a call's body from a place on.
pub(crate) fn octets(call: u32, sender: Role, at: u64, length: usize) -> &'static [u8] {
    let shift = u64::from(call) * 7_919 + u64::from(sender == Role::Server) * 31_337;
    let start = usize::try_from((at + shift) % PERIOD as u64).unwrap_or(0);
    &PATTERN[start..start + length]
}
