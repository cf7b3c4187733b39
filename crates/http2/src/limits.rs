//! Every bound a peer can press against, and the counter that guards it. RFC 9113 §10.5.
//!
//! Each row of [`Limits`] is a number a peer could otherwise grow without end; `Counters` counts against them and
//! names the rule ([`Violation`]) when one is passed. What is free: work the peer is entitled to, such as cancelling a
//! call whose handler has started. Left out: PING and keepalive policing (gRFC A8), which belongs to keepalive.

use core::time::Duration;

use crate::error::Violation;
use crate::time::Instant;

/// The bounds, with their defaults in [`Limits::default`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a decoded field section, counting 32 for each field (RFC 9113 §10.5.1). Default: 16 KiB.
    /// Announced as SETTINGS_MAX_HEADER_LIST_SIZE. Past it the stream fails, the connection goes on.
    pub header_list_octets: u32,
    /// Fields in a section. Default: 128. Past it the stream fails.
    pub header_fields: usize,
    /// Octets of one encoded field block, over HEADERS and CONTINUATION. Default: 64 KiB.
    pub field_block_octets: usize,
    /// CONTINUATION frames for one block. Default: 8.
    pub continuations: u32,
    /// Resets of streams that did no work, and resets the peer makes us send: the burst. Default: 1,000.
    pub resets: u32,
    /// The same, refilled per second. Default: 200.
    pub resets_per_second: u32,
    /// Frames the peer makes us send (acknowledgements, resets) that may wait in the output; past it we stop reading
    /// until the output has drained. Default: 1,000.
    pub control_frames: u32,
    /// Entries in one SETTINGS frame. Default: 32.
    pub settings_entries: usize,
    /// Empty DATA or HEADERS without END_STREAM in a row on one stream. Default: 10.
    pub empty_frames: u8,
    /// PRIORITY frames for each stream opened, plus as many to begin with. Default: 100.
    pub priorities_per_stream: u32,
    /// Useless frames: the burst. Default: 10,000. Counted are unknown types, GOAWAY, PING answers nobody asked for, more
    /// on streams we reset or refused than can have been in flight, more than one RST_STREAM on a closed stream, and WINDOW_UPDATE frames
    /// that no DATA explains.
    pub glitches: u32,
    /// The same, refilled per second. Default: 330.
    pub glitches_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_list_octets: 16 * 1024,
            header_fields: 128,
            field_block_octets: 64 * 1024,
            continuations: 8,
            resets: 1000,
            resets_per_second: 200,
            control_frames: 1000,
            settings_entries: 32,
            empty_frames: 10,
            priorities_per_stream: 100,
            glitches: 10_000,
            glitches_per_second: 330,
        }
    }
}

/// A token bucket: `burst` at first, `per_second` later.
#[derive(Clone, Debug)]
struct Bucket {
    tokens: u32,
    burst: u32,
    per_second: u32,
    refilled: Instant,
}

impl Bucket {
    fn new(burst: u32, per_second: u32, now: Instant) -> Self {
        Self { tokens: burst, burst, per_second, refilled: now }
    }

    /// Takes one token; false if there is none.
    fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }

    fn refill(&mut self, now: Instant) {
        let since = now - self.refilled;
        let earned = since.as_nanos().saturating_mul(u128::from(self.per_second)) / NANOS_PER_SECOND;
        if earned > 0 {
            // Only the time that was paid for is used up: a part of a token is not lost.
            let paid = earned.saturating_mul(NANOS_PER_SECOND) / u128::from(self.per_second.max(1));
            self.refilled = self.refilled + Duration::from_nanos(u64::try_from(paid).unwrap_or(u64::MAX));
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.tokens = self.tokens.saturating_add(earned).min(self.burst);
        }
    }
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// How long completed streams excuse resets.
const COMPLETED_WINDOW: Duration = Duration::from_secs(10);

/// What has been counted on one connection.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    resets: Bucket,
    glitches: Bucket,
    /// Streams completed in the current and in the previous [`COMPLETED_WINDOW`].
    completed: [u32; 2],
    /// Resets counted in the same two windows.
    counted_resets: [u32; 2],
    window_began: Instant,
    priorities: u32,
    window_updates: u64,
    data_frames_sent: u64,
    streams_opened: u32,
    /// RST_STREAM frames on streams that were closed already.
    late_resets: u32,
    /// Octets of frames that may still be in flight on streams we reset.
    in_flight: u64,
    answers: Answers,
}

/// What is expected beyond a reset stream's window: field blocks and frame headers.
const LATE_OVERHEAD: u64 = 16 * 1024;
/// However many streams were reset, no more than this is ever expected.
const MOST_IN_FLIGHT: u64 = 64 * 1024 * 1024;

/// Frames sent at the peer's instigation that may not have been written yet, in two lots by age.
#[derive(Clone, Debug, Default)]
struct Answers {
    older: u32,
    newer: u32,
    /// Octets still to be written until all of the older lot is.
    older_end: usize,
}

impl Answers {
    /// `octets` were written and `pending` are left.
    fn written(&mut self, octets: usize, pending: usize) {
        self.older_end = self.older_end.saturating_sub(octets);
        if pending == 0 {
            *self = Self::default();
        } else if self.older_end == 0 {
            *self = Self { older: self.newer, newer: 0, older_end: pending };
        }
    }
}

impl Counters {
    pub(crate) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            resets: Bucket::new(limits.resets, limits.resets_per_second, now),
            glitches: Bucket::new(limits.glitches, limits.glitches_per_second, now),
            completed: [0; 2],
            counted_resets: [0; 2],
            window_began: now,
            priorities: 0,
            window_updates: 0,
            data_frames_sent: 0,
            streams_opened: 0,
            late_resets: 0,
            in_flight: 0,
            answers: Answers::default(),
        }
    }

    #[inline]
    pub(crate) fn stream_opened(&mut self) {
        self.streams_opened = self.streams_opened.saturating_add(1);
    }

    #[inline]
    pub(crate) fn stream_completed(&mut self, now: Instant) {
        self.slide(now);
        let [current, _] = &mut self.completed;
        *current = current.saturating_add(1);
    }

    #[inline]
    pub(crate) fn data_frame_sent(&mut self) {
        self.data_frames_sent = self.data_frames_sent.saturating_add(1);
    }

    /// A frame the peer made us send went to the output.
    pub(crate) fn answered(&mut self) {
        self.answers.newer = self.answers.newer.saturating_add(1);
    }

    /// `octets` of the output were written and `pending` are left.
    pub(crate) fn output_written(&mut self, octets: usize, pending: usize) {
        self.answers.written(octets, pending);
    }

    /// True while the peer must be made to wait: it does not read what it makes us send.
    #[inline]
    pub(crate) fn must_stop_reading(&self, limits: &Limits) -> bool {
        self.answers.older.saturating_add(self.answers.newer) >= limits.control_frames
    }

    /// A reset of a stream that did no work, or one the peer made us send.
    ///
    /// Ordinary traffic excuses it: nothing happens while such resets are under a tenth of the streams completed in
    /// the last ten seconds.
    pub(crate) fn reset(&mut self, now: Instant) -> Result<(), Violation> {
        self.slide(now);
        let [current, previous] = &mut self.counted_resets;
        *current = current.saturating_add(1);
        let resets = current.saturating_add(*previous);
        let completed: u32 = self.completed.iter().fold(0, |sum, n| sum.saturating_add(*n));
        if resets < completed / 10 || self.resets.take(now) { Ok(()) } else { Err(Violation::TooManyResets) }
    }

    /// A frame that is legal and useless.
    pub(crate) fn glitch(&mut self, now: Instant) -> Result<(), Violation> {
        if self.glitches.take(now) { Ok(()) } else { Err(Violation::TooManyGlitches) }
    }

    /// An RST_STREAM on a closed stream: each stream may have one that crossed its end; more are useless.
    pub(crate) fn late_reset(&mut self, now: Instant) -> Result<(), Violation> {
        self.late_resets = self.late_resets.saturating_add(1);
        if self.late_resets <= self.streams_opened { Ok(()) } else { self.glitch(now) }
    }

    /// We reset a stream whose peer had `window` octets of credit: so much may be in flight, in small frames even twice
    /// that with their headers.
    pub(crate) fn expect_late(&mut self, window: u32) {
        let more = u64::from(window).saturating_mul(2).saturating_add(LATE_OVERHEAD);
        self.in_flight = self.in_flight.saturating_add(more).min(MOST_IN_FLIGHT);
    }

    /// Whether a frame with a payload of `octets`, on a stream we may have reset, can have been in flight then. It is not
    /// expected a second time.
    pub(crate) fn was_in_flight(&mut self, octets: u32) -> bool {
        let cost = u64::from(octets).saturating_add(crate::frame::FrameHeader::OCTETS as u64);
        match self.in_flight.checked_sub(cost) {
            Some(left) => {
                self.in_flight = left;
                true
            }
            None => false,
        }
    }

    /// A frame with a payload of `octets` on a stream we reset: it was in flight, or it is useless.
    pub(crate) fn late_frame(&mut self, octets: u32, now: Instant) -> Result<(), Violation> {
        if self.was_in_flight(octets) { Ok(()) } else { self.glitch(now) }
    }

    pub(crate) fn priority(&mut self, limits: &Limits) -> Result<(), Violation> {
        self.priorities = self.priorities.saturating_add(1);
        let allowed = limits.priorities_per_stream.saturating_mul(self.streams_opened.saturating_add(1));
        if self.priorities <= allowed { Ok(()) } else { Err(Violation::TooManyPriorities) }
    }

    /// At most 5 + 2 x (streams + 10 x DATA frames sent), and never fewer than the glitch budget allows: peers that
    /// return credit in small steps are wasteful, not hostile.
    pub(crate) fn window_update(&mut self, now: Instant) -> Result<(), Violation> {
        self.window_updates = self.window_updates.saturating_add(1);
        let explained =
            self.data_frames_sent.saturating_mul(10).saturating_add(u64::from(self.streams_opened));
        if self.window_updates <= explained.saturating_mul(2).saturating_add(5) || self.glitches.take(now) {
            Ok(())
        } else {
            Err(Violation::TooManyWindowUpdates)
        }
    }

    #[inline]
    fn slide(&mut self, now: Instant) {
        let since = now - self.window_began;
        if since < COMPLETED_WINDOW {
            return;
        }
        let keep = since < COMPLETED_WINDOW * 2;
        for counts in [&mut self.completed, &mut self.counted_resets] {
            let [current, _] = *counts;
            *counts = [0, if keep { current } else { 0 }];
        }
        self.window_began = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters() -> (Counters, Limits) {
        let limits = Limits::default();
        (Counters::new(&limits, Instant::ZERO), limits)
    }

    #[test]
    fn resets_have_a_burst_and_a_rate() {
        let (mut counters, _) = counters();
        for _ in 0..1000 {
            assert_eq!(counters.reset(Instant::ZERO), Ok(()));
        }
        assert_eq!(counters.reset(Instant::ZERO), Err(Violation::TooManyResets));
        let later = Instant::from_millis(1000);
        for _ in 0..200 {
            assert_eq!(counters.reset(later), Ok(()));
        }
        assert_eq!(counters.reset(later), Err(Violation::TooManyResets));
    }

    #[test]
    fn resets_under_a_tenth_of_completed_streams_are_free() {
        let (mut counters, _) = counters();
        for _ in 0..50_000 {
            counters.stream_completed(Instant::ZERO);
        }
        for _ in 0..4999 {
            assert_eq!(counters.reset(Instant::ZERO), Ok(()));
        }
        let much_later = Instant::from_millis(60_000);
        let allowed = (0..10_000).take_while(|_| counters.reset(much_later).is_ok()).count();
        assert_eq!(allowed, 1000, "old completions excuse nothing");
    }

    #[test]
    fn window_updates_need_an_explanation() {
        let (mut counters, limits) = counters();
        let allowed = (0..1_000_000).take_while(|_| counters.window_update(Instant::ZERO).is_ok()).count();
        assert_eq!(allowed, 5 + limits.glitches as usize);
    }

    #[test]
    fn priorities_scale_with_streams() {
        let (mut counters, limits) = counters();
        counters.stream_opened();
        let allowed = (0..1000).take_while(|_| counters.priority(&limits).is_ok()).count();
        assert_eq!(allowed, 200);
    }

    #[test]
    fn unanswered_control_frames_stop_the_reader() {
        let (mut counters, limits) = counters();
        for _ in 0..limits.control_frames {
            assert!(!counters.must_stop_reading(&limits));
            counters.answered();
        }
        assert!(counters.must_stop_reading(&limits));
        counters.output_written(17_000, 0);
        assert!(!counters.must_stop_reading(&limits));
    }

    /// A connection that is never idle writes its answers out all the same.
    #[test]
    fn answers_are_written_before_the_output_is_empty() {
        let (mut counters, limits) = counters();
        for _ in 0..10 * limits.control_frames {
            counters.answered();
            assert!(!counters.must_stop_reading(&limits));
            counters.output_written(17, 5000);
        }
    }

    #[test]
    fn a_bucket_loses_no_part_of_a_token() {
        let mut bucket = Bucket::new(10, 300, Instant::ZERO);
        // 4 ms earn 1.2 tokens: in one second exactly 300, whatever the steps.
        let taken = (0..=250u64).map(|n| {
            let now = Instant::from_millis(4 * n);
            (0..1000).take_while(|_| bucket.take(now)).count()
        });
        assert_eq!(taken.sum::<usize>(), 10 + 300);
    }
}
