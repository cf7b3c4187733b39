//! What things of a `.proto` file are called in generated Rust. Messages and methods are named by prost.

use prost_build::{Method, Service};

/// Names a generated client has of its own.
const CLIENT_METHODS: [&str; 7] = [
    "accept_compressed",
    "connect",
    "max_decoding_message_size",
    "max_encoding_message_size",
    "new",
    "send_compressed",
    "with_interceptor",
];

/// The stem of a service's two modules: `route_guide` for `RouteGuide`.
pub(super) fn module_stem(service: &Service) -> String {
    let mut stem = String::new();
    for letter in service.name.chars() {
        if letter.is_uppercase() && !stem.is_empty() {
            stem.push('_');
        }
        stem.extend(letter.to_lowercase());
    }
    // `Self_` is what prost makes of a service called `Self`; two underscores in a row are not snake case.
    stem.trim_end_matches('_').to_owned()
}

/// A method's name on the client: an rpc called `New` or `Connect` gets an underscore, as the client has such a function.
pub(super) fn client_method(method: &Method) -> String {
    let clashes = CLIENT_METHODS.contains(&method.name.as_str());
    if clashes { format!("{}_", method.name) } else { method.name.clone() }
}

/// The associated type of a method that streams its responses, as tonic names it.
pub(super) fn stream_type(method: &Method) -> String {
    format!("{}Stream", method.proto_name)
}
