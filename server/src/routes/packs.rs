//! What is loaded.

use crate::{
    app::App,
    error::{Errors, Result},
};
use axum::{Json, extract::State};
use s3router_core::packs::{LoadedPack, Quarantined};
use s3router_masks::Kind;
use s3router_proto::{LanguageModel, Pack, PackList, PackState};
use std::sync::Arc;

/// Every pack in service, and every one that was refused with the reason.
#[utoipa::path(get, path = "/v1/packs", tag = "packs", responses((status = 200, body = PackList), Errors),
    security((), ("key" = [])))]
pub async fn list_packs(State(app): State<Arc<App>>) -> Result<Json<PackList>> {
    list(&app).map(Json)
}

/// The same for any protocol.
pub(crate) fn list(app: &App) -> Result<PackList> {
    let (loaded, engine) = (app.packs()?, app.pack_store()?.engine());
    let (precision, kernel) = (engine.backbone().precision().to_string(), engine.backbone().kernel().into());
    let mut packs: Vec<Pack> = loaded.iter().map(|p| ready(p)).collect();
    packs.extend(loaded.quarantined().iter().map(quarantined));
    let backbone = app.config.engine.backbone.clone();
    let notice = (backbone == "demo").then(|| DEMO.into());
    Ok(PackList { backbone, precision, kernel, notice, packs })
}

const DEMO: &str = "the demo model was trained on synthetic speech: it shows the machine, it does not transcribe \
                    people; --backbone and --packs serve a real one";

pub(crate) fn ready(pack: &LoadedPack) -> Pack {
    let meta = &pack.meta;
    let kind = match meta.kind {
        Kind::Ctc => "ctc",
        Kind::Classifier => "classifier",
    };
    Pack {
        language: meta.language.clone(),
        state: PackState::Ready,
        reason: None,
        aliases: meta.aliases.clone(),
        kind: Some(kind.into()),
        generation: Some(pack.generation),
        sha256: Some(pack.sha256.clone()),
        density: Some(meta.density),
        covers: Some(meta.covers.clone()),
        vocab_size: Some(meta.vocab.len()),
        bytes: Some(pack.bytes),
        resident: Some(pack.is_resident()),
        lm: pack.lm.as_ref().map(|lm| LanguageModel { order: lm.order(), words: lm.words() }),
        training: (!meta.training.is_null()).then(|| meta.training.clone()),
    }
}

/// Named by its file: what is inside could not be believed.
fn quarantined(broken: &Quarantined) -> Pack {
    Pack {
        language: broken.file.clone(),
        state: PackState::Quarantined,
        reason: Some(broken.reason.clone()),
        aliases: Vec::new(),
        kind: None,
        generation: None,
        sha256: None,
        density: None,
        covers: None,
        vocab_size: None,
        bytes: None,
        resident: None,
        lm: None,
        training: None,
    }
}
