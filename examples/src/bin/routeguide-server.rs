//! A method of each kind: `cargo run -p clearway-examples --bin routeguide-server`.

use clearway::transport::Server;
use clearway::{Request, Response, Status, Streaming};
use clearway_examples::routeguide::route_guide_server::{RouteGuide, RouteGuideServer};
use clearway_examples::routeguide::{Feature, Point, Rectangle, RouteNote, RouteSummary};
use clearway_examples::{features, inside};

type Answer<T> = Result<Response<T>, Status>;

struct Guide(Vec<Feature>);

impl Guide {
    fn at(&self, point: Point) -> Option<&Feature> {
        self.0.iter().find(|feature| feature.location == Some(point))
    }
}

impl RouteGuide for Guide {
    async fn get_feature(&self, request: Request<Point>) -> Answer<Feature> {
        let point = request.into_inner();
        let unnamed = || Feature { name: String::new(), location: Some(point) };
        Ok(Response::new(self.at(point).cloned().unwrap_or_else(unnamed)))
    }

    type ListFeaturesStream = tokio_stream::Iter<std::vec::IntoIter<Result<Feature, Status>>>;

    async fn list_features(&self, request: Request<Rectangle>) -> Answer<Self::ListFeaturesStream> {
        let area = request.into_inner();
        let found = self.0.iter().filter(|feature| inside(&area, feature)).cloned().map(Ok);
        Ok(Response::new(tokio_stream::iter(found.collect::<Vec<_>>())))
    }

    async fn record_route(&self, request: Request<Streaming<Point>>) -> Answer<RouteSummary> {
        let mut points = request.into_inner();
        let mut summary = RouteSummary::default();
        while let Some(point) = points.message().await? {
            summary.point_count += 1;
            summary.feature_count += i32::from(self.at(point).is_some());
        }
        Ok(Response::new(summary))
    }

    // What comes in goes out: a slow reader slows the writer, at the other end of the connection.
    type RouteChatStream = Streaming<RouteNote>;

    async fn route_chat(&self, request: Request<Streaming<RouteNote>>) -> Answer<Self::RouteChatStream> {
        Ok(Response::new(request.into_inner()))
    }
}

#[tokio::main]
async fn main() -> Result<(), clearway::Error> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:50051".to_owned());
    Server::builder().add_service(RouteGuideServer::new(Guide(features()))).listen(&address).await
}
