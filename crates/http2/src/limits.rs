//! Every bound a peer can press against, and the counter that guards it. RFC 9113 §10.5.
//!
//! Each row of [`Limits`] is a number a peer could otherwise grow without end; `Counters` counts against them and
//! names the rule ([`Violation`]) when one is passed. What is free: work the peer is entitled to, such as cancelling a
//! call whose handler has started. The peer's PINGs are counted in `connection/keepalive.rs`.

use core::fmt;
use core::time::Duration;

use crate::error::Violation;
use crate::time::Instant;

/// The bounds, with their defaults in [`Limits::default`]. Every GOAWAY and every reset that one of them causes names it, by the name
/// of its field here, in its debug text or its [`Violation`].
///
/// Beside them stand, in [`Config`](crate::Config): `max_concurrent_streams`, `receive_budget_octets`, `peer_timeout` and
/// `max_frame_size`; in the driver of a connection: how long the socket may take nothing.
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
    /// PING frames of a client that came earlier than [`Config::ping_policy`](crate::Config::ping_policy) allows, since its server sent
    /// HEADERS or DATA; one more ends the connection (gRFC A8). The GOAWAY's debug text is this field's name, and no more: clients
    /// compare it. Default: 2.
    pub too_many_pings: u32,
    /// Entries in one SETTINGS frame. Default: 32.
    pub settings_entries: usize,
    /// Empty DATA or HEADERS without END_STREAM in a row on one stream. Default: 10.
    pub empty_frames: u8,
    /// PRIORITY frames for each stream opened, plus as many to begin with. Default: 100.
    pub priorities_per_stream: u32,
    /// WINDOW_UPDATE frames that neither streams nor DATA sent explain (5 + 2 x (streams + 10 x DATA frames) are explained): the
    /// burst. Default: 10,000, as a receiver that returns credit in crumbs is wasteful, not hostile.
    pub window_updates: u32,
    /// The same, refilled per second. Default: 330.
    pub window_updates_per_second: u32,
    /// Useless frames: the burst. Default: 10,000. Counted are unknown types, GOAWAY, SETTINGS after the first, PING answers nobody
    /// asked for, more on streams we reset or refused than can have been in flight, and more than one RST_STREAM on a closed
    /// stream.
    pub glitches: u32,
    /// The same, refilled per second. Default: 330.
    pub glitches_per_second: u32,
    /// How long the octets that wait on a stream may stay where they are for want of credit, its own or the connection's
    /// (RFC 9113 §6.9); any progress starts it again. Then the stream is reset with ENHANCE_YOUR_CALM. Default:
    /// [`Duration::MAX`], which is for ever: a reader may pause for as long as its user does, and what waits for it is bounded
    /// by [`Config::send_backlog_octets`](crate::Config::send_backlog_octets). To be set where handlers hold what others need.
    pub send_stall: Duration,
    /// The same for a stream that got no credit whatever (CVE-2016-1546): its peer announces SETTINGS_INITIAL_WINDOW_SIZE = 0 and
    /// gave it none by WINDOW_UPDATE either. If [`Limits::send_stall`] is shorter, that counts. Default: 30 s: whoever asks and
    /// then takes nothing at all does not read slowly.
    pub zero_window_stall: Duration,
    /// How long a message in assembly may stand still while others wait for the receive budget it holds; then its stream
    /// is reset. Default: 10 s.
    pub assembly_stall: Duration,
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
            too_many_pings: 2,
            settings_entries: 32,
            empty_frames: 10,
            priorities_per_stream: 100,
            window_updates: 10_000,
            window_updates_per_second: 330,
            glitches: 10_000,
            glitches_per_second: 330,
            send_stall: Duration::MAX,
            zero_window_stall: Duration::from_secs(30),
            assembly_stall: Duration::from_secs(10),
        }
    }
}

/// What a peer has made a connection do, in all: for the line that a log has of its end, and for those who count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Streams opened, by either side.
    pub streams: u32,
    /// Resets that counted against [`Limits::resets`].
    pub resets: u32,
    /// Frames that counted against [`Limits::glitches`].
    pub glitches: u32,
    /// WINDOW_UPDATE frames.
    pub window_updates: u64,
    /// PRIORITY frames.
    pub priorities: u32,
    /// Frames we had to answer with (acknowledgements, resets); see [`Limits::control_frames`].
    pub answers: u64,
}

impl fmt::Display for Tally {
    /// What there was, as `7 streams, 3 resets`; nothing else is said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} streams", self.streams)?;
        let rest = [
            (u64::from(self.resets), "resets"),
            (u64::from(self.glitches), "useless frames"),
            (self.window_updates, "window updates"),
            (u64::from(self.priorities), "priorities"),
            (self.answers, "answers"),
        ];
        rest.into_iter()
            .filter(|(count, _)| *count > 0)
            .try_for_each(|(count, of)| write!(f, ", {count} {of}"))
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
    /// None on a connection on which nothing was ever counted, as on most.
    floods: Option<Box<Floods>>,
    answers_in_all: u64,
    /// Streams completed in the current and in the previous [`COMPLETED_WINDOW`].
    completed: [u32; 2],
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

/// What is counted by its rate.
#[derive(Clone, Debug)]
struct Floods {
    resets: Bucket,
    updates: Bucket,
    glitches: Bucket,
    /// Resets counted in the current and in the previous [`COMPLETED_WINDOW`].
    recent_resets: [u32; 2],
    resets_in_all: u32,
    glitches_in_all: u32,
}

impl Floods {
    fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            resets: Bucket::new(limits.resets, limits.resets_per_second, now),
            updates: Bucket::new(limits.window_updates, limits.window_updates_per_second, now),
            glitches: Bucket::new(limits.glitches, limits.glitches_per_second, now),
            recent_resets: [0; 2],
            resets_in_all: 0,
            glitches_in_all: 0,
        }
    }
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
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            floods: None,
            answers_in_all: 0,
            completed: [0; 2],
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

    fn floods(&mut self, limits: &Limits, now: Instant) -> &mut Floods {
        self.floods.get_or_insert_with(|| Box::new(Floods::new(limits, now)))
    }

    pub(crate) fn tally(&self) -> Tally {
        let floods = self.floods.as_deref();
        Tally {
            streams: self.streams_opened,
            resets: floods.map_or(0, |floods| floods.resets_in_all),
            glitches: floods.map_or(0, |floods| floods.glitches_in_all),
            window_updates: self.window_updates,
            priorities: self.priorities,
            answers: self.answers_in_all,
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
        self.answers_in_all = self.answers_in_all.saturating_add(1);
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
    pub(crate) fn reset(&mut self, limits: &Limits, now: Instant) -> Result<(), Violation> {
        self.slide(now);
        let completed: u32 = self.completed.iter().fold(0, |sum, n| sum.saturating_add(*n));
        let floods = self.floods(limits, now);
        floods.resets_in_all = floods.resets_in_all.saturating_add(1);
        let [current, previous] = &mut floods.recent_resets;
        *current = current.saturating_add(1);
        let resets = current.saturating_add(*previous);
        if resets < completed / 10 || floods.resets.take(now) {
            Ok(())
        } else {
            Err(Violation::TooManyResets)
        }
    }

    /// A frame that is legal and useless.
    pub(crate) fn glitch(&mut self, limits: &Limits, now: Instant) -> Result<(), Violation> {
        let floods = self.floods(limits, now);
        floods.glitches_in_all = floods.glitches_in_all.saturating_add(1);
        if floods.glitches.take(now) { Ok(()) } else { Err(Violation::TooManyGlitches) }
    }

    /// An RST_STREAM on a closed stream: each stream may have one that crossed its end; more are useless.
    pub(crate) fn late_reset(&mut self, limits: &Limits, now: Instant) -> Result<(), Violation> {
        self.late_resets = self.late_resets.saturating_add(1);
        if self.late_resets <= self.streams_opened { Ok(()) } else { self.glitch(limits, now) }
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
    pub(crate) fn late_frame(&mut self, octets: u32, limits: &Limits, now: Instant) -> Result<(), Violation> {
        if self.was_in_flight(octets) { Ok(()) } else { self.glitch(limits, now) }
    }

    pub(crate) fn priority(&mut self, limits: &Limits) -> Result<(), Violation> {
        self.priorities = self.priorities.saturating_add(1);
        let allowed = limits.priorities_per_stream.saturating_mul(self.streams_opened.saturating_add(1));
        if self.priorities <= allowed { Ok(()) } else { Err(Violation::TooManyPriorities) }
    }

    /// 5 + 2 x (streams + 10 x DATA frames sent) are explained; more draw on the budget.
    pub(crate) fn window_update(&mut self, limits: &Limits, now: Instant) -> Result<(), Violation> {
        self.window_updates = self.window_updates.saturating_add(1);
        let explained =
            self.data_frames_sent.saturating_mul(10).saturating_add(u64::from(self.streams_opened));
        if self.window_updates <= explained.saturating_mul(2).saturating_add(5)
            || self.floods(limits, now).updates.take(now)
        {
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
        let resets = self.floods.as_deref_mut().map(|floods| &mut floods.recent_resets);
        for counts in resets.into_iter().chain([&mut self.completed]) {
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
        (Counters::new(Instant::ZERO), limits)
    }

    #[test]
    fn resets_have_a_burst_and_a_rate() {
        let (mut counters, limits) = counters();
        for _ in 0..1000 {
            assert_eq!(counters.reset(&limits, Instant::ZERO), Ok(()));
        }
        assert_eq!(counters.reset(&limits, Instant::ZERO), Err(Violation::TooManyResets));
        let later = Instant::from_millis(1000);
        for _ in 0..200 {
            assert_eq!(counters.reset(&limits, later), Ok(()));
        }
        assert_eq!(counters.reset(&limits, later), Err(Violation::TooManyResets));
    }

    #[test]
    fn resets_under_a_tenth_of_completed_streams_are_free() {
        let (mut counters, limits) = counters();
        for _ in 0..50_000 {
            counters.stream_completed(Instant::ZERO);
        }
        for _ in 0..4999 {
            assert_eq!(counters.reset(&limits, Instant::ZERO), Ok(()));
        }
        let much_later = Instant::from_millis(60_000);
        let allowed = (0..10_000).take_while(|_| counters.reset(&limits, much_later).is_ok()).count();
        assert_eq!(allowed, 1000, "old completions excuse nothing");
    }

    #[test]
    fn window_updates_need_an_explanation() {
        let (mut counters, limits) = counters();
        let allowed =
            (0..1_000_000).take_while(|_| counters.window_update(&limits, Instant::ZERO).is_ok()).count();
        assert_eq!(allowed, 5 + limits.window_updates as usize);
        assert_eq!(
            counters.glitch(&limits, Instant::ZERO),
            Ok(()),
            "one flood does not use up what another is counted by"
        );
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
