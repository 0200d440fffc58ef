//! s3router
