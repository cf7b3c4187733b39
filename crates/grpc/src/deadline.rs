//! `grpc-timeout` (gRPC over HTTP/2, "Timeout"). The deadlines themselves are in [`wheel`].
//!
//! On the wire a deadline is the time left at the moment of sending, so it is computed when the headers are written, never
//! earlier. When a coarser unit must be chosen the value is rounded up: rounding must not make a server give up before
//! its client.

use core::time::Duration;

mod wheel;

pub(crate) use wheel::{Deadlines, Ticket};

/// The largest value eight digits can hold.
const MAX_VALUE: u128 = 99_999_999;
/// What each unit is in nanoseconds, finest first.
const UNITS: [(u8, u128); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// A `grpc-timeout` that is not 1 to 8 digits and one unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BadTimeout;

/// Reads a `grpc-timeout` value: 1 to 8 ASCII digits and one of `H M S m u n`, and nothing else.
pub(crate) fn parse_timeout(value: &[u8]) -> Result<Duration, BadTimeout> {
    let (unit, digits) = value.split_last().ok_or(BadTimeout)?;
    if digits.is_empty() || digits.len() > 8 {
        return Err(BadTimeout);
    }
    let number = digits.iter().try_fold(0u64, |sum, digit| match digit {
        b'0'..=b'9' => Ok(sum * 10 + u64::from(digit - b'0')),
        _ => Err(BadTimeout),
    })?;
    Ok(match unit {
        b'n' => Duration::from_nanos(number),
        b'u' => Duration::from_micros(number),
        b'm' => Duration::from_millis(number),
        b'S' => Duration::from_secs(number),
        b'M' => Duration::from_secs(number * 60),
        b'H' => Duration::from_secs(number * 3600),
        _ => return Err(BadTimeout),
    })
}

/// A `grpc-timeout` value, ready for a header field, on the stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TimeoutValue {
    octets: [u8; 9],
    start: usize,
}

impl TimeoutValue {
    /// The finest unit in which `timeout` fits eight digits, rounded up; at most 99,999,999 hours.
    pub(crate) fn new(timeout: Duration) -> Self {
        let nanos = timeout.as_nanos();
        let fitting =
            UNITS.iter().map(|&(unit, size)| (unit, nanos.div_ceil(size))).find(|&(_, n)| n <= MAX_VALUE);
        let (unit, mut number) = fitting.unwrap_or((b'H', MAX_VALUE));
        let mut octets = [b'0'; 9];
        let mut start = octets.len();
        for (at, octet) in octets.iter_mut().enumerate().rev() {
            if at == 8 {
                *octet = unit;
            } else {
                *octet = b'0' + u8::try_from(number % 10).unwrap_or(0);
                number /= 10;
            }
            start = at;
            if at < 8 && number == 0 {
                break;
            }
        }
        Self { octets, start }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.octets.get(self.start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_digits_and_a_unit() {
        assert_eq!(parse_timeout(b"1n"), Ok(Duration::from_nanos(1)));
        assert_eq!(parse_timeout(b"20u"), Ok(Duration::from_micros(20)));
        assert_eq!(parse_timeout(b"000000300m"), Err(BadTimeout), "nine digits are too many");
        assert_eq!(parse_timeout(b"00000300m"), Ok(Duration::from_millis(300)));
        assert_eq!(parse_timeout(b"5S"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_timeout(b"2M"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_timeout(b"99999999H"), Ok(Duration::from_secs(99_999_999 * 3600)));
        for bad in
            ["", "5", "S", "-1S", "+1S", " 1S", "1 S", "1.5S", "1s", "1h", "123456789S", "1SS", "\u{ff11}S"]
        {
            assert_eq!(parse_timeout(bad.as_bytes()), Err(BadTimeout), "{bad:?}");
        }
    }

    #[test]
    fn values_are_rounded_up_and_never_overflow() {
        let text = |timeout| String::from_utf8(TimeoutValue::new(timeout).as_bytes().to_vec()).unwrap();
        assert_eq!(text(Duration::ZERO), "0n");
        assert_eq!(text(Duration::from_nanos(99_999_999)), "99999999n");
        assert_eq!(text(Duration::from_nanos(100_000_001)), "100001u");
        assert_eq!(text(Duration::from_secs(1)), "1000000u");
        assert_eq!(text(Duration::from_secs(100)), "100000m");
        assert_eq!(text(Duration::MAX), "99999999H");
        for nanos in [1, 7, 999, 100_000_000, 123_456_789_123, 86_400_000_000_001, u64::MAX] {
            let timeout = Duration::from_nanos(nanos);
            let value = TimeoutValue::new(timeout);
            assert!(parse_timeout(value.as_bytes()).unwrap() >= timeout, "{nanos}");
            assert!(value.as_bytes().len() <= 9);
        }
    }
}
