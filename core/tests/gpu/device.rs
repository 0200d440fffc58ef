//! The GPU of the tests, here and in `core/train/tests/gpu.rs`.

use candle_core::Device;
use s3router_core::device::DeviceChoice;

/// The device; without one the tests pass unseen, unless S3ROUTER_GPU=required, as both scripts set it.
pub(crate) fn gpu() -> Option<Device> {
    match DeviceChoice::Cuda(0).open() {
        Ok(device) => Some(device),
        Err(e) if std::env::var("S3ROUTER_GPU").is_ok_and(|v| v == "required") => panic!("{e}"),
        Err(e) => {
            println!("not run: {e}");
            None
        }
    }
}
