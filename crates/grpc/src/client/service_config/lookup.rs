//! What a channel looks up for every call: the entry for its method, ready to use.
//!
//! Names are kept in order and found by comparing, which is cheaper than a hash for the few that a configuration has; a
//! configuration with a default alone compares nothing. A channel without one does not come here.

use core::time::Duration;
use std::sync::Arc;

use super::{HedgingPolicy, MethodConfig, Policy, RetryPolicy, RetryThrottling, ServiceConfig};
use crate::client::attempts::Throttle;

/// Everything a channel was told of methods.
#[derive(Debug)]
pub(crate) struct Methods {
    entries: Vec<Method>,
    /// By `package.Service/Method`, or `package.Service/` for all of a service; the number of their entry.
    names: Vec<(Box<str>, usize)>,
    default: Option<usize>,
    pub(crate) throttle: Option<Arc<Throttle>>,
}

/// What is done with calls of one method.
#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) wait_for_ready: Option<bool>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) max_request: usize,
    pub(crate) max_response: usize,
    pub(crate) repeat: Option<Repeat>,
}

/// How a call is sent more than once, at most so many times.
#[derive(Clone, Debug)]
pub(crate) enum Repeat {
    Retry(Arc<RetryPolicy>),
    Hedge(Arc<HedgingPolicy>),
}

impl Methods {
    /// Of a configuration that was checked. `cap` bounds the attempts of every policy.
    pub(crate) fn new(config: ServiceConfig, cap: u32) -> Self {
        let mut methods = Self {
            entries: Vec::with_capacity(config.methods.len()),
            names: Vec::new(),
            default: None,
            throttle: config.throttling.map(|RetryThrottling { max_tokens, token_ratio }| {
                Arc::new(Throttle::new(max_tokens, token_ratio))
            }),
        };
        for (at, method) in config.methods.into_iter().enumerate() {
            for name in &method.names {
                if name.service.is_empty() {
                    methods.default = Some(at);
                } else {
                    methods.names.push((format!("{}/{}", name.service, name.method).into(), at));
                }
            }
            methods.entries.push(Method::new(method, cap));
        }
        methods.names.sort();
        methods
    }

    /// What was said of a method, by its path (`/package.Service/Method`).
    pub(crate) fn find(&self, path: &str) -> Option<&Method> {
        let at = if self.names.is_empty() { self.default } else { self.named(path).or(self.default) };
        self.entries.get(at?)
    }

    fn named(&self, path: &str) -> Option<usize> {
        let path = path.strip_prefix('/')?;
        let found = |name: &str| {
            let at = self.names.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
            self.names.get(at).map(|(_, entry)| *entry)
        };
        found(path).or_else(|| found(path.get(..=path.rfind('/')?)?))
    }
}

impl Method {
    fn new(config: MethodConfig, cap: u32) -> Self {
        let cap = cap.max(1);
        Self {
            wait_for_ready: config.wait_for_ready,
            timeout: config.timeout,
            max_request: config.max_request.unwrap_or(usize::MAX),
            max_response: config.max_response.unwrap_or(usize::MAX),
            repeat: match config.repeat {
                Some(Policy::Retry(policy)) => Some(Repeat::Retry(Arc::new(RetryPolicy {
                    max_attempts: policy.max_attempts.min(cap),
                    ..policy
                }))),
                Some(Policy::Hedge(policy)) => Some(Repeat::Hedge(Arc::new(HedgingPolicy {
                    max_attempts: policy.max_attempts.min(cap),
                    ..policy
                }))),
                None => None,
            },
        }
    }
}

impl RetryPolicy {
    pub(crate) const fn most(&self) -> u32 {
        self.max_attempts
    }

    pub(crate) fn is_retryable(&self, code: crate::Code) -> bool {
        self.codes.contains(&code)
    }

    /// The wait before a retry that so many others came before, without jitter.
    pub(crate) fn backoff(&self, before: u32) -> Duration {
        let factor = self.backoff_multiplier.powi(before.try_into().unwrap_or(i32::MAX));
        let wait = self.initial_backoff.as_secs_f64() * factor;
        Duration::try_from_secs_f64(wait).map_or(self.max_backoff, |wait| wait.min(self.max_backoff))
    }
}

impl HedgingPolicy {
    pub(crate) const fn most(&self) -> u32 {
        self.max_attempts
    }

    pub(crate) const fn delay(&self) -> Duration {
        self.delay
    }

    pub(crate) fn is_fatal(&self, code: crate::Code) -> bool {
        !self.non_fatal.contains(&code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    fn timeout(methods: &Methods, path: &str) -> Option<u64> {
        methods.find(path)?.timeout.map(|timeout| timeout.as_secs())
    }

    #[test]
    fn the_method_counts_before_its_service_and_the_service_before_the_default() {
        let secs = Duration::from_secs;
        let config = ServiceConfig::new()
            .method(MethodConfig::for_service("a.B").and_method("a.D", "E").timeout(secs(2)))
            .method(MethodConfig::for_all().timeout(secs(1)))
            .method(MethodConfig::for_method("a.B", "C").timeout(secs(3)))
            .method(MethodConfig::default().timeout(secs(9)));
        config.check().unwrap();
        let methods = Methods::new(config, 5);
        for (path, secs) in
            [("/a.B/C", 3), ("/a.B/Cc", 2), ("/a.B/", 2), ("/a.D/E", 2), ("/a.D/F", 1), ("/a.Bb/C", 1)]
        {
            assert_eq!(timeout(&methods, path), Some(secs), "{path}");
        }
        let config = ServiceConfig::new().method(MethodConfig::for_method("a.B", "C").timeout(secs(3)));
        assert!(Methods::new(config, 5).find("/a.B/D").is_none());
    }

    #[test]
    fn waits_grow_to_their_limit_and_attempts_are_capped() {
        let policy = RetryPolicy::new(100, [Code::Unavailable]).max_backoff(Duration::from_millis(350));
        let waits: Vec<_> = (0..4).map(|before| policy.backoff(before).as_millis()).collect();
        assert_eq!(waits, [100, 200, 350, 350]);
        assert_eq!(policy.backoff(u32::MAX).as_millis(), 350);
        let config = ServiceConfig::new().method(MethodConfig::for_all().retry(policy));
        let methods = Methods::new(config, 5);
        let Some(Repeat::Retry(policy)) = &methods.find("/a/b").unwrap().repeat else { panic!("it has one") };
        assert_eq!(policy.most(), 5);
    }
}
