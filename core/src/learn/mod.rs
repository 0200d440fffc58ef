//! The method of S3-Router (arXiv 2211.01522): a score per weight, a mask of the top scores, a CTC loss.
//!
//! One update, in the order of the files: [`scores`] ([`init`] starts them) → [`topk`] makes gates of
//! them → the model of [`crate::model`] runs under [`crate::gate::Gate::Soft`], with frames and channels
//! hidden by [`spec_augment`] → [`ctc`] gives loss and gradient → [`adam`] moves scores and head at the
//! rate of [`schedule`]. [`vocab`] turns text into labels, [`metrics`] turns transcripts into error
//! rates, [`seeds`] makes every draw repeatable. The program around it is the crate `s3router-train`.

pub mod adam;
pub mod ctc;
pub mod init;
pub mod metrics;
pub mod schedule;
pub mod scores;
pub mod seeds;
pub mod spec_augment;
pub mod topk;
pub mod vocab;
