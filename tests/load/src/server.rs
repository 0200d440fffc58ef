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
    /// A server with these flags, ready. It logs as it does by default, since that is part of what it costs.
    pub(crate) fn start(program: &PathBuf, flags: &[String]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(flags).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start the server")?;
        let stderr = child.stderr.take().context("no standard error")?;
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let line = lines.by_ref().find(|line| line.contains("listening on "));
        // Someone must read on, or a full pipe would stop the server.
        std::thread::spawn(move || {
            let loud = |line: &String| line.contains("WARN") || line.contains("ERROR");
            lines.filter(loud).for_each(|line| eprintln!("server: {line}"));
        });
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
        let until = Instant::now() + Duration::from_secs(60);
        while !reqwest::blocking::get(&url).is_ok_and(|r| r.status().is_success()) {
            if Instant::now() > until {
                bail!("the server was not ready after 60 s");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// What it has used and done so far.
    pub(crate) fn meter(&self) -> Meter {
        let metrics = reqwest::blocking::get(format!("http://{}/metrics", self.address))
            .and_then(reqwest::blocking::Response::text)
            .unwrap_or_default();
        let value = |name: &str| metrics.lines().find_map(|l| l.strip_prefix(name)?.trim().parse().ok());
        Meter {
            cpu: cpu_seconds(&self.child.id().to_string()),
            rows: value("s3router_batch_size_sum "),
            batches: value("s3router_batch_size_count "),
        }
    }
}

/// Counters of a process.
#[derive(Clone, Copy, Default)]
pub(crate) struct Meter {
    pub(crate) cpu: Option<f64>,
    pub(crate) rows: Option<f64>,
    pub(crate) batches: Option<f64>,
}

/// CPU seconds of a process (`self` or a number), all its threads, its own and the system's for it; Linux only.
pub(crate) fn cpu_seconds(process: &str) -> Option<f64> {
    // Ticks of `stat` are hundredths of a second on every Linux that matters.
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
