//! Load reports (gRFC A51): with a call, in its trailers, and out of band, by `xds.service.orca.v3.OpenRcaService`.
//!
//! What is reported is what the suite's requests say; nothing is measured.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use clearway::metadata::MetadataValue;
use clearway::{Request, Response, Status};
use prost::Message as _;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_stream::Stream;

use crate::testing::TestOrcaReport;
use crate::xds::data::orca::v3::OrcaLoadReport;
use crate::xds::service::orca::v3::OrcaLoadReportRequest;
use crate::xds::service::orca::v3::open_rca_service_server::OpenRcaService;

/// The trailer with the report of one call.
pub const PER_CALL: &str = "endpoint-load-metrics-bin";

/// Reports come no oftener, whatever is asked for; grpc-go's server of the suite has the same.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// What the suite calls a report, as it goes on the wire.
#[must_use]
pub fn report_of(asked: TestOrcaReport) -> OrcaLoadReport {
    OrcaLoadReport {
        cpu_utilization: asked.cpu_utilization,
        mem_utilization: asked.memory_utilization,
        request_cost: asked.request_cost,
        utilization: asked.utilization,
        ..OrcaLoadReport::default()
    }
}

/// Adds the report of a call to its response.
pub(crate) fn report<T>(response: &mut Response<T>, asked: TestOrcaReport) {
    let octets = report_of(asked).encode_to_vec();
    response.trailers_mut().insert_bin(PER_CALL, MetadataValue::from_bytes(&octets));
}

/// What a server reports out of band: what it was told last. Copies are the same.
#[derive(Clone, Debug, Default)]
pub struct Reported(Arc<Mutex<OrcaLoadReport>>);

impl Reported {
    pub(crate) fn set(&self, asked: TestOrcaReport) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = report_of(asked);
    }

    fn now(&self) -> OrcaLoadReport {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl OpenRcaService for Reported {
    type StreamCoreMetricsStream = Reports;

    async fn stream_core_metrics(
        &self,
        request: Request<OrcaLoadReportRequest>,
    ) -> Result<Response<Reports>, Status> {
        let asked = request.into_inner().report_interval.unwrap_or_default();
        let asked = Duration::try_from(asked).unwrap_or_default();
        let mut interval = tokio::time::interval(asked.max(SHORTEST_INTERVAL));
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Response::new(Reports { interval, reported: self.clone() }))
    }
}

/// A report at once, and then one for each interval, until nobody wants them any more.
#[derive(Debug)]
pub struct Reports {
    interval: Interval,
    reported: Reported,
}

impl Stream for Reports {
    type Item = Result<OrcaLoadReport, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        ready!(self.interval.poll_tick(cx));
        Poll::Ready(Some(Ok(self.reported.now())))
    }
}
