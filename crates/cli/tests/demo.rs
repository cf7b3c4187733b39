//! The built binary, from outside: what it prints, and its exit codes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test program")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

fn clearway(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clearway"));
    command.args(args).env_remove("NO_COLOR").env("COLUMNS", "80");
    command
}

fn run(args: &[&str]) -> Output {
    clearway(args).output().unwrap()
}

fn demo_once() -> String {
    let output = run(&["demo", "--once", "--listen", "127.0.0.1:0"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).unwrap()
}

/// The part of the printout that starts with a title, up to the next one.
fn part<'a>(printed: &'a str, title: &str) -> &'a str {
    let start =
        printed.find(&format!("\n{title}")).unwrap_or_else(|| panic!("no {title:?} in {printed}")) + 1;
    let rest = &printed[start..];
    let titles = ["\nCALL", "\nSUMMARY", "\nSERVING"];
    let end = titles.iter().filter_map(|title| rest.find(title)).min().unwrap_or(rest.len());
    &rest[..end]
}

/// Octets that a sum line says went over the wire: raw, then encoded.
fn sums(part: &str, name: &str) -> Vec<(usize, usize)> {
    let lines = part.lines().filter_map(|line| line.trim_start().strip_prefix(&format!("{name}: ")));
    let numbers = lines.map(|line| {
        let mut words = line.split(' ').filter_map(|word| word.parse().ok());
        (words.next().unwrap(), words.next().unwrap())
    });
    numbers.collect()
}

#[test]
fn all_four_kinds_of_call_go_over_one_connection() {
    let printed = demo_once();
    for title in [
        "CALL 1  unary  /hello.Greeter/SayHello",
        "CALL 2  unary  /hello.Greeter/SayHello",
        "CALL 3  server streaming  /routeguide.RouteGuide/ListFeatures",
        "CALL 4  client streaming  /routeguide.RouteGuide/RecordRoute",
        "CALL 5  bidirectional streaming  /routeguide.RouteGuide/RouteChat",
    ] {
        let part = part(&printed, title);
        assert!(part.contains("       grpc-status: 0 (OK)"), "{part}");
    }
    assert!(printed.contains("\nSUMMARY  6 calls of all four kinds over one connection\n"), "{printed}");
    assert_eq!(printed.matches("-> PREFACE").count(), 1);
    // A stream for each call, numbered as a client must.
    for (call, stream) in
        [("CALL 1", 1), ("CALL 2", 3), ("CALL 3", 5), ("CALL 4", 7), ("CALL 5", 9), ("CALL 6", 11)]
    {
        assert!(part(&printed, call).contains(&format!("  -> HEADERS        stream {stream} ")));
    }
}

#[test]
fn the_second_call_shows_what_header_compression_saves() {
    let printed = demo_once();
    let (first, second) = (part(&printed, "CALL 1"), part(&printed, "CALL 2"));
    for name in ["headers", "trailers"] {
        let pairs = sums(first, name).into_iter().zip(sums(second, name)).collect::<Vec<_>>();
        assert!(!pairs.is_empty());
        for ((raw, before), (raw_again, after)) in pairs {
            assert_eq!(raw, raw_again);
            assert!(after * 4 <= before, "{name}: {before} B, then {after} B");
        }
    }
    let (raw, wire) = sums(second, "headers")[0];
    assert!(raw > 100 && wire < 20, "{raw} {wire}");
    // No field of the second call takes more than two octets.
    let fields = second
        .lines()
        .filter(|line| line.starts_with("       ") && line.contains(" -> ") && !line.contains("raw"));
    let wire: Vec<usize> = fields.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(wire.len() >= 9 && wire.iter().all(|octets| *octets <= 2), "{second}");
}

#[test]
fn messages_are_decoded_and_refusals_explained() {
    let printed = demo_once();
    let first = part(&printed, "CALL 1");
    assert!(first.contains("       prefix 00 00 00 00 07: not compressed, 7 octets\n"), "{first}");
    assert!(first.contains("       message 1: HelloRequest { name: \"world\" }\n"), "{first}");
    assert!(first.contains("       message 1: HelloReply { message: \"Hello world\" }\n"), "{first}");
    let list = part(&printed, "CALL 3");
    assert!(list.contains("message 3: Feature { name: \"Riesenrad\""), "{list}");
    let chat = part(&printed, "CALL 5");
    assert!(chat.contains("message 4: RouteNote"), "{chat}");
    let refused = part(&printed, "CALL 6");
    assert!(refused.contains("grpc-status: 3 (INVALID_ARGUMENT)"), "{refused}");
    assert!(refused.contains("Trailers-Only"), "{refused}");
}

#[test]
fn lines_fit_and_only_terminals_get_colours() {
    let printed = demo_once();
    assert!(!printed.contains('\x1b'));
    let longest = printed.lines().max_by_key(|line| line.len()).unwrap();
    assert!(longest.len() <= 80, "{longest}");
    let coloured = run(&["demo", "--once", "--listen", "127.0.0.1:0", "--color", "always"]);
    assert!(String::from_utf8(coloured.stdout).unwrap().contains("\x1b[36m->"));
}

#[cfg(feature = "tls")]
#[test]
fn with_tls_it_is_the_same_inside_and_says_so() {
    let output = run(&["demo", "--once", "--tls", "--listen", "127.0.0.1:0"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("\nCONNECTION  HTTP/2 over TLS\n"), "{printed}");
    assert!(printed.contains("signs itself") && printed.contains(":scheme: https"), "{printed}");
    assert!(printed.contains("\nSUMMARY  6 calls of all four kinds over one connection\n"), "{printed}");
    assert!(printed.lines().all(|line| line.len() <= 80), "{printed}");
}

#[test]
fn without_once_it_says_how_to_call_it_and_serves() {
    let mut child = clearway(&["demo", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let serving = lines.find(|line| line.starts_with("SERVING on ")).unwrap();
    let address = serving.split(' ').nth(2).unwrap();
    // Its calls are made, and it still accepts.
    std::net::TcpStream::connect(address).unwrap();
    let hint = lines.find(|line| line.contains("grpcurl")).unwrap() + &lines.next().unwrap();
    assert!(hint.contains(address) && hint.contains("-proto helloworld.proto"), "{hint}");
    assert_eq!(child.try_wait().unwrap(), None);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_taken_address_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let output = run(&["demo", "--once", "--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with(&format!("clearway demo: cannot listen on {address}: ")), "{error}");
    assert!(error.contains("--listen"), "{error}");
    assert!(output.stdout.is_empty());
}

#[test]
fn bad_usage_exits_with_two_and_help_with_zero() {
    for (args, part) in [
        (&["demo", "--onse"][..], "did you mean --once?"),
        (&["demo", "--web", "127.0.0.1:1"], "--web does not exist yet"),
        (&["demi"], "did you mean demo?"),
        (&[], "no verb given"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(part) && error.contains("--help"), "{error}");
        assert!(output.stdout.is_empty());
    }
    for (args, part) in
        [(&["--help"][..], "demo "), (&["demo", "--help"], "--once"), (&["--version"], "clearway 0.")]
    {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8(output.stdout).unwrap().contains(part));
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_it_well() {
    let mut child = clearway(&["demo", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.starts_with("SERVING on ")).unwrap();
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    assert!(lines.any(|line| line.starts_with("stopping")));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
