//! The calls of the demo: all four kinds, the first one twice, and one that is refused.

use clearway::transport::Channel;
use clearway::{Code, Status};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Failure;
use super::places::{BELVEDERE, RIESENRAD, SCHOENBRUNN, STEPHANSDOM};
use super::proto::hello::HelloRequest;
use super::proto::hello::greeter_client::GreeterClient;
use super::proto::routeguide::route_guide_client::RouteGuideClient;
use super::proto::routeguide::{Point, Rectangle, RouteNote};
use super::session::Session;

/// The four kinds of call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Unary,
    ServerStreaming,
    ClientStreaming,
    Bidirectional,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ServerStreaming => "server streaming",
            Self::ClientStreaming => "client streaming",
            Self::Bidirectional => "bidirectional streaming",
        }
    }
}

/// What there is to say about a call before it is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    pub(crate) kind: Kind,
    pub(crate) path: &'static str,
    pub(crate) remark: &'static str,
    /// How it has to end.
    pub(crate) ends: Code,
}

const HELLO: About = About {
    kind: Kind::Unary,
    path: "/hello.Greeter/SayHello",
    remark: "One request, one answer. What HPACK's static table lacks goes out in full.",
    ends: Code::Ok,
};

const HELLO_AGAIN: About = About {
    remark: "The same call again. Both sides remember the fields (HPACK): one octet each is enough.",
    ..HELLO
};

const LIST: About = About {
    kind: Kind::ServerStreaming,
    path: "/routeguide.RouteGuide/ListFeatures",
    remark: "One request, many answers. Of the request's fields only :path is new. Messages that are ready \
             together share a DATA frame.",
    ends: Code::Ok,
};

const RECORD: About = About {
    kind: Kind::ClientStreaming,
    path: "/routeguide.RouteGuide/RecordRoute",
    remark: "Many requests, one answer after the last of them.",
    ends: Code::Ok,
};

const CHAT: About = About {
    kind: Kind::Bidirectional,
    path: "/routeguide.RouteGuide/RouteChat",
    remark: "Both sides talk at once: a note is answered by those left at its place before.",
    ends: Code::Ok,
};

const REFUSED: About = About {
    kind: Kind::Unary,
    path: "/routeguide.RouteGuide/GetFeature",
    remark: "A call that the server refuses: no message, the status comes with the headers.",
    ends: Code::InvalidArgument,
};

/// Makes all of them, one after the other.
pub(crate) async fn all(session: &mut Session<'_>, channel: Channel) -> Result<(), Failure> {
    let greeter = GreeterClient::new(channel.clone());
    let guide = RouteGuideClient::new(channel);
    session.call(HELLO, hello(&greeter)).await?;
    session.call(HELLO_AGAIN, hello(&greeter)).await?;
    session.call(LIST, list(&guide)).await?;
    session.call(RECORD, record(&guide)).await?;
    session.call(CHAT, chat(&guide)).await?;
    session.call(REFUSED, refused(&guide)).await
}

async fn hello(greeter: &GreeterClient) -> Result<(), Status> {
    greeter.say_hello(HelloRequest { name: "world".to_owned() }).await.map(drop)
}

async fn list(guide: &RouteGuideClient) -> Result<(), Status> {
    let lo = Point { latitude: 481_900_000, longitude: 163_600_000 };
    let hi = Point { latitude: 482_200_000, longitude: 164_000_000 };
    let mut features = guide.list_features(Rectangle { lo: Some(lo), hi: Some(hi) }).await?.into_inner();
    while features.message().await?.is_some() {}
    Ok(())
}

async fn record(guide: &RouteGuideClient) -> Result<(), Status> {
    let route = tokio_stream::iter([RIESENRAD, STEPHANSDOM, SCHOENBRUNN]);
    guide.record_route(route).await.map(drop)
}

/// Sends a note at a time, and waits for its answers before the next.
async fn chat(guide: &RouteGuideClient) -> Result<(), Status> {
    let note = |place, message: &str| RouteNote { location: Some(place), message: message.to_owned() };
    let (to, notes) = mpsc::channel(4);
    let gone = |_| Status::internal("the call takes no more notes");
    to.send(note(BELVEDERE, "The Kiss hangs here")).await.map_err(gone)?;
    let mut answers = guide.route_chat(ReceiverStream::new(notes)).await?.into_inner();
    to.send(note(STEPHANSDOM, "343 steps to the top")).await.map_err(gone)?;
    for text in ["Closed on Mondays?", "No, open every day"] {
        to.send(note(BELVEDERE, text)).await.map_err(gone)?;
        answers.message().await?;
    }
    drop(to);
    while answers.message().await?.is_some() {}
    Ok(())
}

async fn refused(guide: &RouteGuideClient) -> Result<(), Status> {
    guide.get_feature(Point { latitude: 910_000_000, longitude: 0 }).await.map(drop)
}
