//! The client of a service: a module with a struct over `clearway::client::Grpc` and one `async fn` for each method.

use prost_build::Method;

use super::source::Source;
use super::{CallKind, Model, names};

/// Lints that code we format ourselves, with names others chose, may break.
const ALLOW: &str = "#![allow(dead_code, deprecated, missing_docs, unreachable_pub, unused_qualifications)]\n\
                     #![allow(clippy::all, clippy::pedantic, clippy::nursery)]";

/// Writes the client's module.
pub(super) fn write(source: &mut Source, model: &Model<'_>) {
    source.add(&format!("/// The client of `{}`.", model.full_name()));
    for attribute in model.options.client_mod_attributes.all(&model.item()) {
        source.add(attribute);
    }
    source.block(&format!("pub mod {}_client {{", names::module_stem(model.service)), |source| {
        source.add(ALLOW);
        source.add("\n\n");
        definition(source, model);
        if model.options.transport {
            source.add("\n\n");
            connect(source, model);
        }
        source.add("\n\n");
        methods(source, model);
    });
}

fn definition(source: &mut Source, model: &Model<'_>) {
    let name = &model.service.name;
    let default = if model.options.transport { " = ::clearway::transport::Channel" } else { "" };
    model.docs(source, None);
    if model.service.options.deprecated() {
        source.add("#[deprecated]");
    }
    source.add(&format!(
        r#"
#[derive(Debug, Clone)]
pub struct {name}Client<T{default}> {{
    inner: ::clearway::client::Grpc<T>,
}}
"#
    ));
}

fn connect(source: &mut Source, model: &Model<'_>) {
    let name = &model.service.name;
    source.add(&format!(
        r#"
impl {name}Client<::clearway::transport::Channel> {{
    /// Connects to `dst`: an `Endpoint` or what can become one.
    ///
    /// # Errors
    /// When `dst` is not an endpoint or nobody answers there.
    pub async fn connect<D>(dst: D) -> ::core::result::Result<Self, ::clearway::Error>
    where
        D: ::core::convert::TryInto<::clearway::transport::Endpoint>,
        D::Error: ::core::convert::Into<::clearway::Error>,
    {{
        let endpoint = dst.try_into().map_err(::core::convert::Into::into)?;
        ::core::result::Result::Ok(Self::new(endpoint.connect().await?))
    }}
}}
"#
    ));
}

fn methods(source: &mut Source, model: &Model<'_>) {
    let name = &model.service.name;
    source.block(
        &format!("impl<T> {name}Client<T>\nwhere\n    T: ::clearway::client::GrpcService,\n{{"),
        |source| {
            let general = r#"
/// A client that makes its calls through `inner`.
pub fn new(inner: T) -> Self {
    Self { inner: ::clearway::client::Grpc::new(inner) }
}

/// A client that makes its calls through `inner`, with `interceptor` around them.
pub fn with_interceptor<I, Form>(
    inner: T,
    interceptor: I,
) -> @CLIENT@<::clearway::intercept::InterceptedService<T, I>>
where
    I: ::clearway::intercept::IntoInterceptor<Form>,
{
    @CLIENT@::new(::clearway::intercept::InterceptedService::new(inner, interceptor))
}

/// Refuses responses of more than `octets`, each message counted alone.
#[must_use]
pub fn max_decoding_message_size(self, octets: usize) -> Self {
    Self { inner: self.inner.max_decoding_message_size(octets) }
}

/// Refuses to send requests of more than `octets`, each message counted alone.
#[must_use]
pub fn max_encoding_message_size(self, octets: usize) -> Self {
    Self { inner: self.inner.max_encoding_message_size(octets) }
}

/// Compresses requests by `encoding`.
#[must_use]
pub fn send_compressed(self, encoding: ::clearway::codec::CompressionEncoding) -> Self {
    Self { inner: self.inner.send_compressed(encoding) }
}

/// Accepts responses compressed by `encoding`, too.
#[must_use]
pub fn accept_compressed(self, encoding: ::clearway::codec::CompressionEncoding) -> Self {
    Self { inner: self.inner.accept_compressed(encoding) }
}
"#;
            source.add(&general.replace("@CLIENT@", &format!("{name}Client")));
            for method in &model.service.methods {
                source.add("\n\n");
                call(source, model, method);
            }
        },
    );
}

fn call(source: &mut Source, model: &Model<'_>, method: &Method) {
    let (request, response) = (model.request(method), model.response(method));
    let kind = CallKind::of(method);
    let (argument, into) = match kind {
        CallKind::Unary | CallKind::ServerStreaming => {
            (format!("::clearway::IntoRequest<{request}>"), "::clearway::IntoRequest::into_request")
        }
        CallKind::ClientStreaming | CallKind::BidiStreaming => (
            format!("::clearway::IntoStreamingRequest<Message = {request}>"),
            "::clearway::IntoStreamingRequest::into_streaming_request",
        ),
    };
    let answer = match kind {
        CallKind::Unary | CallKind::ClientStreaming => response.clone(),
        CallKind::ServerStreaming | CallKind::BidiStreaming => format!("::clearway::Streaming<{response}>"),
    };
    model.docs(source, Some(method));
    if method.options.deprecated() {
        source.add("#[deprecated]");
    }
    source.add(&format!(
        r#"
pub async fn {name}(
    &self,
    request: impl {argument},
) -> ::core::result::Result<::clearway::Response<{answer}>, ::clearway::Status> {{
    let path = const {{ ::clearway::client::MethodPath::from_static("/{service}/{proto_name}") }};
    let codec: {codec}<{request}, {response}> = ::core::default::Default::default();
    let request = {into}(request);
    self.inner.{kind}(request, path, codec).await
}}
"#,
        name = names::client_method(method),
        service = model.full_name(),
        proto_name = method.proto_name,
        codec = model.options.codec_path,
        kind = kind.name(),
    ));
}
