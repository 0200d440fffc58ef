//! What this process holds of memory; known on Linux only.

/// A size of `/proc/self/status` in bytes: `VmRSS` now, `VmHWM` at most ever.
pub(crate) fn status(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn linux_tells_both_sizes() {
        let (now, most) = (super::status("VmRSS").unwrap(), super::status("VmHWM").unwrap());
        assert!(now > 1 << 20 && most >= now / 2, "{now} {most}");
        assert_eq!(super::status("VmNothing"), None);
    }
}
