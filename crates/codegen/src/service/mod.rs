//! Our part of the generated code: a client and a server for each service.
//!
//! Everything is named by absolute path and nothing is imported, so no name a `.proto` file chooses can shadow what the
//! code means: a message called `Result` or a service called `Send` works.
//!
//! Left out: default implementations of methods.

mod client;
mod names;
mod server;
mod source;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use prost_build::{Method, Service, ServiceGenerator};

use crate::paths::ByPath;
use source::Source;

/// What may be generated, and how. See [`Builder`](crate::Builder) for each.
#[derive(Clone, Debug)]
pub(crate) struct ServiceOptions {
    pub(crate) client: bool,
    pub(crate) server: bool,
    pub(crate) transport: bool,
    pub(crate) well_known_types: bool,
    pub(crate) codec_path: String,
    pub(crate) client_mod_attributes: ByPath,
    pub(crate) server_mod_attributes: ByPath,
    pub(crate) disable_comments: ByPath,
    pub(crate) extern_paths: ByPath,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            client: true,
            server: true,
            transport: true,
            well_known_types: false,
            codec_path: "::clearway::codec::ProstCodec".to_owned(),
            client_mod_attributes: ByPath::default(),
            server_mod_attributes: ByPath::default(),
            disable_comments: ByPath::default(),
            extern_paths: ByPath::default(),
        }
    }
}

/// Two methods of one service whose names coincide in Rust. All names but the last are those of the `.proto` file.
#[derive(Clone, Debug)]
pub(crate) struct Clash {
    pub(crate) package: String,
    pub(crate) service: String,
    pub(crate) first: String,
    pub(crate) second: String,
    pub(crate) rust_name: String,
}

/// Writes services into what prost-build generates.
pub(crate) struct Services {
    options: ServiceOptions,
    clashes: Rc<RefCell<Vec<Clash>>>,
}

impl Services {
    /// Clashes of names are added to `clashes`: prost's interface has no room for errors.
    pub(crate) fn new(options: ServiceOptions, clashes: Rc<RefCell<Vec<Clash>>>) -> Self {
        Self { options, clashes }
    }

    fn find_clashes(&self, service: &Service) {
        let mut seen: HashMap<&str, &str> = HashMap::new();
        for method in &service.methods {
            if let Some(first) = seen.insert(&method.name, &method.proto_name) {
                self.clashes.borrow_mut().push(Clash {
                    package: service.package.clone(),
                    service: service.proto_name.clone(),
                    first: first.to_owned(),
                    second: method.proto_name.clone(),
                    rust_name: method.name.clone(),
                });
            }
        }
    }
}

impl ServiceGenerator for Services {
    fn generate(&mut self, service: Service, out: &mut String) {
        self.find_clashes(&service);
        let model = Model { service: &service, options: &self.options };
        let mut source = Source::default();
        if self.options.client {
            client::write(&mut source, &model);
        }
        if self.options.server {
            server::write(&mut source, &model);
        }
        out.push_str(&source.into_text());
    }
}

/// A service and the options it is generated with.
struct Model<'a> {
    service: &'a Service,
    options: &'a ServiceOptions,
}

impl Model<'_> {
    /// `package.Service`, or `Service` alone where there is no package: the first half of a call's `:path`.
    fn full_name(&self) -> String {
        match self.service.package.as_str() {
            "" => self.service.proto_name.clone(),
            package => format!("{package}.{}", self.service.proto_name),
        }
    }

    /// The same as options name it.
    fn item(&self) -> String {
        format!(".{}", self.full_name())
    }

    fn request(&self, method: &Method) -> String {
        self.message(&method.input_proto_type, &method.input_type)
    }

    fn response(&self, method: &Method) -> String {
        self.message(&method.output_proto_type, &method.output_type)
    }

    /// A message's Rust path as seen from inside the client's or the server's module: prost resolved it one level above.
    fn message(&self, proto_type: &str, rust_type: &str) -> String {
        let google = proto_type.starts_with(".google.protobuf.") && !self.options.well_known_types;
        let absolute = rust_type.starts_with("::") || rust_type.starts_with("crate::");
        // An extern path may start with the name of a crate, which is found from anywhere.
        let external = self.options.extern_paths.any(proto_type) && !rust_type.starts_with("super::");
        if google || absolute || external { rust_type.to_owned() } else { format!("super::{rust_type}") }
    }

    fn docs(&self, source: &mut Source, method: Option<&Method>) {
        let (item, comments) = match method {
            Some(method) => (format!("{}.{}", self.item(), method.proto_name), &method.comments),
            None => (self.item(), &self.service.comments),
        };
        if !self.options.disable_comments.any(&item) {
            source.docs(comments);
        }
    }
}

/// Which sides of a call stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum CallKind {
    Unary,
    ClientStreaming,
    ServerStreaming,
    BidiStreaming,
}

impl CallKind {
    fn of(method: &Method) -> Self {
        match (method.client_streaming, method.server_streaming) {
            (false, false) => Self::Unary,
            (true, false) => Self::ClientStreaming,
            (false, true) => Self::ServerStreaming,
            (true, true) => Self::BidiStreaming,
        }
    }

    /// What `clearway` calls it, on both sides.
    fn name(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ClientStreaming => "client_streaming",
            Self::ServerStreaming => "server_streaming",
            Self::BidiStreaming => "bidi_streaming",
        }
    }
}
