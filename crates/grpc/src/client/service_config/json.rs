//! The JSON form: proto3 JSON of gRPC's `ServiceConfig`. Fields it does not know are ignored; what it knows must be of the right
//! kind, and an error names its place.
//!
//! proto3 JSON lets numbers be strings, durations be seconds with a fraction and an `s`, and codes be names or numbers. `null` is
//! a field's absence.

use core::time::Duration;

use serde_json::{Map, Value};

use super::{HedgingPolicy, MethodConfig, Name, Policy, RetryPolicy, RetryThrottling, ServiceConfig};
use crate::Code;

/// A place and what is wrong there.
type Problem = String;
type Fields = Map<String, Value>;

/// The balancing policies this library has.
const POLICIES: &[&str] = &[PICK_FIRST, "round_robin", "least_request_experimental"];
const PICK_FIRST: &str = "pick_first";
/// proto3's longest duration, in seconds: about 10,000 years.
const MAX_SECONDS: u64 = 315_576_000_000;

/// A value and where it is.
#[derive(Clone, Copy)]
struct At<'a> {
    value: &'a Value,
    place: Place<'a>,
}

#[derive(Clone, Copy)]
enum Place<'a> {
    Root,
    Field(&'a Place<'a>, &'a str),
    Element(&'a Place<'a>, usize),
}

impl core::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Place::Root, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Element(parent, at) => write!(f, "{parent}[{at}]"),
        }
    }
}

/// Reads the text of a configuration.
pub(super) fn read(json: &str) -> Result<ServiceConfig, Problem> {
    let value: Value = serde_json::from_str(json).map_err(|error| format!("no JSON: {error}"))?;
    let Value::Object(fields) = &value else { return Err("want an object".to_owned()) };
    let root = Place::Root;
    let mut config = ServiceConfig::new();
    each(fields, &root, "methodConfig", |entry| {
        config.methods.push(method_config(entry)?);
        Ok(())
    })?;
    config.throttling = field(fields, &root, "retryThrottling", throttling)?;
    config.balancing = field(fields, &root, "loadBalancingPolicy", |at| known(at.text()?, at))?;
    if let Some(chosen) = field(fields, &root, "loadBalancingConfig", balancing)? {
        (config.balancing, config.shuffle) = chosen;
    }
    Ok(config)
}

/// Reads a field that may be absent.
fn field<T>(
    fields: &Fields,
    parent: &Place<'_>,
    name: &str,
    read: impl FnOnce(At<'_>) -> Result<T, Problem>,
) -> Result<Option<T>, Problem> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(At { value, place: Place::Field(parent, name) }).map(Some),
    }
}

/// Reads a field that must be there.
fn wanted<T>(
    fields: &Fields,
    parent: &Place<'_>,
    name: &str,
    read: impl FnOnce(At<'_>) -> Result<T, Problem>,
) -> Result<T, Problem> {
    field(fields, parent, name, read)?.ok_or_else(|| format!("{}: missing", Place::Field(parent, name)))
}

/// Reads the elements of a field that is a list, or absent.
fn each(
    fields: &Fields,
    parent: &Place<'_>,
    name: &str,
    mut read: impl FnMut(At<'_>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    field(fields, parent, name, |list| {
        let Value::Array(elements) = list.value else { return Err(list.want("a list")) };
        elements
            .iter()
            .enumerate()
            .try_for_each(|(at, value)| read(At { value, place: Place::Element(&list.place, at) }))
    })?;
    Ok(())
}

impl<'a> At<'a> {
    fn want(&self, what: &str) -> Problem {
        let mut found = self.value.to_string();
        if found.len() > 40 {
            found = found.chars().take(40).chain(['…']).collect();
        }
        format!("{}: want {what}, found {found}", self.place)
    }

    fn fields(&self) -> Result<&'a Fields, Problem> {
        self.value.as_object().ok_or_else(|| self.want("an object"))
    }

    fn text(&self) -> Result<&'a str, Problem> {
        self.value.as_str().ok_or_else(|| self.want("text"))
    }

    fn switch(&self) -> Result<bool, Problem> {
        self.value.as_bool().ok_or_else(|| self.want("true or false"))
    }

    fn number(&self) -> Result<f64, Problem> {
        let number = match self.value {
            Value::String(text) => text.parse().ok(),
            value => value.as_f64(),
        };
        number.ok_or_else(|| self.want("a number"))
    }

    fn count(&self) -> Result<u32, Problem> {
        let count = match self.value {
            Value::String(text) => text.parse().ok(),
            value => value.as_u64().and_then(|count| u32::try_from(count).ok()).or_else(|| {
                // proto3 JSON: 3.0 is 3.
                let whole = value.as_f64().filter(|number| number.fract() == 0.0)?;
                format!("{whole}").parse().ok()
            }),
        };
        count.ok_or_else(|| self.want("a whole number, 0 or more"))
    }

    /// Seconds with up to nine decimals and an `s`. A negative one makes no sense here.
    fn duration(&self) -> Result<Duration, Problem> {
        const WANT: &str = "a duration as \"1.5s\"";
        let read = |text: &str| -> Option<Duration> {
            let text = text.strip_suffix('s')?;
            let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
            if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
                return None;
            }
            let seconds = whole.parse().ok().filter(|seconds| *seconds <= MAX_SECONDS)?;
            Some(Duration::new(seconds, format!("{fraction:0<9}").parse().ok()?))
        };
        self.value.as_str().and_then(read).ok_or_else(|| self.want(WANT))
    }

    fn code(&self) -> Result<Code, Problem> {
        let by_name = |name: &str| Code::ALL.into_iter().find(|code| code.to_string() == name);
        let code = match self.value {
            Value::String(name) => by_name(&name.to_ascii_uppercase()),
            value => {
                value.as_u64().and_then(|number| Code::ALL.into_iter().find(|code| *code as u64 == number))
            }
        };
        code.ok_or_else(|| self.want("a status code, as \"UNAVAILABLE\" or 14"))
    }
}

fn method_config(entry: At<'_>) -> Result<MethodConfig, Problem> {
    let (fields, place) = (entry.fields()?, &entry.place);
    let mut method = MethodConfig::default();
    each(fields, place, "name", |at| {
        let (fields, place) = (at.fields()?, &at.place);
        let text = |at: At<'_>| at.text().map(ToOwned::to_owned);
        let service = field(fields, place, "service", text)?.unwrap_or_default();
        let name = field(fields, place, "method", text)?.unwrap_or_default();
        method.names.push(Name { service, method: name });
        Ok(())
    })?;
    method.wait_for_ready = field(fields, place, "waitForReady", |at| at.switch())?;
    method.timeout = field(fields, place, "timeout", |at| at.duration())?;
    let octets = |at: At<'_>| at.count().map(|octets| usize::try_from(octets).unwrap_or(usize::MAX));
    method.max_request = field(fields, place, "maxRequestMessageBytes", octets)?;
    method.max_response = field(fields, place, "maxResponseMessageBytes", octets)?;
    let retry = field(fields, place, "retryPolicy", retry)?;
    let hedge = field(fields, place, "hedgingPolicy", hedge)?;
    method.repeat = match (retry, hedge) {
        (None, None) => None,
        (Some(retry), None) => Some(Policy::Retry(retry)),
        (None, Some(hedge)) => Some(Policy::Hedge(hedge)),
        (Some(_), Some(_)) => {
            return Err(format!("{place}: retryPolicy and hedgingPolicy exclude each other"));
        }
    };
    Ok(method)
}

fn codes(fields: &Fields, place: &Place<'_>, name: &str) -> Result<Vec<Code>, Problem> {
    let mut codes = Vec::new();
    each(fields, place, name, |at| {
        codes.push(at.code()?);
        Ok(())
    })?;
    Ok(codes)
}

fn retry(at: At<'_>) -> Result<RetryPolicy, Problem> {
    let (fields, place) = (at.fields()?, &at.place);
    Ok(RetryPolicy {
        max_attempts: wanted(fields, place, "maxAttempts", |at| at.count())?,
        initial_backoff: wanted(fields, place, "initialBackoff", |at| at.duration())?,
        max_backoff: wanted(fields, place, "maxBackoff", |at| at.duration())?,
        backoff_multiplier: wanted(fields, place, "backoffMultiplier", |at| at.number())?,
        codes: codes(fields, place, "retryableStatusCodes")?,
    })
}

fn hedge(at: At<'_>) -> Result<HedgingPolicy, Problem> {
    let (fields, place) = (at.fields()?, &at.place);
    Ok(HedgingPolicy {
        max_attempts: wanted(fields, place, "maxAttempts", |at| at.count())?,
        delay: field(fields, place, "hedgingDelay", |at| at.duration())?.unwrap_or_default(),
        non_fatal: codes(fields, place, "nonFatalStatusCodes")?,
    })
}

fn throttling(at: At<'_>) -> Result<RetryThrottling, Problem> {
    let (fields, place) = (at.fields()?, &at.place);
    Ok(RetryThrottling {
        max_tokens: wanted(fields, place, "maxTokens", |at| at.number())?,
        token_ratio: wanted(fields, place, "tokenRatio", |at| at.number())?,
    })
}

fn known(name: &str, at: At<'_>) -> Result<String, Problem> {
    let found = POLICIES.iter().find(|known| known.eq_ignore_ascii_case(name));
    found.map(|name| (*name).to_owned()).ok_or_else(|| at.want(&format!("one of {}", POLICIES.join(", "))))
}

/// The first policy of the list that is known (gRFC A24), and whether it shuffles (A62). An empty list chooses nothing.
fn balancing(list: At<'_>) -> Result<(Option<String>, bool), Problem> {
    let Value::Array(elements) = list.value else { return Err(list.want("a list")) };
    for (at, value) in elements.iter().enumerate() {
        let at = At { value, place: Place::Element(&list.place, at) };
        let fields = at.fields()?;
        let mut names = fields.iter();
        let (Some((name, config)), None) = (names.next(), names.next()) else {
            return Err(at.want("an object with one field, the name of a policy"));
        };
        if POLICIES.contains(&name.as_str()) {
            let config = At { value: config, place: Place::Field(&at.place, name) };
            let shuffle = field(config.fields()?, &config.place, "shuffleAddressList", |at| at.switch())?;
            return Ok((Some(name.clone()), name == PICK_FIRST && shuffle.unwrap_or(false)));
        }
    }
    if elements.is_empty() {
        return Ok((None, false));
    }
    Err(list.want(&format!("a policy this library has: {}", POLICIES.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"{
        "loadBalancingConfig": [{"xds_experimental": {}}, {"pick_first": {"shuffleAddressList": true}}],
        "methodConfig": [{
            "name": [{"service": "a.B", "method": "C"}, {"service": "a.D"}],
            "waitForReady": true, "timeout": "1.5s",
            "maxRequestMessageBytes": 7, "maxResponseMessageBytes": "8",
            "retryPolicy": {
                "maxAttempts": 3, "initialBackoff": "0.01s", "maxBackoff": "1s", "backoffMultiplier": 1.6,
                "retryableStatusCodes": ["UNAVAILABLE", 8, "aborted"], "perAttemptRecvTimeout": "1s"
            }
        }, {
            "name": [{}],
            "hedgingPolicy": {"maxAttempts": 2.0, "hedgingDelay": "0.000000001s", "nonFatalStatusCodes": ["INTERNAL"]}
        }],
        "retryThrottling": {"maxTokens": 10, "tokenRatio": "0.123"},
        "healthCheckConfig": {"serviceName": "x"}, "unknown": [1]
    }"#;

    #[test]
    fn everything_is_read_and_the_unknown_is_not_looked_at() {
        let retry = RetryPolicy::new(3, [Code::Unavailable, Code::ResourceExhausted, Code::Aborted])
            .initial_backoff(Duration::from_millis(10))
            .backoff_multiplier(1.6);
        let hedge = HedgingPolicy::new(2, Duration::from_nanos(1)).non_fatal([Code::Internal]);
        let mut wanted = ServiceConfig::new()
            .method(
                MethodConfig::for_method("a.B", "C")
                    .and_method("a.D", "")
                    .wait_for_ready(true)
                    .timeout(Duration::from_millis(1500))
                    .max_request_message_size(7)
                    .max_response_message_size(8)
                    .retry(retry),
            )
            .method(MethodConfig::for_all().hedge(hedge))
            .retry_throttling(RetryThrottling::new(10.0, 0.123));
        (wanted.balancing, wanted.shuffle) = (Some("pick_first".to_owned()), true);
        assert_eq!(ServiceConfig::from_json(WHOLE).unwrap(), wanted);
        assert_eq!(ServiceConfig::from_json("{}").unwrap(), ServiceConfig::new());
        assert_eq!(
            ServiceConfig::from_json(r#"{"methodConfig": null, "loadBalancingConfig": []}"#).unwrap(),
            ServiceConfig::new()
        );
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        let method = |inside: &str| format!(r#"{{"methodConfig": [{{}}, {{{inside}}}]}}"#);
        let retry = |inside: &str| method(&format!(r#""retryPolicy": {{{inside}}}"#));
        for (json, place) in [
            ("{".to_owned(), "service config: no JSON: "),
            ("[]".to_owned(), "service config: want an object"),
            (r#"{"methodConfig": {}}"#.to_owned(), "methodConfig: want a list, found {}"),
            (method(r#""name": [{"service": 1}]"#), "methodConfig[1].name[0].service: want text, found 1"),
            (method(r#""name": [{"method": "C"}]"#), "methodConfig[1].name[0].service: missing"),
            (method(r#""name": [{}, {}]"#), "methodConfig[1].name[1]"),
            (method(r#""waitForReady": "yes""#), "methodConfig[1].waitForReady: want true or false"),
            (
                method(r#""timeout": "1.5""#),
                "methodConfig[1].timeout: want a duration as \"1.5s\", found \"1.5\"",
            ),
            (method(r#""timeout": "-1s""#), "methodConfig[1].timeout"),
            (method(r#""timeout": "1.0000000001s""#), "methodConfig[1].timeout"),
            (method(r#""timeout": ".5s""#), "methodConfig[1].timeout"),
            (method(r#""timeout": "315576000001s""#), "methodConfig[1].timeout"),
            (method(r#""maxRequestMessageBytes": -1"#), "methodConfig[1].maxRequestMessageBytes"),
            (method(r#""maxResponseMessageBytes": 1.5"#), "methodConfig[1].maxResponseMessageBytes"),
            (retry(""), "methodConfig[1].retryPolicy.maxAttempts: missing"),
            (retry(r#""maxAttempts": 2"#), "methodConfig[1].retryPolicy.initialBackoff: missing"),
            (
                retry(
                    r#""maxAttempts": 2, "initialBackoff": "1s", "maxBackoff": "1s", "backoffMultiplier": 1,
                    "retryableStatusCodes": ["UNAVAILABEL"]"#,
                ),
                "methodConfig[1].retryPolicy.retryableStatusCodes[0]: want a status code",
            ),
            (
                method(r#""hedgingPolicy": {"maxAttempts": 2, "nonFatalStatusCodes": [17]}"#),
                "methodConfig[1].hedgingPolicy.nonFatalStatusCodes[0]",
            ),
            (
                method(r#""hedgingPolicy": {"maxAttempts": 1}"#),
                "methodConfig[1].hedgingPolicy.maxAttempts: want 2",
            ),
            (r#"{"retryThrottling": {"maxTokens": 1}}"#.to_owned(), "retryThrottling.tokenRatio: missing"),
            (r#"{"loadBalancingConfig": [{"nope": {}}]}"#.to_owned(), "loadBalancingConfig: want a policy"),
            (
                r#"{"loadBalancingConfig": [{"a": {}, "b": {}}]}"#.to_owned(),
                "loadBalancingConfig[0]: want an object",
            ),
            (
                r#"{"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": 1}}]}"#.to_owned(),
                "loadBalancingConfig[0].pick_first.shuffleAddressList",
            ),
            (
                r#"{"loadBalancingPolicy": "grpclb"}"#.to_owned(),
                "loadBalancingPolicy: want one of pick_first",
            ),
        ] {
            let error = ServiceConfig::from_json(&json).expect_err(&json).to_string();
            assert!(error.contains(place), "{json}\n{error}\nwant {place}");
        }
    }

    #[test]
    fn both_policies_are_one_too_many() {
        let json = r#"{"methodConfig": [{"retryPolicy": {"maxAttempts": 2, "initialBackoff": "1s", "maxBackoff": "1s",
            "backoffMultiplier": 1, "retryableStatusCodes": [14]}, "hedgingPolicy": {"maxAttempts": 2}}]}"#;
        let error = ServiceConfig::from_json(json).unwrap_err().to_string();
        assert!(
            error.contains("methodConfig[0]: retryPolicy and hedgingPolicy exclude each other"),
            "{error}"
        );
    }
}
