//! `bench.Echo` on tonic with its defaults: the server that ours is measured against.

use std::error::Error;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use clearway_peers::Scheduler;
use clearway_peers::bench::echo_server::{Echo, EchoServer};
use clearway_peers::bench::{Msg, StreamReq, Work};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

const HELP: &str = "\
bench.Echo on tonic.

Usage: tonic-server --port N [--runtime current_thread|multi_thread] [--workers K] [--max-streams N]
                    [--tls --cert FILE --key FILE]
";

struct Bench;

#[tonic::async_trait]
impl Echo for Bench {
    type ServerStreamStream = tokio_stream::Iter<Download>;
    type BidiStream = Streaming<Msg>;

    async fn unary(&self, request: Request<Msg>) -> Result<Response<Msg>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn server_stream(
        &self,
        request: Request<StreamReq>,
    ) -> Result<Response<Self::ServerStreamStream>, Status> {
        let StreamReq { count, size } = request.into_inner();
        let size = usize::try_from(size).map_err(|_| Status::invalid_argument("size"))?;
        Ok(Response::new(tokio_stream::iter(Download { left: count, size })))
    }

    async fn bidi(&self, request: Request<Streaming<Msg>>) -> Result<Response<Self::BidiStream>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn r#yield(&self, request: Request<Msg>) -> Result<Response<Msg>, Status> {
        tokio::task::yield_now().await;
        Ok(Response::new(request.into_inner()))
    }

    async fn spin(&self, request: Request<Work>) -> Result<Response<Msg>, Status> {
        let Work { micros, payload } = request.into_inner();
        let end = Instant::now() + Duration::from_micros(micros.into());
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        Ok(Response::new(Msg { payload }))
    }

    async fn block(&self, request: Request<Work>) -> Result<Response<Msg>, Status> {
        let Work { micros, payload } = request.into_inner();
        std::thread::sleep(Duration::from_micros(micros.into()));
        Ok(Response::new(Msg { payload }))
    }

    async fn hold(&self, request: Request<Streaming<Msg>>) -> Result<Response<Msg>, Status> {
        // Kept, so that the upload stays open and unread.
        let _unread = request;
        std::future::pending().await
    }
}

/// What one ServerStream call sends: messages made when they are wanted.
struct Download {
    left: u32,
    size: usize,
}

impl Iterator for Download {
    type Item = Result<Msg, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(Ok(Msg { payload: vec![0; self.size] }))
    }
}

struct Asked {
    port: u16,
    scheduler: Scheduler,
    max_streams: Option<u32>,
    identity: Option<Identity>,
}

fn read_flags() -> Result<Asked, Box<dyn Error>> {
    use lexopt::prelude::*;

    let (mut port, mut runtime, mut workers, mut max_streams) =
        (None, String::from("multi_thread"), None, None);
    let (mut tls, mut certificate, mut key) = (false, None, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("port") => port = Some(parser.value()?.parse()?),
            Long("runtime") => runtime = parser.value()?.string()?,
            Long("workers") => workers = Some(parser.value()?.parse()?),
            Long("max-streams") => max_streams = Some(parser.value()?.parse()?),
            Long("tls") => tls = true,
            Long("cert") => certificate = Some(std::fs::read(parser.value()?)?),
            Long("key") => key = Some(std::fs::read(parser.value()?)?),
            _ => return Err(HELP.into()),
        }
    }
    let identity = match (tls, certificate, key) {
        (true, Some(certificate), Some(key)) => Some(Identity::from_pem(certificate, key)),
        (false, None, None) => None,
        _ => return Err(HELP.into()),
    };
    let scheduler = Scheduler::from_flags(&runtime, workers)?;
    Ok(Asked { port: port.ok_or(HELP)?, scheduler, max_streams, identity })
}

fn main() -> Result<(), Box<dyn Error>> {
    let asked = read_flags()?;
    asked.scheduler.build()?.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, asked.port)).await?;
        clearway_peers::announce(listener.local_addr()?);
        // tonic's own `serve` sets TCP_NODELAY; an incoming stream must ask for it.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let mut server = Server::builder();
        if let Some(identity) = asked.identity {
            server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
        }
        server
            .max_concurrent_streams(asked.max_streams)
            .add_service(EchoServer::new(Bench))
            .serve_with_incoming(incoming)
            .await?;
        Ok(())
    })
}
