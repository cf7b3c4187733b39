//! One attribute, `async_trait`, which returns its item unchanged.
//!
//! Service traits that `clearway-build` generates take plain `async fn`. Code written for tonic puts `#[tonic::async_trait]`
//! on each implementation; with `#[clearway::async_trait]` in its place that code compiles as it is. The attribute
//! exists for this alone: new code has no use for it.
//!
//! Left out: everything the async-trait crate does. Its macro boxes each future and changes each signature, so an
//! implementation under it does not match our traits (compiler error E0195).

use proc_macro::TokenStream;

/// Does nothing: the item comes back as it was. Arguments (`?Send`) are accepted and mean nothing either.
///
/// ```
/// use clearway_macros::async_trait;
///
/// trait Greeter {
///     fn greet(&self) -> impl Future<Output = String> + Send;
/// }
///
/// struct Hello;
///
/// #[async_trait]
/// impl Greeter for Hello {
///     async fn greet(&self) -> String {
///         "hello".to_owned()
///     }
/// }
/// ```
#[proc_macro_attribute]
pub fn async_trait(_arguments: TokenStream, item: TokenStream) -> TokenStream {
    item
}
