//! What a service configuration may not say (gRFC A6, A21). The place is named as in JSON, also for the builders' form.

use std::collections::BTreeSet;

use super::{HedgingPolicy, MethodConfig, Policy, RetryPolicy, RetryThrottling, ServiceConfig};
use crate::Error;

/// More attempts than this count as so many, unless the endpoint says otherwise (gRFC A6).
pub(crate) const MAX_ATTEMPTS: u32 = 5;

/// A place and what is wrong there.
type Problem = String;

impl ServiceConfig {
    /// # Errors
    /// The first thing that is not allowed.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.problem().map_or(Ok(()), |problem| Err(Error::config(format!("service config: {problem}"))))
    }

    fn problem(&self) -> Option<Problem> {
        let mut seen = BTreeSet::new();
        for (at, method) in self.methods.iter().enumerate() {
            let place = format!("methodConfig[{at}]");
            for (nth, name) in method.names.iter().enumerate() {
                let place = format!("{place}.name[{nth}]");
                if name.service.is_empty() && !name.method.is_empty() {
                    return Some(format!("{place}.service: missing, although a method is named"));
                }
                if !seen.insert((&name.service, &name.method)) {
                    return Some(format!("{place}: {:?} was named before", name.to_string()));
                }
            }
            if let Some(problem) = method.problem(&place) {
                return Some(problem);
            }
        }
        self.throttling.and_then(|throttling| throttling.problem("retryThrottling"))
    }
}

impl MethodConfig {
    fn problem(&self, place: &str) -> Option<Problem> {
        match self.repeat.as_ref()? {
            Policy::Retry(policy) => policy.problem(&format!("{place}.retryPolicy")),
            Policy::Hedge(policy) => policy.problem(&format!("{place}.hedgingPolicy")),
        }
    }
}

fn attempts(place: &str, attempts: u32) -> Option<Problem> {
    (attempts < 2).then(|| format!("{place}.maxAttempts: want 2 or more, the first one included"))
}

impl RetryPolicy {
    fn problem(&self, place: &str) -> Option<Problem> {
        let zero = |name: &str, is_zero: bool| is_zero.then(|| format!("{place}.{name}: want more than 0"));
        attempts(place, self.max_attempts)
            .or_else(|| zero("initialBackoff", self.initial_backoff.is_zero()))
            .or_else(|| zero("maxBackoff", self.max_backoff.is_zero()))
            .or_else(|| zero("backoffMultiplier", !is_positive(self.backoff_multiplier)))
            .or_else(|| {
                let none = self.codes.is_empty();
                none.then(|| format!("{place}.retryableStatusCodes: want one or more"))
            })
    }
}

impl HedgingPolicy {
    fn problem(&self, place: &str) -> Option<Problem> {
        attempts(place, self.max_attempts)
    }
}

impl RetryThrottling {
    fn problem(self, place: &str) -> Option<Problem> {
        if !is_positive(self.max_tokens) || self.max_tokens > 1000.0 {
            return Some(format!("{place}.maxTokens: want more than 0, at most 1000"));
        }
        // Three decimals count: less than a thousandth would be none.
        (!is_positive(self.token_ratio) || self.token_ratio < 0.001)
            .then(|| format!("{place}.tokenRatio: want 0.001 or more"))
    }
}

fn is_positive(number: f64) -> bool {
    number.is_finite() && number > 0.0
}

impl core::fmt::Display for super::Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match (self.service.as_str(), self.method.as_str()) {
            ("", _) => f.write_str("the default"),
            (service, "") => write!(f, "{service}/*"),
            (service, method) => write!(f, "{service}/{method}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::Code;

    fn problem(method: MethodConfig) -> String {
        ServiceConfig::new().method(MethodConfig::for_all()).method(method).check().unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_allowed_is_named_by_its_place() {
        let retry = || RetryPolicy::new(2, [Code::Unavailable]);
        let with = |policy| MethodConfig::for_service("a.B").retry(policy);
        for (method, place) in [
            (MethodConfig::for_method("", "C"), "methodConfig[1].name[0].service"),
            (MethodConfig::for_all(), "methodConfig[1].name[0]: \"the default\""),
            (with(RetryPolicy::new(1, [Code::Unavailable])), "methodConfig[1].retryPolicy.maxAttempts"),
            (with(RetryPolicy::new(2, [])), "methodConfig[1].retryPolicy.retryableStatusCodes"),
            (with(retry().initial_backoff(Duration::ZERO)), "methodConfig[1].retryPolicy.initialBackoff"),
            (with(retry().max_backoff(Duration::ZERO)), "methodConfig[1].retryPolicy.maxBackoff"),
            (with(retry().backoff_multiplier(f64::NAN)), "methodConfig[1].retryPolicy.backoffMultiplier"),
            (
                MethodConfig::for_service("a.B").hedge(HedgingPolicy::new(1, Duration::ZERO)),
                "methodConfig[1].hedgingPolicy.maxAttempts",
            ),
        ] {
            let problem = problem(method);
            assert!(problem.starts_with("service config: ") && problem.contains(place), "{problem}");
        }
        for (tokens, ratio, place) in [
            (0.0, 1.0, "retryThrottling.maxTokens"),
            (1000.1, 1.0, "retryThrottling.maxTokens"),
            (1.0, 0.0009, "retryThrottling.tokenRatio"),
        ] {
            let config = ServiceConfig::new().retry_throttling(RetryThrottling::new(tokens, ratio));
            assert!(config.check().unwrap_err().to_string().contains(place), "{tokens} {ratio}");
        }
    }
}
