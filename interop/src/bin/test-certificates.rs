//! Makes an authority and certificates for a run of suites, in a folder: `ca.pem`, and `.pem` and `.key` of `server`, `client`
//! and `stranger`.

use std::path::Path;
use std::process::ExitCode;

use clearway_interop::certificates;

const HELP: &str = "\
Usage: test-certificates FOLDER

Writes ca.pem, server.pem and server.key (for localhost and *.test.google.fr), client.pem and client.key, and stranger.pem and
stranger.key (a client's, signed by somebody else), into FOLDER.
";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let folder = match (args.next(), args.next()) {
        (Some(folder), None) if folder != "--help" => folder,
        (Some(_), None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match write(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("test-certificates: {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let run = certificates::run()?;
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("ca.pem"), run.authority)?;
    for (name, pem) in [("server", run.server), ("client", run.client), ("stranger", run.stranger)] {
        std::fs::write(folder.join(name).with_extension("pem"), pem.certificate)?;
        std::fs::write(folder.join(name).with_extension("key"), pem.key)?;
    }
    Ok(())
}
