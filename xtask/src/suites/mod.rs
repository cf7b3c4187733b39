//! The peer suites, in the order in which they run.

mod attacks;
mod chain;
mod conformance;
mod curl;
mod h2load;
mod h2spec;
mod hpack;
mod interop;
mod keylog;
mod life;
mod negative;
mod nghttp;
mod retries;
mod silence;
mod soak;
mod tls;
mod tls_peers;

use std::process::Command;

use crate::process::Server;
use crate::suite::{Need, Suite};
use crate::workspace::Workspace;

/// Every suite. A need that is not met skips its suite.
pub(crate) const ALL: &[Suite] = &[
    Suite { name: "h2spec", needs: &[Need::Peer("h2spec"), Need::Ours("h2-server")], run: h2spec::run },
    Suite { name: "nghttp", needs: &[Need::Peer("nghttp"), Need::Ours("h2-server")], run: nghttp::run },
    Suite { name: "curl", needs: &[Need::Peer("curl"), Need::Ours("h2-server")], run: curl::run },
    Suite { name: "h2load", needs: &[Need::Peer("h2load"), Need::Ours("h2-server")], run: h2load::run },
    Suite {
        name: "attacks",
        needs: &[
            Need::Ours("attacks"),
            Need::Ours("bench-server"),
            Need::Ours("conformance-server"),
            Need::Ours("interop-client"),
            Need::Ours("h2-client"),
        ],
        run: attacks::run,
    },
    Suite { name: "silence", needs: &[Need::Ours("silence")], run: silence::run },
    Suite {
        name: "h2spec_tls",
        needs: &[Need::Peer("h2spec"), Need::Ours("h2-server"), CERTIFICATES],
        run: h2spec::run_tls,
    },
    Suite {
        name: "clients_tls",
        needs: &[
            Need::Peer("curl"),
            Need::Peer("nghttp"),
            Need::Peer("h2load"),
            Need::Ours("h2-server"),
            Need::Ours("h2-client"),
            CERTIFICATES,
        ],
        run: tls::clients,
    },
    Suite {
        name: "tls_peers",
        needs: &[
            Need::Peer(tls_peers::GO),
            Need::Peer("openssl"),
            Need::Peer("curl"),
            Need::Python,
            Need::File(tls_peers::PYTHON),
            Need::Ours("tls-server"),
            Need::Ours("tls-client"),
            CERTIFICATES,
        ],
        run: tls_peers::run,
    },
    Suite {
        name: "keylog",
        needs: &[
            Need::Peer("tshark"),
            Need::Peer("dumpcap"),
            Need::Capture,
            Need::Ours("tls-server"),
            Need::Ours("tls-client"),
            CERTIFICATES,
        ],
        run: keylog::run,
    },
    Suite {
        name: "conformance",
        needs: &[
            Need::Peer("connectconformance"),
            Need::Ours("conformance-server"),
            Need::Ours("conformance-client"),
            Need::File(conformance::H2C),
        ],
        run: conformance::run,
    },
    Suite {
        name: "conform_zip",
        needs: &[
            Need::Peer("connectconformance"),
            Need::Ours("conformance-server"),
            Need::Ours("conformance-client"),
            Need::File(conformance::COMPRESSIONS),
        ],
        run: conformance::run_compressions,
    },
    Suite {
        name: "conform_tls",
        needs: &[
            Need::Peer("connectconformance"),
            Need::Ours("conformance-server"),
            Need::Ours("conformance-client"),
            Need::File(conformance::TLS),
        ],
        run: conformance::run_tls,
    },
    Suite {
        name: "interop_go",
        needs: &[
            Need::Peer("go-interop-client"),
            Need::Peer("go-interop-server"),
            Need::Ours("interop-server"),
            Need::Ours("interop-client"),
        ],
        run: interop::go,
    },
    Suite {
        name: "go_tls",
        needs: &[
            Need::Peer("go-interop-client"),
            Need::Peer("go-interop-server"),
            Need::Ours("interop-server"),
            Need::Ours("interop-client"),
            CERTIFICATES,
        ],
        run: interop::go_tls,
    },
    Suite {
        name: "grpcio",
        needs: &[
            Need::Python,
            Need::File(interop::GRPCIO_CLIENT),
            Need::File(interop::GRPCIO_SERVER),
            Need::Ours("interop-server"),
            Need::Ours("interop-client"),
        ],
        run: interop::grpcio,
    },
    Suite {
        name: "grpcio_tls",
        needs: &[
            Need::Python,
            Need::File(interop::GRPCIO_CLIENT),
            Need::File(interop::GRPCIO_SERVER),
            Need::Ours("interop-server"),
            Need::Ours("interop-client"),
            CERTIFICATES,
        ],
        run: interop::grpcio_tls,
    },
    Suite {
        name: "tonic",
        needs: &[
            Need::File("bench/peers/src/bin/tonic-interop-client.rs"),
            Need::File("bench/peers/src/bin/tonic-interop-server.rs"),
            Need::Ours("interop-server"),
            Need::Ours("interop-client"),
        ],
        run: interop::tonic,
    },
    Suite {
        name: "tonic_tls",
        needs: &[
            Need::File("bench/peers/src/bin/tonic-interop-client.rs"),
            Need::File("bench/peers/src/bin/tonic-interop-server.rs"),
            Need::Ours("interop-server"),
            Need::Ours("interop-client"),
            CERTIFICATES,
        ],
        run: interop::tonic_tls,
    },
    Suite {
        name: "go_layers",
        needs: &[Need::Peer("go-interop-client"), Need::Ours("interop-server")],
        run: interop::go_layers,
    },
    Suite {
        name: "go_gzip",
        needs: &[
            Need::Peer(interop::GO_COMPRESSING),
            Need::Ours("interop-server"),
            Need::Ours("interop-client"),
        ],
        run: interop::go_gzip,
    },
    Suite {
        name: "node",
        needs: &[
            Need::Node,
            Need::File(interop::NODE),
            Need::Ours("interop-server"),
            Need::Ours("interop-client"),
        ],
        run: interop::node,
    },
    Suite {
        name: "node_tls",
        needs: &[
            Need::Node,
            Need::File(interop::NODE),
            Need::Ours("interop-server"),
            Need::Ours("interop-client"),
            CERTIFICATES,
        ],
        run: interop::node_tls,
    },
    Suite {
        name: "java",
        needs: &[Need::Java, Need::Ours("interop-server"), Need::Ours("interop-client")],
        run: interop::java,
    },
    Suite {
        name: "negative",
        needs: &[
            Need::Python,
            Need::File(negative::SERVER),
            Need::Peer("go-interop-http2"),
            Need::Ours("interop-client"),
        ],
        run: negative::run,
    },
    Suite {
        name: "soak",
        needs: &[
            Need::Peer("go-interop-client"),
            Need::Peer("go-interop-server"),
            Need::Ours("interop-server"),
            Need::Ours("interop-client"),
        ],
        run: soak::cleartext,
    },
    Suite {
        name: "soak_tls",
        needs: &[
            Need::Peer("go-interop-client"),
            Need::Peer("go-interop-server"),
            Need::Ours("interop-server"),
            Need::Ours("interop-client"),
            CERTIFICATES,
        ],
        run: soak::tls,
    },
    Suite {
        name: "retries",
        needs: &[
            Need::Python,
            Need::File(retries::GRPCIO),
            Need::Peer(retries::GO),
            Need::Ours(retries::OURS),
        ],
        run: retries::run,
    },
    Suite {
        name: "hpack-judges",
        needs: &[
            Need::Python,
            Need::Peer(hpack::GO_JUDGE),
            Need::File(hpack::PYTHON_JUDGE),
            Need::File(hpack::H2_JUDGE),
            Need::Ours("hpack-judges"),
        ],
        run: hpack::run,
    },
    Suite {
        name: "chain",
        needs: &[Need::Python, Need::File(chain::SCRIPT), Need::Ours("chain-server")],
        run: chain::run,
    },
    Suite { name: "restart", needs: LIFE, run: life::restart },
    Suite { name: "life", needs: LIFE, run: life::short_lives },
    // What they found once is part of the tests; this only sees that they run.
    Suite { name: "fuzz", needs: &[Need::Peer("cargo-fuzz")], run: crate::fuzz::smoke },
];

/// What the suites of [`life`] need.
const LIFE: &[Need] = &[Need::Peer(life::GO), Need::Ours("restart-server"), Need::Ours("life-client")];

/// What makes the certificates of a run.
const CERTIFICATES: Need = Need::Ours("test-certificates");

/// A program of the interop package that takes `--port N`.
fn serve(workspace: &Workspace, program: &str) -> Result<Server, String> {
    Server::start(|port| {
        let mut command = Command::new(workspace.program(program));
        command.arg("--port").arg(port.to_string());
        command
    })
}

/// A peer's program. That it is there was checked before the suite began.
fn peer(workspace: &Workspace, program: &str) -> Command {
    Command::new(workspace.peer(program).unwrap_or_else(|| program.into()))
}

/// The number right before a word, as in `100 succeeded`.
fn number_before(text: &str, word: &str) -> Option<u64> {
    let words: Vec<&str> = text.split([' ', ',', '\n']).filter(|word| !word.is_empty()).collect();
    words.windows(2).find_map(|pair| match pair {
        [number, what] if *what == word => number.parse().ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_what_they_count() {
        let line = "requests: 100 total, 99 started, 98 done, 97 succeeded, 3 failed, 2 errored, 1 timeout\n";
        assert_eq!(number_before(line, "succeeded"), Some(97));
        assert_eq!(number_before(line, "timeout"), Some(1));
        assert_eq!(number_before(line, "skipped"), None);
    }

    #[test]
    fn names_of_suites_are_unique() {
        let mut names: Vec<&str> = ALL.iter().map(|suite| suite.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
