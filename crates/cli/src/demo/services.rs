//! The three services that `clearway demo` serves, as anybody would write them: plain `async fn`s on generated traits.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use clearway::codegen::Stream;
use clearway::transport::{Router, Server};
use clearway::{Request, Response, Status, Streaming};

use super::places::{FEATURES, distance_metres, feature_at};
use super::proto::demo::EchoMessage;
use super::proto::demo::echo_server::{Echo, EchoServer};
use super::proto::hello::greeter_server::{Greeter, GreeterServer};
use super::proto::hello::{HelloReply, HelloRequest};
use super::proto::routeguide::route_guide_server::{RouteGuide, RouteGuideServer};
use super::proto::routeguide::{Feature, Point, Rectangle, RouteNote, RouteSummary};

/// What is served, for people to read.
pub(crate) const NAMES: &str = "hello.Greeter, routeguide.RouteGuide, demo.Echo";

/// All services.
pub(crate) fn router(server: Server) -> Router {
    server
        .add_service(GreeterServer::new(Hello))
        .add_service(RouteGuideServer::new(Guide::default()))
        .add_service(EchoServer::new(Echoes))
}

/// Answers of a handler that has them all at hand.
type Ready<T> = tokio_stream::Iter<std::vec::IntoIter<Result<T, Status>>>;

fn ready_stream<T>(messages: impl IntoIterator<Item = T>) -> Ready<T> {
    tokio_stream::iter(messages.into_iter().map(Ok).collect::<Vec<_>>())
}

/// `hello.Greeter`.
struct Hello;

impl Greeter for Hello {
    async fn say_hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let message = format!("Hello {}", request.into_inner().name);
        Ok(Response::new(HelloReply { message }))
    }
}

/// `routeguide.RouteGuide`: a few places in Vienna, and a board for notes.
#[derive(Default)]
struct Guide {
    board: Arc<Board>,
}

impl RouteGuide for Guide {
    async fn get_feature(&self, request: Request<Point>) -> Result<Response<Feature>, Status> {
        let point = request.into_inner();
        check(&point)?;
        let name = feature_at(&point).unwrap_or_default().to_owned();
        Ok(Response::new(Feature { name, location: Some(point) }))
    }

    type ListFeaturesStream = Ready<Feature>;

    async fn list_features(
        &self,
        request: Request<Rectangle>,
    ) -> Result<Response<Self::ListFeaturesStream>, Status> {
        let rectangle = request.into_inner();
        let (a, b) = (rectangle.lo.unwrap_or_default(), rectangle.hi.unwrap_or_default());
        let between = |value: i32, one: i32, other: i32| (one.min(other)..=one.max(other)).contains(&value);
        let inside = FEATURES.iter().filter(|(_, point)| {
            between(point.latitude, a.latitude, b.latitude)
                && between(point.longitude, a.longitude, b.longitude)
        });
        let features =
            inside.map(|(name, point)| Feature { name: (*name).to_owned(), location: Some(*point) });
        Ok(Response::new(ready_stream(features)))
    }

    async fn record_route(
        &self,
        request: Request<Streaming<Point>>,
    ) -> Result<Response<RouteSummary>, Status> {
        let mut points = request.into_inner();
        let begun = Instant::now();
        let mut summary = RouteSummary::default();
        let mut metres = 0.0;
        let mut last: Option<Point> = None;
        while let Some(point) = points.message().await? {
            check(&point)?;
            summary.point_count = summary.point_count.saturating_add(1);
            if feature_at(&point).is_some() {
                summary.feature_count = summary.feature_count.saturating_add(1);
            }
            metres += last.map_or(0.0, |last| distance_metres(&last, &point));
            last = Some(point);
        }
        summary.distance = whole(metres);
        summary.elapsed_time = i32::try_from(begun.elapsed().as_secs()).unwrap_or(i32::MAX);
        Ok(Response::new(summary))
    }

    type RouteChatStream = Chat;

    async fn route_chat(
        &self,
        request: Request<Streaming<RouteNote>>,
    ) -> Result<Response<Self::RouteChatStream>, Status> {
        let board = Arc::clone(&self.board);
        Ok(Response::new(Chat { notes: request.into_inner(), board, answers: VecDeque::new() }))
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a cast from f64 saturates")]
fn whole(metres: f64) -> i32 {
    metres.round() as i32
}

/// Refuses what is not on Earth.
fn check(point: &Point) -> Result<(), Status> {
    const DEGREE: u32 = 10_000_000;
    let outside = |value: i32, degrees: u32| value.unsigned_abs() > degrees * DEGREE;
    if outside(point.latitude, 90) {
        return Err(Status::invalid_argument("latitude is outside of +/- 90 degrees"));
    }
    if outside(point.longitude, 180) {
        return Err(Status::invalid_argument("longitude is outside of +/- 180 degrees"));
    }
    Ok(())
}

/// The notes left so far, by place.
#[derive(Default)]
struct Board {
    notes: Mutex<HashMap<(i32, i32), VecDeque<RouteNote>>>,
}

impl Board {
    /// Places that can have notes; at others none are kept.
    const PLACES: usize = 1000;
    /// Notes at one place; older ones are dropped.
    const NOTES: usize = 100;

    /// Leaves a note; answers with those left at its place before.
    fn leave(&self, note: RouteNote) -> Vec<RouteNote> {
        let place = note.location.map_or((0, 0), |point| (point.latitude, point.longitude));
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() >= Self::PLACES && !notes.contains_key(&place) {
            return Vec::new();
        }
        let here = notes.entry(place).or_default();
        let before = here.iter().cloned().collect();
        if here.len() >= Self::NOTES {
            here.pop_front();
        }
        here.push_back(note);
        before
    }
}

/// Answers each note as it comes. It reads the next note once the answers to the last one were taken, so a client that does
/// not read is not read from either.
struct Chat {
    notes: Streaming<RouteNote>,
    board: Arc<Board>,
    answers: VecDeque<RouteNote>,
}

impl Stream for Chat {
    type Item = Result<RouteNote, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let chat = self.get_mut();
        loop {
            if let Some(answer) = chat.answers.pop_front() {
                return Poll::Ready(Some(Ok(answer)));
            }
            match ready!(Pin::new(&mut chat.notes).poll_next(cx)) {
                Some(Ok(note)) => chat.answers.extend(chat.board.leave(note)),
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// `demo.Echo`.
struct Echoes;

impl Echo for Echoes {
    async fn unary(&self, request: Request<EchoMessage>) -> Result<Response<EchoMessage>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    type ServerStreamStream = Ready<EchoMessage>;

    async fn server_stream(
        &self,
        request: Request<EchoMessage>,
    ) -> Result<Response<Self::ServerStreamStream>, Status> {
        let text = request.into_inner().text;
        let words = text.split_whitespace().map(|word| EchoMessage { text: word.to_owned() });
        Ok(Response::new(ready_stream(words)))
    }

    async fn client_stream(
        &self,
        request: Request<Streaming<EchoMessage>>,
    ) -> Result<Response<EchoMessage>, Status> {
        /// What one answer may hold.
        const OCTETS: usize = 1024 * 1024;
        let mut parts = request.into_inner();
        let mut text = String::new();
        while let Some(part) = parts.message().await? {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&part.text);
            if text.len() > OCTETS {
                return Err(Status::resource_exhausted(format!(
                    "the echo would be longer than {OCTETS} octets"
                )));
            }
        }
        Ok(Response::new(EchoMessage { text }))
    }

    type BidiStream = Streaming<EchoMessage>;

    async fn bidi(
        &self,
        request: Request<Streaming<EchoMessage>>,
    ) -> Result<Response<Self::BidiStream>, Status> {
        // What comes in is what goes out.
        Ok(Response::new(request.into_inner()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::places::STEPHANSDOM;

    fn note(message: &str) -> RouteNote {
        RouteNote { location: Some(STEPHANSDOM), message: message.to_owned() }
    }

    #[test]
    fn the_board_answers_with_what_was_left_before_and_is_bounded() {
        let board = Board::default();
        assert_eq!(board.leave(note("a")), []);
        assert_eq!(board.leave(note("b")), [note("a")]);
        for _ in 0..2 * Board::NOTES {
            board.leave(note("c"));
        }
        assert_eq!(board.leave(note("d")).len(), Board::NOTES);
        for latitude in 0..2000 {
            board.leave(RouteNote {
                location: Some(Point { latitude, longitude: 0 }),
                message: String::new(),
            });
        }
        assert_eq!(board.notes.lock().unwrap().len(), Board::PLACES);
    }

    #[test]
    fn points_that_are_not_on_earth_are_refused() {
        assert!(check(&Point { latitude: -900_000_000, longitude: 1_800_000_000 }).is_ok());
        let status = check(&Point { latitude: 910_000_000, longitude: 0 }).unwrap_err();
        assert_eq!(status.message(), "latitude is outside of +/- 90 degrees");
        assert!(check(&Point { latitude: 0, longitude: i32::MIN }).is_err());
    }
}
