//! What TLS adds to a call: the same load in clear and over TLS, and the difference, round by round.
//!
//! One certificate for both stacks, which signs itself. h2load and rustls agree on the cipher; a connection's handshake is
//! in every sample, among very many calls.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::load::H2load;
use crate::peer::{Cores, Peer};
use crate::programs::{Contender, Programs, Scheduler};
use crate::rounds::{Plan, Subject, Work};
use crate::table::{Bar, Sample, Section, Target};
use crate::{Effort, Outcome};

const ID: &str = "tls-20";

/// A certificate and its key, as `--tls --cert FILE --key FILE`.
fn identity(programs: &Programs) -> Outcome<[String; 3]> {
    let file = |name: &str| -> PathBuf { programs.scratch().join(name) };
    let (certificate, key) = (file("certificate.pem"), file("key.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    openssl.args([
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
    ]);
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    let status = openssl.stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !status.is_ok_and(|status| status.success()) {
        return Err("openssl, which makes the certificate, is not installed".into());
    }
    let flag = |name: &str, path: PathBuf| format!("--{name}={}", path.display());
    Ok(["--tls".to_owned(), flag("cert", certificate), flag("key", key)])
}

/// The section, or a notice when TLS cannot be measured.
pub(crate) fn sections(
    programs: &Programs,
    effort: Effort,
    cores: Cores,
    wanted: &dyn Fn(&str) -> bool,
) -> Outcome<(Vec<Section>, Vec<String>)> {
    if !wanted(ID) {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut contenders = programs.rust_servers();
    contenders.retain(|contender| contender.scheduler == Scheduler::CurrentThread);
    let over_tls = match prepared(programs, &contenders) {
        Ok(over_tls) => over_tls,
        Err(error) => {
            let notice = format!("no TLS: {error}");
            eprintln!("{notice}");
            return Ok((Vec::new(), vec![notice]));
        }
    };
    let load = H2load::new(programs.scratch(), "Unary", 1, 100, 20)?;
    let subject = |contender, load| Subject::Server { contender, work: Work::H2load(load) };
    let subjects = over_tls.into_iter().map(|each| subject(each, load.clone().over_tls()));
    let in_clear = contenders.into_iter().map(|each| subject(each, load.clone()));
    let plan = Plan {
        id: ID.into(),
        title: "Unary, 1 connection x 100 at a time, payload 20 B: what TLS adds to it".into(),
        unit: "us server CPU/call more",
        subjects: subjects.chain(in_clear).collect(),
        targets: vec![Target { scheduler: None, bar: Bar::AtMost(0.2) }],
        lonely: false,
    };
    let mut section = plan.measure(effort, cores)?;
    let in_clear = section.rows.split_off(section.rows.len() / 2);
    for (row, in_clear) in section.rows.iter_mut().zip(&in_clear) {
        for (sample, in_clear) in row.samples.iter_mut().zip(&in_clear.samples) {
            *sample = Sample { cost: sample.cost - in_clear.cost, user: None, rate: sample.rate };
        }
    }
    Ok((vec![section], Vec::new()))
}

/// The same servers with TLS, once each of them has answered with it.
fn prepared(programs: &Programs, contenders: &[Contender]) -> Outcome<Vec<Contender>> {
    let flags = identity(programs)?;
    let load = H2load::new(programs.scratch(), "Unary", 1, 1, 20)?.over_tls();
    let mut prepared = Vec::new();
    for contender in contenders {
        let mut contender = contender.clone();
        contender.command = contender.command.with(flags.clone());
        let server = Peer::start(&contender.command, None)?;
        load.run(None, server.port(), 10)?;
        prepared.push(contender);
    }
    Ok(prepared)
}
