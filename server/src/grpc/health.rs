//! `grpc.health.v1`: serving once a warm-up transcription has succeeded, not serving while loading and draining.

use crate::{app::App, lifecycle::Phase};
use futures_util::stream::{self, BoxStream, StreamExt};
use s3router_proto::grpc::speech_server::SERVICE_NAME;
use std::sync::Arc;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server,
};

#[derive(Clone, Debug)]
pub(super) struct Health(pub(super) Arc<App>);

fn status(phase: &Phase) -> HealthCheckResponse {
    let status = if *phase == Phase::Ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status.into() }
}

fn known(service: &str) -> Result<(), Status> {
    match service {
        "" | SERVICE_NAME => Ok(()),
        other => Err(Status::not_found(format!("no service `{other}` here: there is `{SERVICE_NAME}`"))),
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        call: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        known(&call.get_ref().service)?;
        Ok(Response::new(status(&self.0.lifecycle.phase())))
    }

    async fn watch(&self, call: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        known(&call.get_ref().service)?;
        let mut phase = self.0.lifecycle.watch();
        phase.mark_changed();
        let changes = stream::unfold(phase, async |mut phase| {
            phase.changed().await.ok()?;
            let now = status(&phase.borrow_and_update());
            Some((Ok(now), phase))
        });
        Ok(Response::new(changes.boxed()))
    }
}
