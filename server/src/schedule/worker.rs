//! The loop of the thread that owns the engine.

use super::{
    policy::Running,
    queue::{Batch, Queue, guarded},
};
use crate::{app::Model, error::ApiError};
use s3router_core::{self as core, piece::Piece};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Serves `queue` until its scheduler is gone. A panic or an error of the engine fails its batch only; then
/// `mend` says which engine goes on, or that none can.
pub(crate) fn run(
    mut queue: Queue,
    mut model: Arc<dyn Model>,
    mut mend: impl FnMut(Arc<dyn Model>) -> Option<Arc<dyn Model>>,
) {
    while let Some(batch) = queue.next_batch(&model) {
        if compute(&mut queue, &model, &batch, true).is_err() {
            match mend(model) {
                Some(well) => model = well,
                None => return,
            }
        }
    }
}

/// The engine may be broken.
struct Broken;

/// Computes a batch and hands out what came of it. Between two layers small newcomers cut in, if `host`; and
/// there it is given up once nobody waits for it.
fn compute(queue: &mut Queue, model: &Arc<dyn Model>, batch: &Batch, host: bool) -> Result<(), Broken> {
    let pieces: Vec<&Piece> = batch.iter().map(|(_, piece)| piece).collect();
    queue.metrics.batch_formed(&pieces);
    queue.metrics.devices.set(model.devices() as i64);
    let lengths = pieces.iter().map(|p| p.samples());
    let longest = lengths.clone().max().unwrap_or(0);
    let mut running = Running { samples: lengths.sum(), longest, guests: 0 };
    let (mut guests_took, mut broken) = (Duration::ZERO, false);

    let spans = queue.spans(batch);
    let begun = Instant::now();
    let result = guarded("the engine", || {
        model.compute(&pieces, &mut || {
            let since = Instant::now();
            if host {
                while let Some(guests) = queue.cut_in(&mut running, model) {
                    broken |= compute(queue, model, &guests, false).is_err();
                }
            }
            guests_took += since.elapsed();
            if queue.wants(batch) { Ok(()) } else { Err(core::Error::Abandoned) }
        })
    });
    let took = begun.elapsed().saturating_sub(guests_took);
    drop(spans);
    queue.metrics.batch_done(took);
    if let Ok(outcome) = &result {
        queue.metrics.ended("forward", outcome);
    }

    let error = match result {
        Ok(Ok(parts)) if parts.len() == batch.len() => {
            queue.deliver(batch, parts, took, model);
            return if broken || model.suspect() { Err(Broken) } else { Ok(()) };
        }
        // Its clients left, and its jobs with them.
        Ok(Err(core::Error::Abandoned)) => return if broken { Err(Broken) } else { Ok(()) },
        Ok(Ok(parts)) => ApiError::internal(format!("{} parts of {} pieces", parts.len(), batch.len())),
        Ok(Err(error)) => ApiError::from(error),
        Err(panicked) => panicked,
    };
    queue.fail(batch, &error);
    Err(Broken)
}
