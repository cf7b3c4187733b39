//! What a call is meant to be: chosen by the seed before it begins, known to its client, its handler and the model.

use std::time::Duration;

use bytes::Bytes;
use clearway::Code;
use clearway_testkit::Random;

/// The four kinds of call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Kind {
    Unary,
    Download,
    Upload,
    Chat,
}

/// How a handler that gets a stream of messages treats it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Style {
    /// Reads all of it, then answers.
    ReadsFirst,
    /// Reads one message for each that it sends, and the rest at the end.
    Alternates,
    /// Answers without reading.
    Ignores,
}

/// A side of a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum From {
    Client,
    Server,
}

/// One call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Plan {
    pub(crate) number: u32,
    pub(crate) kind: Kind,
    /// Its method has a policy of retries.
    pub(crate) retried: bool,
    pub(crate) style: Style,
    pub(crate) requests: u32,
    pub(crate) responses: u32,
    /// The longest message of the call, in octets.
    pub(crate) longest: usize,
    /// Between two messages: of the client, of the handler, and of the client's reader.
    pub(crate) request_gap: Duration,
    pub(crate) response_gap: Duration,
    pub(crate) reading_gap: Duration,
    /// Before the handler answers; with zero it never waits.
    pub(crate) delay: Duration,
    /// What the handler ends with, after its messages.
    pub(crate) code: Code,
    pub(crate) deadline: Option<Duration>,
    pub(crate) cancelled_after: Option<Duration>,
    /// The caller reads so many messages and then drops the rest.
    pub(crate) drops_after: Option<u32>,
    /// The handler panics where it would have ended.
    pub(crate) panics: bool,
}

const CODES: [Code; 3] = [Code::NotFound, Code::Aborted, Code::DataLoss];

fn sometimes(random: &mut Random, one_in: usize, most_millis: usize) -> Option<Duration> {
    random.one_in(one_in).then(|| Duration::from_millis(random.below(most_millis) as u64))
}

impl Plan {
    pub(crate) fn new(number: u32, random: &mut Random) -> Self {
        let kind = [Kind::Unary, Kind::Download, Kind::Upload, Kind::Chat][random.below(4)];
        let mut some = || {
            let most = [2, 5, 20][random.below(3)];
            u32::try_from(random.below(most)).unwrap_or(0)
        };
        let (requests, responses) = (some(), some());
        let retried = random.one_in(4);
        let code = match random.below(5) {
            0 if retried => Code::Unavailable,
            0 => CODES[random.below(CODES.len())],
            _ => Code::Ok,
        };
        let mut gap = |most| sometimes(random, 3, most).unwrap_or_default();
        let [request_gap, response_gap, reading_gap] = [gap(200), gap(200), gap(100)];
        let large = kind == Kind::Unary && random.one_in(10);
        let longest = if large {
            900_000
        } else {
            [10, 1_000, 20_000, 150_000][random.below(4)].min(200_000 / (requests + responses + 1) as usize)
        };
        let panics = random.one_in(20);
        Self {
            number,
            kind,
            retried,
            style: [Style::ReadsFirst, Style::Alternates, Style::Ignores][random.below(3)],
            requests: if matches!(kind, Kind::Unary | Kind::Download) { 1 } else { requests },
            responses: match kind {
                Kind::Unary | Kind::Upload => u32::from(code == Code::Ok && !panics),
                Kind::Download | Kind::Chat => responses,
            },
            longest,
            request_gap,
            response_gap,
            reading_gap,
            delay: sometimes(random, 2, 1_500).unwrap_or_default(),
            code,
            deadline: sometimes(random, 4, 4_000),
            cancelled_after: sometimes(random, 6, 2_000),
            drops_after: random.one_in(12).then(|| u32::try_from(random.below(5)).unwrap_or(0)),
            panics,
        }
    }

    /// A message of the call: its length and octets say whose it is and which.
    pub(crate) fn message(&self, from: From, index: u32) -> Bytes {
        let mut random = Random::new(
            u64::from(self.number) << 32 | u64::from(index) << 1 | u64::from(from == From::Client),
        );
        let length = 9 + random.below(self.longest);
        let mut octets = Vec::with_capacity(length);
        octets.extend_from_slice(&self.number.to_be_bytes());
        octets.push(u8::from(from == From::Client));
        octets.extend_from_slice(&index.to_be_bytes());
        octets.resize(length, random.bits().to_le_bytes()[0]);
        octets.into()
    }
}
