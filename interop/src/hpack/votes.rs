//! Three decoders vote on blocks with one octet changed: ours must be with the majority, and whoever is alone is in a table that
//! says why.

use std::collections::BTreeMap;

use super::{Answer, Op, unhex};

/// Blocks, in contexts: those of RFC 7541 appendix C, and some with size updates, long integers and all kinds of literals.
const CONTEXTS: &[&[&str]] = &[
    // C.2: one field each.
    &["400a637573746f6d2d6b65790d637573746f6d2d686561646572"],
    &["040c2f73616d706c652f70617468"],
    &["100870617373776f726406736563726574"],
    // C.3 and C.4: requests, plain and Huffman-coded.
    &[
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ],
    &[
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ],
    // C.5 and C.6: responses, plain and Huffman-coded, with a table of 256 octets.
    &[
        "3fe1014803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54\
         6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
        "4803333037c1c0bf",
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153\
         444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e\
         3d31",
    ],
    &[
        "3fe101488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f\
         0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b\
         3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ],
    // Two size updates, then an entry and its use; an integer of several octets, with and without zeros behind it.
    &["203f810182400161016282be", "3fe11f82be", "ff8000ff00ff808000"],
    &["7f8080808000017808", "0f8180808000037879", "1fe1ffffff0f0161"],
];

/// A block with one octet changed, in its context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ballot {
    /// Which context, which block of it, and which octet.
    pub place: (usize, usize, usize),
    /// What the octet became.
    pub octet: u8,
}

/// Every change of one octet of every block, and what the judges are told; the last block of each context counts.
///
/// # Errors
/// If a block is not hexadecimal.
pub fn ballots() -> Result<(Vec<Op>, Vec<Ballot>), String> {
    let (mut ops, mut ballots) = (Vec::new(), Vec::new());
    for (context, blocks) in CONTEXTS.iter().enumerate() {
        let blocks: Vec<Vec<u8>> =
            blocks.iter().map(|block| unhex(block).ok_or("not hexadecimal")).collect::<Result<_, _>>()?;
        for (number, block) in blocks.iter().enumerate() {
            for at in 0..block.len() {
                for octet in 0..=u8::MAX {
                    let mut changed = block.clone();
                    let Some(place) = changed.get_mut(at).filter(|place| **place != octet) else { continue };
                    *place = octet;
                    ops.push(Op::New);
                    ops.extend(blocks.iter().take(number).cloned().map(Op::Block));
                    ops.push(Op::Block(changed));
                    ballots.push(Ballot { place: (context, number, at), octet });
                }
            }
        }
    }
    Ok((ops, ballots))
}

/// The answers that count: those to the last block of each context.
pub fn last_answers<'a>(ops: &[Op], answers: &'a [Answer]) -> Vec<&'a Answer> {
    let mut answers = answers.iter();
    let mut last = None;
    let mut all = Vec::new();
    for op in ops {
        match op {
            Op::New => all.extend(last.take()),
            Op::Limit(_) => {}
            Op::Block(_) => last = answers.next(),
        }
    }
    all.extend(last);
    all
}

/// What came of the votes.
#[derive(Debug, Default)]
pub struct Tally {
    /// All three read the same fields.
    pub all_read: usize,
    /// All three refused.
    pub all_refused: usize,
    /// One was alone: how often, by the number of the row of [`ALONE`].
    pub alone: BTreeMap<usize, usize>,
    /// Disagreements that no row explains, and every one in which we are alone.
    pub unexplained: Vec<String>,
}

/// Whoever was alone against the other two, and why.
pub struct Alone {
    /// Who.
    pub who: Who,
    /// What it said of the block; the beginning of its reason, or `ok`.
    pub said: &'static str,
    /// What we said.
    pub we_said: &'static str,
    /// Why that is right, or the matter of taste that it is.
    pub why: &'static str,
}

/// A voter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "names")]
pub enum Who {
    Us,
    Python,
    Go,
}

/// Every kind of disagreement there is. RFC 7541 leaves some of it to the implementation.
pub const ALONE: &[Alone] = &[
    Alone {
        who: Who::Go,
        said: "ok",
        we_said: "SizeUpdateAfterField",
        why: "Go takes a size update anywhere in a block while its table is empty; RFC 7541 §4.2 wants it at the beginning",
    },
    Alone {
        who: Who::Us,
        said: "TooManySizeUpdates",
        we_said: "TooManySizeUpdates",
        why: "three size updates at once: §4.2 needs no more than two, and more are a way to make a decoder work for nothing",
    },
];

/// Compares three lists of answers.
#[must_use]
pub fn count(ballots: &[Ballot], ours: &[&Answer], python: &[&Answer], go: &[&Answer]) -> Tally {
    let mut tally = Tally::default();
    for (ballot, ((ours, python), go)) in ballots.iter().zip(ours.iter().zip(python).zip(go)) {
        let who = match (alike(ours, python), alike(ours, go), alike(python, go)) {
            (true, true, _) if ours.is_ok() => {
                tally.all_read += 1;
                continue;
            }
            (true, true, _) => {
                tally.all_refused += 1;
                continue;
            }
            (true, false, _) => Who::Go,
            (false, true, _) => Who::Python,
            (false, false, _) => Who::Us,
        };
        let said = match who {
            Who::Us => ours,
            Who::Python => python,
            Who::Go => go,
        };
        let row = ALONE.iter().position(|row| {
            row.who == who && text(said).starts_with(row.said) && text(ours).starts_with(row.we_said)
        });
        match row {
            Some(row) => *tally.alone.entry(row).or_default() += 1,
            None => tally.unexplained.push(format!(
                "{ballot:?}: {who:?} is alone; we: {}, python-hpack: {}, Go: {}",
                text(ours),
                text(python),
                text(go)
            )),
        }
    }
    tally
}

fn alike(one: &Answer, other: &Answer) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => one == other,
        (one, other) => one.is_err() && other.is_err(),
    }
}

fn text(answer: &Answer) -> &str {
    match answer {
        Ok(_) => "ok",
        Err(reason) => reason,
    }
}
