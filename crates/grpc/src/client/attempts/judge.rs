//! What follows when an attempt fails: the rules of gRFC A6 for retries and hedges, without a clock or a connection.

use core::time::Duration;
use std::sync::Arc;

use super::throttle::Throttle;
use crate::Code;
use crate::attempt::PUSHBACK;
use crate::client::service_config::Repeat;
use crate::metadata::MetadataMap;

/// What the server says of another attempt, by `grpc-retry-pushback-ms`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pushback {
    /// Nothing.
    Unsaid,
    /// After so long.
    After(Duration),
    /// None: the value is negative, or no number, or there are several.
    Never,
}

/// What follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The call ends as this attempt did.
    Final,
    /// Another attempt after this long.
    Again(Duration),
    /// Nothing because of this one: others are under way, and they decide.
    Wait,
}

/// The state of one call under its policy.
pub(super) struct Judge {
    policy: Repeat,
    throttle: Option<Arc<Throttle>>,
    /// Attempts so far.
    made: u32,
    /// Retries since the server said when.
    unasked: u32,
    /// No other attempt begins.
    spent: bool,
}

impl Pushback {
    /// In the trailers of an attempt.
    pub(super) fn of(trailers: &MetadataMap) -> Self {
        let values = trailers.get_all(&PUSHBACK);
        let mut values = values.iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Unsaid,
            (Some(value), None) => {
                let millis = value.to_str().ok().and_then(|text| text.trim().parse::<i32>().ok());
                let millis = millis.and_then(|millis| u64::try_from(millis).ok());
                millis.map_or(Self::Never, |millis| Self::After(Duration::from_millis(millis)))
            }
            (Some(_), Some(_)) => Self::Never,
        }
    }
}

impl Judge {
    pub(super) const fn new(policy: Repeat, throttle: Option<Arc<Throttle>>) -> Self {
        Self { policy, throttle, made: 0, unasked: 0, spent: false }
    }

    pub(super) const fn made(&self) -> u32 {
        self.made
    }

    /// An attempt begins; says when the next one is due if nothing is heard before.
    pub(super) fn began(&mut self) -> Option<Duration> {
        self.made = self.made.saturating_add(1);
        match &self.policy {
            Repeat::Hedge(policy) if self.made < policy.most() && !self.spent => Some(policy.delay()),
            Repeat::Hedge(_) | Repeat::Retry(_) => None,
        }
    }

    /// An attempt is due; false if it must not begin after all.
    pub(super) fn is_due(&mut self) -> bool {
        // A retry was weighed when the attempt before it failed; a hedge comes without a failure.
        if let (Repeat::Hedge(_), Some(throttle)) = (&self.policy, &self.throttle) {
            self.spent |= !throttle.allows();
        }
        !self.spent
    }

    /// What is under way decides; nothing more begins.
    pub(super) const fn stop(&mut self) {
        self.spent = true;
    }

    /// The throttle, for the end of a call that went well.
    pub(super) fn throttle(&self) -> Option<Arc<Throttle>> {
        self.throttle.clone()
    }

    /// An attempt failed before its response began. `others` says whether more are under way; `chance` is between 0 and 1 and
    /// places the wait in its range of ±20 %.
    pub(super) fn failed(&mut self, code: Code, pushback: Pushback, others: bool, chance: f64) -> Verdict {
        match self.policy.clone() {
            Repeat::Retry(policy) => {
                if pushback == Pushback::Never {
                    self.count();
                    return Verdict::Final;
                }
                if !policy.is_retryable(code) || !self.count() || self.made >= policy.most() || self.spent {
                    return Verdict::Final;
                }
                Verdict::Again(self.wait(pushback, policy.backoff(self.unasked), chance))
            }
            Repeat::Hedge(policy) => {
                if policy.is_fatal(code) {
                    return Verdict::Final;
                }
                let allowed = self.count();
                self.spent |= pushback == Pushback::Never || !allowed || self.made >= policy.most();
                match pushback {
                    _ if self.spent && others => Verdict::Wait,
                    _ if self.spent => Verdict::Final,
                    Pushback::After(wait) => Verdict::Again(wait),
                    Pushback::Unsaid | Pushback::Never => Verdict::Again(Duration::ZERO),
                }
            }
        }
    }

    /// Counts a failure; false if nothing may be sent again now.
    fn count(&self) -> bool {
        self.throttle.as_ref().is_none_or(|throttle| throttle.failed())
    }

    /// The wait before a retry. A server that says when starts the growth anew.
    fn wait(&mut self, pushback: Pushback, backoff: Duration, chance: f64) -> Duration {
        if let Pushback::After(wait) = pushback {
            self.unasked = 0;
            return wait;
        }
        self.unasked = self.unasked.saturating_add(1);
        // A policy may know no longest wait; the longest there is has no ±20 %.
        Duration::try_from_secs_f64(backoff.as_secs_f64() * (0.8 + 0.4 * chance)).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::service_config::{HedgingPolicy, RetryPolicy};

    const UNAVAILABLE: Code = Code::Unavailable;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn retry(most: u32, throttle: Option<Arc<Throttle>>) -> Judge {
        Judge::new(Repeat::Retry(Arc::new(RetryPolicy::new(most, [UNAVAILABLE]))), throttle)
    }

    fn hedge(most: u32, throttle: Option<Arc<Throttle>>) -> Judge {
        let policy = HedgingPolicy::new(most, ms(10)).non_fatal([UNAVAILABLE]);
        Judge::new(Repeat::Hedge(Arc::new(policy)), throttle)
    }

    #[test]
    fn retries_wait_longer_each_time_and_pushback_starts_the_growth_anew() {
        let mut judge = retry(5, None);
        let mut fail = |pushback, chance| {
            assert_eq!(judge.began(), None);
            judge.failed(UNAVAILABLE, pushback, false, chance)
        };
        assert_eq!(fail(Pushback::Unsaid, 0.0), Verdict::Again(ms(80)));
        assert_eq!(fail(Pushback::Unsaid, 1.0), Verdict::Again(ms(240)));
        assert_eq!(fail(Pushback::After(ms(7)), 0.5), Verdict::Again(ms(7)));
        assert_eq!(fail(Pushback::Unsaid, 0.5), Verdict::Again(ms(100)));
        assert_eq!(fail(Pushback::Unsaid, 0.5), Verdict::Final, "five attempts were made");
    }

    #[test]
    fn the_longest_waits_there_are_do_not_overflow() {
        let policy =
            RetryPolicy::new(5, [UNAVAILABLE]).initial_backoff(Duration::MAX).max_backoff(Duration::MAX);
        for chance in [0.5, 1.0] {
            let mut judge = Judge::new(Repeat::Retry(Arc::new(policy.clone())), None);
            judge.began();
            let verdict = judge.failed(UNAVAILABLE, Pushback::Unsaid, false, chance);
            assert_eq!(verdict, Verdict::Again(Duration::MAX));
        }
    }

    #[test]
    fn what_is_not_listed_or_forbidden_ends_the_call() {
        let throttle = Arc::new(Throttle::new(10.0, 0.1));
        let mut judge = retry(5, Some(Arc::clone(&throttle)));
        judge.began();
        assert_eq!(judge.failed(Code::Aborted, Pushback::After(ms(1)), false, 0.5), Verdict::Final);
        for _ in 0..4 {
            assert!(throttle.allows());
            assert_eq!(judge.failed(Code::Aborted, Pushback::Never, false, 0.5), Verdict::Final);
        }
        assert_eq!(judge.failed(UNAVAILABLE, Pushback::Unsaid, false, 0.5), Verdict::Final, "throttled");
        assert!(!throttle.allows(), "four times \"no\" and one failure; what is not listed costs nothing");
    }

    #[test]
    fn hedges_go_at_their_delay_or_at_once_after_a_failure() {
        let mut judge = hedge(3, None);
        assert_eq!(judge.began(), Some(ms(10)));
        assert!(judge.is_due());
        assert_eq!(judge.failed(UNAVAILABLE, Pushback::Unsaid, false, 0.5), Verdict::Again(Duration::ZERO));
        assert_eq!(judge.began(), Some(ms(10)));
        assert_eq!(judge.failed(UNAVAILABLE, Pushback::After(ms(70)), true, 0.5), Verdict::Again(ms(70)));
        assert_eq!(judge.began(), None, "it is the last");
        assert_eq!(judge.failed(UNAVAILABLE, Pushback::Unsaid, true, 0.5), Verdict::Wait);
        assert_eq!(judge.failed(UNAVAILABLE, Pushback::Unsaid, false, 0.5), Verdict::Final);
        let mut judge = hedge(3, None);
        judge.began();
        assert_eq!(judge.failed(Code::Aborted, Pushback::Unsaid, true, 0.5), Verdict::Final, "fatal");
        let mut judge = hedge(3, None);
        judge.began();
        assert_eq!(judge.failed(UNAVAILABLE, Pushback::Never, true, 0.5), Verdict::Wait);
        assert!(!judge.is_due(), "the server wants no more");
    }

    #[test]
    fn hedges_stop_when_the_tokens_are_spent() {
        let throttle = Arc::new(Throttle::new(2.0, 0.1));
        let mut judge = hedge(5, Some(Arc::clone(&throttle)));
        assert_eq!(judge.began(), Some(ms(10)));
        throttle.failed();
        assert!(!judge.is_due());
        assert_eq!(judge.failed(UNAVAILABLE, Pushback::Unsaid, false, 0.5), Verdict::Final);
    }

    #[test]
    fn pushback_is_one_number_of_milliseconds() {
        let of = |values: &[&'static str]| {
            let mut trailers = MetadataMap::new();
            for value in values {
                trailers.append("grpc-retry-pushback-ms", value.parse().unwrap());
            }
            Pushback::of(&trailers)
        };
        assert_eq!(of(&[]), Pushback::Unsaid);
        assert_eq!(of(&["0"]), Pushback::After(Duration::ZERO));
        assert_eq!(of(&["1500"]), Pushback::After(ms(1500)));
        for bad in [&["-1"][..], &["x"], &[""], &["1.5"], &["99999999999"], &["1", "1"]] {
            assert_eq!(of(bad), Pushback::Never, "{bad:?}");
        }
    }
}
