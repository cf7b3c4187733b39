//! Generated code compiled and called: the reviewed files of `tests/expected`, included as a program includes them.
//!
//! They are included twice, as a public and as a private module, under lints that nobody turns on together: generated
//! code must not warn in a crate that denies all of them.

#![deny(warnings, missing_docs, unreachable_pub, missing_debug_implementations, rust_2018_idioms)]
#![deny(unused_qualifications, clippy::all, clippy::pedantic, clippy::nursery)]
// Of this test's own code: helpers of tests may unwrap, and the iterator's type has to be named.
#![allow(clippy::unwrap_used, clippy::needless_collect)]

use std::sync::Arc;
use std::vec;

use clearway::transport::{Channel, Listener, Server};
use clearway::{Code, Request, Response, Status, Streaming};
use prost_types::Timestamp;

use sample::library::v1::book::Note;
use sample::library::v1::library_client::LibraryClient;
use sample::library::v1::library_server::{Library, LibraryServer, SERVICE_NAME};
use sample::library::v1::old_server::{Old, OldServer};
use sample::library::v1::return_report::Summary;
use sample::library::v1::{Book, GetBookRequest};
use sample::shared::Page;

include!("expected/mod.rs");

/// As in a program that uses a part of it.
mod private {
    include!("expected/mod.rs");
}

#[derive(Debug)]
struct Shelf;

type Stream<T> = tokio_stream::Iter<vec::IntoIter<Result<T, Status>>>;

fn book(name: &str) -> Book {
    Book { name: name.to_owned(), ..Book::default() }
}

fn stream<T>(items: impl IntoIterator<Item = T>) -> Response<Stream<T>> {
    Response::new(tokio_stream::iter(items.into_iter().map(Ok).collect::<Vec<_>>()))
}

// As code written for tonic has it; most methods of this test are plain `async fn` without need of it.
#[clearway::async_trait]
impl Library for Shelf {
    async fn get_book(&self, request: Request<GetBookRequest>) -> Result<Response<Book>, Status> {
        let request = request.into_inner();
        if request.name.is_empty() {
            return Err(Status::not_found("no name"));
        }
        Ok(Response::new(book(&request.name)))
    }

    type ListBooksStream = Stream<Book>;

    async fn list_books(&self, request: Request<Page>) -> Result<Response<Stream<Book>>, Status> {
        Ok(stream((0..request.into_inner().size).map(|number| book(&number.to_string()))))
    }

    async fn return_books(&self, request: Request<Streaming<Book>>) -> Result<Response<Summary>, Status> {
        let mut books = request.into_inner();
        let mut count = 0;
        while books.message().await?.is_some() {
            count += 1;
        }
        Ok(Response::new(Summary { count }))
    }

    type ChatStream = Streaming<Note>;

    async fn chat(&self, request: Request<Streaming<Note>>) -> Result<Response<Streaming<Note>>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn r#type(&self, request: Request<Plain>) -> Result<Response<String>, Status> {
        Ok(Response::new(request.into_inner().text))
    }

    async fn new(&self, _: Request<Timestamp>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }

    async fn old_get_book(&self, request: Request<GetBookRequest>) -> Result<Response<Book>, Status> {
        self.get_book(request).await
    }

    type watchBooksStream = Stream<Book>;

    async fn watch_books(&self, _: Request<()>) -> Result<Response<Stream<Book>>, Status> {
        Ok(stream([]))
    }
}

impl Old for Shelf {
    async fn ping(
        &self,
        request: Request<sample::library::v1::Result>,
    ) -> Result<Response<sample::library::v1::Result>, Status> {
        Ok(Response::new(request.into_inner()))
    }
}

/// A client of `server`, over a connection of its own.
async fn library(server: LibraryServer<Shelf>) -> LibraryClient<Channel> {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Server::builder().add_service(server).add_service(OldServer::new(Shelf));
    tokio::spawn(router.serve_with_listener(listener, std::future::pending()));
    LibraryClient::connect(format!("http://{address}")).await.unwrap()
}

#[tokio::test]
async fn all_four_kinds_of_call() {
    let client = library(LibraryServer::new(Shelf)).await;
    let request = GetBookRequest { name: "Emma".to_owned(), edition: Some(2) };
    assert_eq!(client.get_book(request).await.unwrap().into_inner().name, "Emma");

    let mut books = client.list_books(Page { size: 3, ..Page::default() }).await.unwrap().into_inner();
    let mut names = Vec::new();
    while let Some(book) = books.message().await.unwrap() {
        names.push(book.name);
    }
    assert_eq!(names, ["0", "1", "2"]);

    let returned = tokio_stream::iter([book("a"), book("b")]);
    assert_eq!(client.return_books(returned).await.unwrap().into_inner().count, 2);

    let note = |text: &str| Note { text: text.to_owned(), answer: None };
    let notes = [note("first"), note("second")];
    let mut answers = client.chat(tokio_stream::iter(notes.clone())).await.unwrap().into_inner();
    for note in notes {
        assert_eq!(answers.message().await.unwrap(), Some(note));
    }
    assert_eq!(answers.message().await.unwrap(), None);
}

#[tokio::test]
async fn unusual_names_and_types_are_called_as_well() {
    let client = library(LibraryServer::from_arc(Arc::new(Shelf))).await;
    let plain = Plain { text: "plain".to_owned() };
    assert_eq!(client.r#type(plain).await.unwrap().into_inner(), "plain");
    client.new_(Timestamp::default()).await.unwrap();
    let mut none = client.watch_books(()).await.unwrap().into_inner();
    assert_eq!(none.message().await.unwrap(), None);
}

#[tokio::test]
async fn a_status_comes_back() {
    let client = library(LibraryServer::new(Shelf)).await;
    let status = client.get_book(GetBookRequest::default()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "no name"));
}

#[tokio::test]
async fn size_limits_are_set_on_either_side() {
    let long = || GetBookRequest { name: "n".repeat(100), edition: None };
    let code = async |client: LibraryClient<Channel>| client.get_book(long()).await.unwrap_err().code();
    let plain = || LibraryServer::new(Shelf);
    assert_eq!(code(library(plain().max_decoding_message_size(50)).await).await, Code::ResourceExhausted);
    assert_eq!(code(library(plain().max_encoding_message_size(50)).await).await, Code::ResourceExhausted);
    assert_eq!(code(library(plain()).await.max_decoding_message_size(50)).await, Code::ResourceExhausted);
    assert_eq!(code(library(plain()).await.max_encoding_message_size(50)).await, Code::ResourceExhausted);
}

#[test]
fn a_service_knows_its_name() {
    use clearway::server::{NamedService, Service};

    assert_eq!(LibraryServer::new(Shelf).name(), "sample.library.v1.Library");
    assert_eq!(<LibraryServer<Shelf> as NamedService>::NAME, SERVICE_NAME);
    assert_eq!(<plainly_server::PlainlyServer<Shelf> as NamedService>::NAME, "Plainly", "no package, no dot");
}

#[test]
fn calls_can_be_spawned() {
    fn is_send<T: Send>(_: &T) {}

    let connect = LibraryClient::connect("http://127.0.0.1:1");
    is_send(&connect);
    let call = |client: &'static LibraryClient<Channel>| is_send(&client.get_book(GetBookRequest::default()));
    let _ = call;
    assert_eq!(private::Plain::default().text, "");
}

#[tokio::test]
async fn interceptors_go_around_clients_and_servers() {
    type Intercepted<F> = clearway::service::interceptor::InterceptedService<Channel, F>;

    #[derive(Clone)]
    struct Token;

    impl clearway::service::Interceptor for Token {
        fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
            let method = request.extensions().get::<clearway::GrpcMethod>().unwrap().method().to_owned();
            request.metadata_mut().insert("token", method.parse().unwrap());
            Ok(request)
        }
    }

    let check = |request: Request<()>| match request.metadata().get("token") {
        Some(token) if token == "GetBook" => Ok(request),
        _ => Err(Status::unauthenticated("no token")),
    };
    let channel = Server::builder().add_service(LibraryServer::with_interceptor(Shelf, check)).in_process();
    let request = || GetBookRequest { name: "Emma".to_owned(), edition: None };

    let plain = LibraryClient::new(channel.clone());
    assert_eq!(plain.get_book(request()).await.unwrap_err().code(), Code::Unauthenticated);
    let with_token: LibraryClient<Intercepted<Token>> =
        LibraryClient::with_interceptor(channel, Token).max_decoding_message_size(1000);
    assert_eq!(with_token.get_book(request()).await.unwrap().into_inner().name, "Emma");
    assert_eq!(
        with_token.clone().list_books(Page::default()).await.unwrap_err().code(),
        Code::Unauthenticated
    );
}
