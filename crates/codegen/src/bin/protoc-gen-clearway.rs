//! `protoc --clearway_out=DIR --clearway_opt=OPTIONS`: protoc runs this program and speaks to it over standard input and
//! output. The options are listed in `clearway_build::plugin`.

use std::io::{self, Read, Write};

const HELP: &str = "protoc-gen-clearway: generates clients and servers for clearway.
Run by protoc: protoc --clearway_out=DIR [--clearway_opt=OPTION,...] FILE.proto
Options: no_client no_server no_transport compile_well_known_types include_file=F codec_path=P
         extern_path=.proto=::rust bytes=.P btree_map=.P disable_comments=.P
         type_attribute=.P=A field_attribute=.P=A client_mod_attribute=.P=A server_mod_attribute=.P=A
";

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    match std::env::args().nth(1).as_deref() {
        Some("--version") => writeln!(out, "protoc-gen-clearway {}", env!("CARGO_PKG_VERSION")),
        Some(_) => out.write_all(HELP.as_bytes()),
        None => {
            let mut request = Vec::new();
            io::stdin().lock().read_to_end(&mut request)?;
            out.write_all(&clearway_build::plugin::respond(&request))
        }
    }
}
