//! Makes an authority and a server's certificate for a run of suites: `ca.pem`, `server.pem` and `server.key` in a folder.

use std::path::Path;
use std::process::ExitCode;

use clearway_interop::certificates;

const HELP: &str = "\
Usage: test-certificates FOLDER

Writes ca.pem, server.pem and server.key, for localhost and *.test.google.fr, into FOLDER.
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
    let (authority, server) = certificates::signed()?;
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("ca.pem"), authority)?;
    std::fs::write(folder.join("server.pem"), server.certificate)?;
    std::fs::write(folder.join("server.key"), server.key)?;
    Ok(())
}
