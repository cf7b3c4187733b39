//! Load reports: with a call, in its trailers, and out of band.

use core::time::Duration;
use std::collections::HashMap;

use clearway::metadata::MetadataMap;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::expect::check;
use super::streaming::{send, wanted};
use super::{Outcome, Problem, Suite, expect};
use crate::orca::{PER_CALL, report_of};
use crate::testing::{SimpleRequest, StreamingOutputCallRequest, TestOrcaReport};
use crate::xds::data::orca::v3::OrcaLoadReport;
use crate::xds::service::orca::v3::OrcaLoadReportRequest;
use crate::xds::service::orca::v3::open_rca_service_client::OpenRcaServiceClient;

/// A report is awaited for so long.
const PATIENCE: Duration = Duration::from_secs(10);

fn named(name: &str, value: f64) -> HashMap<String, f64> {
    HashMap::from([(name.to_owned(), value)])
}

pub(super) async fn orca_per_rpc(suite: &Suite) -> Outcome {
    let report = TestOrcaReport {
        cpu_utilization: 0.8210,
        memory_utilization: 0.5847,
        request_cost: named("cost", 3456.32),
        utilization: named("util", 0.30499),
    };
    let request = SimpleRequest { orca_per_query_report: Some(report.clone()), ..SimpleRequest::default() };
    let response = suite.client().unary_call(suite.request(request)).await?;
    let (got, want) = (per_call(response.metadata())?, report_of(report));
    check(got == want, || format!("the report is {got:?}, want {want:?}"))
}

fn per_call(metadata: &MetadataMap) -> Result<OrcaLoadReport, Problem> {
    let value = metadata.get_bin(PER_CALL).ok_or_else(|| Problem::new(format!("there is no {PER_CALL}")))?;
    let octets = value.to_bytes().map_err(|_| Problem::new(format!("{PER_CALL} is not base64")))?;
    OrcaLoadReport::decode(octets).map_err(|error| Problem::new(format!("{PER_CALL} is no report: {error}")))
}

pub(super) async fn orca_oob(suite: &Suite) -> Outcome {
    let (inputs, stream) = mpsc::channel(1);
    let mut calls = None;
    let mut stream = Some(stream);
    for (cpu, memory, utilization) in [(0.8210, 0.5847, 0.30499), (0.29309, 0.2, 0.2039)] {
        let report = TestOrcaReport {
            cpu_utilization: cpu,
            memory_utilization: memory,
            utilization: named("util", utilization),
            ..TestOrcaReport::default()
        };
        let input = StreamingOutputCallRequest {
            response_parameters: vec![wanted(1)],
            orca_oob_report: Some(report.clone()),
            ..StreamingOutputCallRequest::default()
        };
        send(&inputs, input).await?;
        // A server may hold the head of its response back until it has something to say.
        if let Some(stream) = stream.take() {
            let request = suite.request(ReceiverStream::new(stream));
            calls = Some(suite.client().full_duplex_call(request).await?.into_inner());
        }
        if let Some(outputs) = &mut calls {
            expect::next(outputs, 1).await?;
        }
        comes(suite, &report_of(report)).await?;
    }
    drop(inputs);
    match &mut calls {
        Some(outputs) => expect::end(outputs).await,
        None => Ok(()),
    }
}

/// A report must come that is this one; those before it may be older.
async fn comes(suite: &Suite, want: &OrcaLoadReport) -> Outcome {
    let client = OpenRcaServiceClient::new(suite.channel.clone());
    let second = prost_types::Duration { seconds: 1, nanos: 0 };
    let request = OrcaLoadReportRequest { report_interval: Some(second), ..OrcaLoadReportRequest::default() };
    let mut reports = client.stream_core_metrics(suite.request(request)).await?.into_inner();
    let mut last = None;
    let coming = async {
        loop {
            match reports.message().await? {
                Some(report) if report == *want => return Ok(()),
                Some(report) => last = Some(report),
                None => return Err(Problem::new("the reports ended")),
            }
        }
    };
    match tokio::time::timeout(PATIENCE, coming).await {
        Ok(outcome) => outcome,
        Err(_) => {
            Err(Problem::new(format!("{want:?} does not come within {PATIENCE:?}, the last is {last:?}")))
        }
    }
}
