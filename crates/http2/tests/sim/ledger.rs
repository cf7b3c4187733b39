//! Credit, counted on the wire: what one side may send, and what is on its way, must add up to what the other has given. RFC
//! 9113 §5.2, §6.9.
//!
//! Invariant, at every step, for the connection and for each stream both sides know:
//! `send window + DATA on its way + WINDOW_UPDATE on its way = receive window`. Each side's window is taken relative to the initial
//! size it counts with, because SETTINGS and their acknowledgement are on their way, too (§6.9.2).

use std::collections::BTreeMap;

use clearway_http2::Windows;
use clearway_http2::frame::{FrameHeader, Kind, SettingId};

/// Before SETTINGS.
const DEFAULT: i64 = 65_535;

/// Octets of DATA from one side to the other, and credit the other way.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    data_sent: i64,
    data_got: i64,
    credit_sent: i64,
    credit_got: i64,
}

impl Sums {
    const fn on_the_way(&self) -> i64 {
        self.data_sent - self.data_got + self.credit_sent - self.credit_got
    }
}

/// The books of one direction of DATA.
#[derive(Debug)]
pub(crate) struct Ledger {
    sums: BTreeMap<u32, Sums>,
    /// The initial window the sender counts with.
    sender_initial: i64,
    /// The one the receiver announced, and whether its announcement was acknowledged.
    announced: i64,
    acknowledged: bool,
}

fn increment(payload: &[u8]) -> i64 {
    i64::from(payload.iter().fold(0u32, |word, octet| word << 8 | u32::from(*octet)))
}

impl Ledger {
    /// `announced` is the receiver's stream window.
    pub(crate) fn new(announced: u32) -> Self {
        Self {
            sums: BTreeMap::new(),
            sender_initial: DEFAULT,
            announced: i64::from(announced),
            acknowledged: false,
        }
    }

    fn post(&mut self, id: u32, act: impl Fn(&mut Sums)) {
        act(self.sums.entry(0).or_default());
        if id > 0 {
            act(self.sums.entry(id).or_default());
        }
    }

    /// A DATA frame went to the sender's output.
    pub(crate) fn data_sent(&mut self, header: FrameHeader) {
        self.post(header.stream_id, |sums| sums.data_sent += i64::from(header.length));
    }

    /// The header of a DATA frame reached the receiver: from there on it counts.
    pub(crate) fn data_got(&mut self, header: FrameHeader) {
        self.post(header.stream_id, |sums| sums.data_got += i64::from(header.length));
    }

    /// The receiver said something to the sender.
    pub(crate) fn answer_sent(&mut self, header: FrameHeader, payload: &[u8]) {
        if header.kind == Kind::WINDOW_UPDATE {
            self.sums.entry(header.stream_id).or_default().credit_sent += increment(payload);
        }
    }

    /// What the receiver said reached the sender.
    pub(crate) fn answer_got(&mut self, header: FrameHeader, payload: &[u8]) {
        match header.kind {
            Kind::WINDOW_UPDATE => {
                self.sums.entry(header.stream_id).or_default().credit_got += increment(payload);
            }
            Kind::SETTINGS => {
                for entry in payload.chunks(6) {
                    if entry[..2] == SettingId::INITIAL_WINDOW_SIZE.0.to_be_bytes() {
                        self.sender_initial = increment(&entry[2..]);
                    }
                }
            }
            _ => {}
        }
    }

    /// The sender's acknowledgement of SETTINGS reached the receiver.
    pub(crate) fn acknowledged(&mut self) {
        self.acknowledged = true;
    }

    /// Says what is wrong if credit was lost or made on the connection.
    pub(crate) fn check_connection(&self, sender: Windows, receiver: Windows) -> Result<(), String> {
        let sums = self.sums.get(&0).copied().unwrap_or_default();
        balance("the connection", i64::from(sender.send) + sums.on_the_way(), i64::from(receiver.receive))
    }

    /// The same on a stream that both sides know.
    pub(crate) fn check_stream(&self, id: u32, sender: Windows, receiver: Windows) -> Result<(), String> {
        let sums = self.sums.get(&id).copied().unwrap_or_default();
        let counted = if self.acknowledged { self.announced } else { self.announced.max(DEFAULT) };
        let sent = i64::from(sender.send) - self.sender_initial + sums.on_the_way();
        balance(&format!("stream {id}"), sent, i64::from(receiver.receive) - counted)
    }
}

fn balance(what: &str, sender: i64, receiver: i64) -> Result<(), String> {
    if sender == receiver {
        return Ok(());
    }
    let lost = receiver - sender;
    Err(format!(
        "credit of {what} is not conserved: {lost} octets of it are neither with the sender nor on their way"
    ))
}
