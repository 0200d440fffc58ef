//! The method of S3-Router: scores, top-k masks, CTC loss, data, schedule.
