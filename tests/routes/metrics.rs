//! `GET /metrics`.

use crate::support::{Server, small, tone};
use std::collections::{BTreeMap, BTreeSet};

/// Sample name with labels → value; every line must have that form.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let samples = text.lines().filter(|l| !l.starts_with('#') && !l.is_empty());
    samples
        .map(|l| l.rsplit_once(' ').unwrap())
        .map(|(name, v)| (name.to_owned(), v.parse().unwrap()))
        .collect()
}

#[test]
fn one_request_is_counted_once_in_every_place() {
    let server = Server::start(small());
    assert_eq!(server.transcribe("lang=zh-TW", &tone(1.5)).status(), 200);
    assert_eq!(server.transcribe("lang=xx", &tone(0.1)).status(), 404);
    let response = server.get("/metrics");
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4");
    let metrics = parse(&response.text().unwrap());
    for (name, value) in [
        ("s3router_requests_total{code=\"ok\",lang=\"zh_TW\",route=\"/transcribe\"}", 1.0),
        ("s3router_requests_total{code=\"language_not_found\",lang=\"none\",route=\"/transcribe\"}", 1.0),
        ("s3router_audio_seconds_total{lang=\"zh_TW\"}", 1.5),
        ("s3router_request_duration_seconds_count{lang=\"zh_TW\",route=\"/transcribe\"}", 1.0),
        ("s3router_stage_duration_seconds_count{stage=\"decode\"}", 1.0),
        ("s3router_stage_duration_seconds_count{stage=\"queue\"}", 1.0),
        ("s3router_stage_duration_seconds_count{stage=\"forward\"}", 1.0),
        ("s3router_batch_size_sum", 1.0),
        ("s3router_batch_languages_sum", 1.0),
        ("s3router_queue_depth{lang=\"zh_TW\"}", 0.0),
        ("s3router_queue_audio_seconds", 0.0),
        ("s3router_requests_in_flight{route=\"/transcribe\"}", 0.0),
    ] {
        assert_eq!(metrics.get(name), Some(&value), "{name}");
    }
    assert_eq!(metrics.keys().filter(|k| k.starts_with("s3router_mask_info{")).count(), 11);
    assert!(metrics["s3router_mask_resident_bytes{tier=\"host\"}"] > 1e6);
    assert!(metrics.keys().any(|k| k.starts_with("s3router_build_info{version=")));
    #[cfg(target_os = "linux")]
    assert!(metrics["process_resident_memory_bytes"] > 1e6);
}

#[test]
fn no_client_can_invent_a_label() {
    let server = Server::start(small());
    for path in ["/nowhere", "/some/where?lang=else", "/transcribe?lang=evil"] {
        server.post(path).body("x").send().unwrap();
    }
    let text = server.get("/metrics").text().unwrap();
    assert!(!text.contains("nowhere") && !text.contains("evil") && !text.contains("else"), "{text}");
}

/// Every word of a dashboard or a rule file that names a metric.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|w| w.starts_with("s3router_") || w.starts_with("process_"));
    ours.map(|w| ["_bucket", "_sum", "_count"].iter().find_map(|s| w.strip_suffix(s)).unwrap_or(w).to_owned())
        .collect()
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_there_are() {
    let server = Server::start(small());
    assert_eq!(server.transcribe("lang=en", &tone(0.5)).status(), 200);
    let text = server.get("/metrics").text().unwrap();
    let types = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next());
    let exported: BTreeSet<String> = types.map(str::to_owned).collect();
    let deploy = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let dashboard = std::fs::read_to_string(deploy.join("grafana/s3router.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&dashboard).unwrap();
    let alerts = std::fs::read_to_string(deploy.join("prometheus/alerts.yaml")).unwrap();
    for (file, least, text) in [("dashboard", 20, dashboard), ("alerts", 5, alerts)] {
        let named = named(&text);
        let missing: Vec<_> = named.difference(&exported).collect();
        assert!(missing.is_empty(), "the {file} names {missing:?}");
        assert!(named.len() >= least, "{named:?}");
    }
}
