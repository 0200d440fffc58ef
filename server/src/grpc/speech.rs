//! The speech service: each call is the HTTP route of the same name in other clothes.

use super::{deadline, failed, messages, streaming, trace};
use crate::{
    app::App,
    error::Result as Outcome,
    intake::identify::TOP,
    middleware::request::Trace,
    routes::{packs, transcribe::lease},
    tongue::{Heeding, Spoken, listen},
    transcription::{self, Wish},
};
use futures_util::stream::BoxStream;
use s3router_core::audio::Channels;
use s3router_proto::grpc::{
    IdentifyRequest, IdentifyResponse, ListPacksRequest, ListPacksResponse, RecognizeRequest,
    RecognizeResponse, StreamingRecognizeRequest, StreamingRecognizeResponse, speech_server,
};
use std::{sync::Arc, time::Duration};
use tonic::{Request, Response, Status, Streaming};

/// The service over one server's inside.
#[derive(Clone, Debug)]
pub(super) struct Speech(pub(super) Arc<App>);

#[tonic::async_trait]
impl speech_server::Speech for Speech {
    type StreamingRecognizeStream = BoxStream<'static, Result<StreamingRecognizeResponse, Status>>;

    async fn recognize(
        &self,
        call: Request<RecognizeRequest>,
    ) -> Result<Response<RecognizeResponse>, Status> {
        let (trace, deadline) = (trace(&call)?, deadline(&call));
        answer(&trace, recognize(&self.0, &trace, call.into_inner(), deadline).await)
    }

    async fn streaming_recognize(
        &self,
        call: Request<Streaming<StreamingRecognizeRequest>>,
    ) -> Result<Response<Self::StreamingRecognizeStream>, Status> {
        let trace = trace(&call)?;
        answer(&trace, streaming::open(Arc::clone(&self.0), trace.clone(), call.into_inner()))
    }

    async fn identify(&self, call: Request<IdentifyRequest>) -> Result<Response<IdentifyResponse>, Status> {
        let (trace, deadline) = (trace(&call)?, deadline(&call));
        answer(&trace, identify(&self.0, &trace, call.into_inner(), deadline).await)
    }

    async fn list_packs(
        &self,
        call: Request<ListPacksRequest>,
    ) -> Result<Response<ListPacksResponse>, Status> {
        let trace = trace(&call)?;
        answer(&trace, list_packs(&self.0))
    }
}

fn answer<T>(trace: &Trace, outcome: Outcome<T>) -> Result<Response<T>, Status> {
    outcome.map(Response::new).map_err(|error| failed(trace, error))
}

async fn recognize(
    app: &App,
    trace: &Trace,
    request: RecognizeRequest,
    deadline: Option<Duration>,
) -> Outcome<RecognizeResponse> {
    let _working = app.enter()?;
    let config = messages::needed(request.config)?;
    let spoken = Spoken::of(&config.language, config.languages.clone())?;
    let (tongue, decoding) = (lease(app, trace, &spoken)?, messages::decoding(&config)?);
    let alternatives = decoding.alternatives;
    let raw = messages::raw(config.raw.as_ref())?;
    let wish = Wish { audio: request.audio, tongue, decoding, raw, channels: Channels::Mix, deadline };
    let heard = transcription::transcribe(app, trace, wish).await?;
    Ok(messages::recognized(heard, alternatives, trace.id()))
}

async fn identify(
    app: &App,
    trace: &Trace,
    request: IdentifyRequest,
    deadline: Option<Duration>,
) -> Outcome<IdentifyResponse> {
    let _working = app.enter()?;
    let tongue = lease(app, trace, &Spoken::Heard(request.languages))?;
    let top = if request.top == 0 { TOP } else { request.top as usize };
    let raw = messages::raw(request.raw.as_ref())?;
    let heard = listen(app, trace, Heeding { audio: request.audio, tongue, raw, top, deadline }).await?;
    Ok(IdentifyResponse {
        languages: heard.languages.into_iter().map(messages::language).collect(),
        listened: heard.listened,
        request_id: heard.request_id,
        timing: Some(messages::timing(heard.timing)),
    })
}

fn list_packs(app: &App) -> Outcome<ListPacksResponse> {
    let list = packs::list(app)?;
    let packs = list.packs.into_iter().map(messages::pack).collect();
    Ok(ListPacksResponse { backbone: list.backbone, packs })
}
