//! Interceptors with their types erased, several in order, and what may become one.

use core::future::Future;
use core::pin::Pin;
use std::sync::Arc;

use super::function::{Function, Interceptor};
use super::watching::AnyWatch;
use super::{Call, Intercept};
use crate::Status;

/// What an interceptor said: a watch or none, or a refusal.
type Said = Result<Option<Box<dyn AnyWatch>>, Status>;

/// An interceptor's answer, or what will bring it.
pub(super) enum Begun<'a> {
    Now(Said),
    Later(Pin<Box<dyn Future<Output = Said> + Send + 'a>>),
}

impl Begun<'_> {
    pub(super) async fn into_result(self) -> Said {
        match self {
            Self::Now(said) => said,
            Self::Later(future) => future.await,
        }
    }
}

/// An interceptor with its type erased.
pub(super) trait AnyIntercept: Send + Sync {
    fn begin<'a>(&'a self, call: &'a mut Call) -> Begun<'a>;
}

struct Erased<I>(I);

impl<I: Intercept> AnyIntercept for Erased<I> {
    fn begin<'a>(&'a self, call: &'a mut Call) -> Begun<'a> {
        Begun::Later(Box::pin(async move {
            let watch = self.0.begin(call).await?;
            // What hears nothing need not be asked.
            Ok(if size_of::<I::Watch>() == 0 && is_unit::<I::Watch>() {
                None
            } else {
                Some(Box::new(watch) as _)
            })
        }))
    }
}

fn is_unit<T: 'static>() -> bool {
    core::any::TypeId::of::<T>() == core::any::TypeId::of::<()>()
}

impl<F: Interceptor + Clone + Send + 'static> AnyIntercept for Function<F> {
    fn begin<'a>(&'a self, call: &'a mut Call) -> Begun<'a> {
        Begun::Now(self.run(call).map(|()| None))
    }
}

/// One interceptor, ready to be put somewhere. Cheap to clone.
#[derive(Clone)]
pub struct AnyInterceptor(Arc<dyn AnyIntercept>);

impl core::fmt::Debug for AnyInterceptor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("AnyInterceptor")
    }
}

/// What can be put where an interceptor goes: an [`Intercept`], or an [`Interceptor`], such as a function of `Request<()>`.
///
/// `Form` tells the two apart ([`AsIntercept`], [`AsFunction`]) and is inferred.
pub trait IntoInterceptor<Form>: 'static {
    /// The interceptor.
    fn into_interceptor(self) -> AnyInterceptor;
}

/// A form of [`IntoInterceptor`]: implements [`Intercept`].
#[derive(Debug)]
pub enum AsIntercept {}

/// A form of [`IntoInterceptor`]: implements [`Interceptor`].
#[derive(Debug)]
pub enum AsFunction {}

/// A form of [`IntoInterceptor`]: is one already.
#[derive(Debug)]
pub enum AsItIs {}

impl<I: Intercept> IntoInterceptor<AsIntercept> for I {
    fn into_interceptor(self) -> AnyInterceptor {
        AnyInterceptor(Arc::new(Erased(self)))
    }
}

impl<F: Interceptor + Clone + Send + 'static> IntoInterceptor<AsFunction> for F {
    fn into_interceptor(self) -> AnyInterceptor {
        AnyInterceptor(Arc::new(Function::new(self)))
    }
}

impl IntoInterceptor<AsItIs> for AnyInterceptor {
    fn into_interceptor(self) -> AnyInterceptor {
        self
    }
}

/// Interceptors in order, outermost first; at least one.
#[derive(Clone, Debug)]
pub(crate) struct Stack(Arc<[AnyInterceptor]>);

impl Stack {
    /// The same and one more, inside of the others.
    pub(crate) fn and(this: Option<&Self>, inner: AnyInterceptor) -> Self {
        Self(this.into_iter().flat_map(|stack| stack.0.iter().cloned()).chain([inner]).collect())
    }

    /// The same and those of `inner`, inside.
    pub(crate) fn around(&self, inner: Option<&Self>) -> Self {
        match inner {
            Some(inner) => Self(self.0.iter().chain(inner.0.iter()).cloned().collect()),
            None => self.clone(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn AnyIntercept> {
        self.0.iter().map(|interceptor| &*interceptor.0)
    }
}
