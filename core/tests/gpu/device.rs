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

/// Whether the GPU is the emulated one.
pub(crate) fn emulated() -> bool {
    std::env::var_os("S3ROUTER_EMULATED_GPUS").is_some()
}

/// Whether a test of this program passes in a process and on an emulated GPU of its own, and what it says.
pub(crate) fn again(test: &str, settings: &[(&str, &str)]) -> (bool, String) {
    let program = std::env::current_exe().unwrap();
    let mut command = std::process::Command::new(program);
    let out = command.args(["--exact", test, "--nocapture"]).envs(settings.iter().copied()).output().unwrap();
    let said = [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(said.contains("running 1 test"), "no test of that name: {said}");
    (out.status.success(), said)
}
