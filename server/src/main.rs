//! s3router
fn main() {}
