//! The server under load: the program itself, on a free port of loopback, gone when dropped.

use anyhow::{Context, Result, bail};
use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A running server.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

/// The server's program: the one named, else the one built beside this.
pub(crate) fn program(named: Option<PathBuf>) -> Result<PathBuf> {
    let beside = || Some(std::env::current_exe().ok()?.with_file_name("s3router"));
    let program = named.or_else(beside).context("no path to the server")?;
    anyhow::ensure!(program.exists(), "no {}: cargo build --release", program.display());
    Ok(program)
}

impl Server {
    /// The embedded demo with further flags, ready.
    pub(crate) fn start(program: &PathBuf, flags: &[&str]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "warn,s3router_server::commands=info"]);
        let mut child =
            command.args(flags).stderr(Stdio::piped()).spawn().context("cannot start the server")?;
        let stderr = child.stderr.take().context("no standard error")?;
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let line = lines.by_ref().find(|line| line.contains("listening on "));
        // Someone must read on, or a full pipe would stop the server.
        std::thread::spawn(move || lines.for_each(|line| eprintln!("server: {line}")));
        let address = line
            .as_deref()
            .and_then(|line| line.split("http://").nth(1)?.split([',', '"']).next())
            .context("the server did not say where it listens")?
            .to_owned();
        let server = Self { child, address };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&self) -> Result<()> {
        let url = format!("http://{}/readyz", self.address);
        let until = Instant::now() + Duration::from_secs(30);
        while !reqwest::blocking::get(&url).is_ok_and(|r| r.status().is_success()) {
            if Instant::now() > until {
                bail!("the server was not ready after 30 s");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// CPU seconds used so far, its own and the system's for it; Linux only.
    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        let metrics = reqwest::blocking::get(format!("http://{}/metrics", self.address)).ok()?.text().ok()?;
        metrics.lines().find_map(|l| l.strip_prefix("process_cpu_seconds_total "))?.parse().ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
