//! Where the CUDA libraries are linked from: `deploy/cuda/lazy.py` makes stand-ins that find the real ones at start.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=S3ROUTER_LAZY_CUDA");
    if let Some(folder) = std::env::var_os("S3ROUTER_LAZY_CUDA") {
        println!("cargo:rustc-link-search=native={}", folder.to_string_lossy());
    }
}
