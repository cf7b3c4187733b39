//! The server of a service: a module with the trait its author implements and the struct that `add_service` takes.
//!
//! Trait methods are declared as `fn .. -> impl Future + Send`, which a plain `async fn` implements; what a handler
//! returns can then be spawned.

use prost_build::Method;

use super::source::Source;
use super::{CallKind, Model, names};

/// As for the client; a method `sayHello` has an associated type `sayHelloStream`, and a service may have no method.
const ALLOW: &str = "#![allow(dead_code, deprecated, missing_docs, unreachable_pub, unused_qualifications)]\n\
                     #![allow(non_camel_case_types, unused_variables)]\n\
                     #![allow(clippy::all, clippy::pedantic, clippy::nursery)]";

/// Writes the server's module.
pub(super) fn write(source: &mut Source, model: &Model<'_>) {
    source.add(&format!("/// The server of `{}`.", model.full_name()));
    for attribute in model.options.server_mod_attributes.all(&model.item()) {
        source.add(attribute);
    }
    source.block(&format!("pub mod {}_server {{", names::module_stem(model.service)), |source| {
        source.add(ALLOW);
        source.add("\n\n");
        contract(source, model);
        source.add("\n\n");
        definition(source, model);
        source.add("\n\n");
        registration(source, model);
    });
}

fn contract(source: &mut Source, model: &Model<'_>) {
    model.docs(source, None);
    let opening =
        format!("pub trait {}: ::core::marker::Send + ::core::marker::Sync + 'static {{", model.service.name);
    source.block(&opening, |source| {
        for (index, method) in model.service.methods.iter().enumerate() {
            if index > 0 {
                source.add("\n\n");
            }
            declaration(source, model, method);
        }
    });
}

fn declaration(source: &mut Source, model: &Model<'_>, method: &Method) {
    let (request, response) = (model.request(method), model.response(method));
    let (argument, answer) = match CallKind::of(method) {
        CallKind::Unary => (request, response.clone()),
        CallKind::ClientStreaming => (format!("::clearway::Streaming<{request}>"), response.clone()),
        CallKind::ServerStreaming => (request, format!("Self::{}", names::stream_type(method))),
        CallKind::BidiStreaming => {
            (format!("::clearway::Streaming<{request}>"), format!("Self::{}", names::stream_type(method)))
        }
    };
    if method.server_streaming {
        source.add(&format!(
            r#"
/// What [`{name}`](Self::{name}) responds with: its messages, and the status of a call that fails after some of them.
type {stream}: ::clearway::codegen::Stream<Item = ::core::result::Result<{response}, ::clearway::Status>>
    + ::core::marker::Send
    + 'static;

"#,
            name = method.name,
            stream = names::stream_type(method),
        ));
    }
    model.docs(source, Some(method));
    source.add(&format!(
        r#"
fn {name}(
    &self,
    request: ::clearway::Request<{argument}>,
) -> impl ::core::future::Future<
    Output = ::core::result::Result<::clearway::Response<{answer}>, ::clearway::Status>,
> + ::core::marker::Send;
"#,
        name = method.name,
    ));
}

fn definition(source: &mut Source, model: &Model<'_>) {
    let name = &model.service.name;
    source.add(&format!(
        r#"
/// Serves [`{name}`]; add it to a `clearway::transport::Server`.
#[derive(Debug)]
pub struct {name}Server<T> {{
    inner: ::std::sync::Arc<T>,
    max_decoding_message_size: ::core::option::Option<usize>,
    max_encoding_message_size: ::core::option::Option<usize>,
    accepted: ::std::vec::Vec<::clearway::codec::CompressionEncoding>,
    sent: ::std::vec::Vec<::clearway::codec::CompressionEncoding>,
}}

impl<T> {name}Server<T> {{
    /// Serves `inner`.
    pub fn new(inner: T) -> Self {{
        Self::from_arc(::std::sync::Arc::new(inner))
    }}

    /// Serves `inner`, which others may hold as well.
    pub fn from_arc(inner: ::std::sync::Arc<T>) -> Self {{
        Self {{
            inner,
            max_decoding_message_size: ::core::option::Option::None,
            max_encoding_message_size: ::core::option::Option::None,
            accepted: ::std::vec::Vec::new(),
            sent: ::std::vec::Vec::new(),
        }}
    }}

    /// Serves `inner`, with `interceptor` around its methods.
    pub fn with_interceptor<I, Form>(
        inner: T,
        interceptor: I,
    ) -> ::clearway::intercept::InterceptedService<Self, I>
    where
        I: ::clearway::intercept::IntoInterceptor<Form>,
    {{
        ::clearway::intercept::InterceptedService::new(Self::new(inner), interceptor)
    }}

    /// Refuses requests of more than `octets`, each message counted alone.
    #[must_use]
    pub fn max_decoding_message_size(mut self, octets: usize) -> Self {{
        self.max_decoding_message_size = ::core::option::Option::Some(octets);
        self
    }}

    /// Refuses to send responses of more than `octets`, each message counted alone.
    #[must_use]
    pub fn max_encoding_message_size(mut self, octets: usize) -> Self {{
        self.max_encoding_message_size = ::core::option::Option::Some(octets);
        self
    }}

    /// Accepts requests compressed by `encoding`, too.
    #[must_use]
    pub fn accept_compressed(mut self, encoding: ::clearway::codec::CompressionEncoding) -> Self {{
        self.accepted.push(encoding);
        self
    }}

    /// Compresses responses by `encoding`, for clients that can read it; of several, by the first that they can.
    #[must_use]
    pub fn send_compressed(mut self, encoding: ::clearway::codec::CompressionEncoding) -> Self {{
        self.sent.push(encoding);
        self
    }}
}}
"#
    ));
    traits(source, model);
}

fn traits(source: &mut Source, model: &Model<'_>) {
    let (name, service) = (&model.service.name, model.full_name());
    source.add(&format!(
        r#"

impl<T> ::core::clone::Clone for {name}Server<T> {{
    fn clone(&self) -> Self {{
        Self {{
            inner: ::std::sync::Arc::clone(&self.inner),
            max_decoding_message_size: self.max_decoding_message_size,
            max_encoding_message_size: self.max_encoding_message_size,
            accepted: ::core::clone::Clone::clone(&self.accepted),
            sent: ::core::clone::Clone::clone(&self.sent),
        }}
    }}
}}

/// The service's name on the wire.
pub const SERVICE_NAME: &str = "{service}";

impl<T> ::clearway::server::NamedService for {name}Server<T> {{
    const NAME: &'static str = SERVICE_NAME;
}}
"#
    ));
}

fn registration(source: &mut Source, model: &Model<'_>) {
    let name = &model.service.name;
    source.block(
        &format!("impl<T> ::clearway::server::Service for {name}Server<T>\nwhere\n    T: self::{name},\n{{"),
        |source| {
            source.add("fn name(&self) -> &str {\n    SERVICE_NAME\n}\n\n");
            source.block("fn register(self, methods: &mut ::clearway::server::Methods<'_>) {", |source| {
                source.add(
                    r#"
if let ::core::option::Option::Some(octets) = self.max_decoding_message_size {
    methods.max_decoding_message_size(octets);
}
if let ::core::option::Option::Some(octets) = self.max_encoding_message_size {
    methods.max_encoding_message_size(octets);
}
for encoding in self.accepted {
    methods.accept_compressed(encoding);
}
for encoding in self.sent {
    methods.send_compressed(encoding);
}
"#,
                );
                for method in &model.service.methods {
                    route(source, model, method);
                }
            });
        },
    );
}

fn route(source: &mut Source, model: &Model<'_>, method: &Method) {
    let (request, response) = (model.request(method), model.response(method));
    let argument = match method.client_streaming {
        true => format!("::clearway::Streaming<{request}>"),
        false => request.clone(),
    };
    source.add(&format!(
        r#"

let codec: {codec}<{response}, {request}> = ::core::default::Default::default();
let inner = ::std::sync::Arc::clone(&self.inner);
methods.{kind}("{proto_name}", codec, move |request: ::clearway::Request<{argument}>| {{
    let inner = ::std::sync::Arc::clone(&inner);
    async move {{ <T as self::{service}>::{name}(&inner, request).await }}
}});
"#,
        codec = model.options.codec_path,
        kind = CallKind::of(method).name(),
        proto_name = method.proto_name,
        service = model.service.name,
        name = method.name,
    ));
}
