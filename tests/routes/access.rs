//! Safe by default: who may ask, how often, from where, over what.

use crate::support::{Server, assert_error, small, tone};
use reqwest::blocking::{Client, Response};
use s3router_proto::ErrorKind;
use s3router_server::{
    Config,
    config::{Auth, Network},
};
use std::io::Read;

fn network(network: Network) -> Server {
    Server::start(Config { network, ..small() })
}

#[test]
fn a_key_has_limits_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, "slow name=acme per_minute=2\nfast\n").unwrap();
    let auth = Auth { api_key_file: Some(file), ..Auth::default() };
    let server = Server::start(Config { auth, ..small() });
    let ask = |key: &str| server.post("/transcribe?lang=en").bearer_auth(key).body(tone(0.1)).send().unwrap();
    assert!((0..2).all(|_| ask("slow").status() == 200));
    let refused = ask("slow");
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    let body = assert_error(refused, ErrorKind::QueueFull);
    assert_eq!((body.error.limit, body.error.r#type.as_str()), (Some(2), "rate_limit_error"));
    assert!(!body.error.message.contains("slow"), "{}", body.error.message);
    assert_eq!(ask("fast").status(), 200);
    assert!(
        server.get("/metrics").text().unwrap().contains("s3router_rejected_total{reason=\"queue_full\"} 1")
    );
}

#[test]
fn an_address_behind_a_trusted_proxy_has_a_limit_too() {
    let trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let server = network(Network { address_per_minute: 1, trusted_proxies, ..Network::default() });
    let ask = |from: &str| {
        let request = server.post("/transcribe?lang=en").header("x-forwarded-for", from);
        request.body(tone(0.1)).send().unwrap()
    };
    assert_eq!(ask("203.0.113.7").status(), 200);
    assert_error(ask("203.0.113.7"), ErrorKind::QueueFull);
    assert_eq!(ask("203.0.113.8").status(), 200);
    assert_eq!(server.get("/readyz").status(), 200, "probes are never limited");
}

fn preflight(server: &Server, origin: &str) -> Response {
    let request =
        Client::new().request(reqwest::Method::OPTIONS, server.url("/transcribe")).header("origin", origin);
    request.header("access-control-request-method", "POST").send().unwrap()
}

#[test]
fn pages_of_other_origins_are_kept_out_unless_named() {
    let allow = "access-control-allow-origin";
    assert!(!preflight(Server::demo(), "https://app.example").headers().contains_key(allow));
    let server = network(Network { cors_origins: vec!["https://app.example".into()], ..Network::default() });
    assert_eq!(preflight(&server, "https://app.example").headers()[allow], "https://app.example");
    assert!(!preflight(&server, "https://evil.example").headers().contains_key(allow));
    let error =
        server.post("/transcribe?lang=xx").header("origin", "https://app.example").body("x").send().unwrap();
    assert_eq!(error.headers()[allow], "https://app.example", "a page may read why it failed");
    assert_error(error, ErrorKind::LanguageNotFound);
}

#[test]
fn tls_with_the_operators_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let server = network(Network { tls_cert: Some(cert), tls_key: Some(key), ..Network::default() });

    let trusted = ureq::tls::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let tls =
        ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::new_with_certs(&[trusted])).build();
    let agent: ureq::Agent = ureq::Agent::config_builder().tls_config(tls).build().into();
    let url = format!("https://localhost:{}/transcribe?lang=en", server.address.port());
    let mut answer = String::new();
    let mut response = agent.post(&url).send(&tone(0.5)).unwrap();
    response.body_mut().as_reader().read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"lang\":\"en\""), "{answer}");

    let stranger = ureq::get(format!("https://localhost:{}/livez", server.address.port())).call();
    assert!(stranger.is_err(), "a certificate that nobody vouches for");
    assert!(Client::new().get(server.url("/livez")).send().is_err(), "no answer in the clear");
}

#[test]
fn a_head_without_end_is_refused() {
    let response =
        Server::demo().post("/transcribe?lang=en").header("x-bomb", "x".repeat(1_000_000)).body("x").send();
    assert!(response.map_or(true, |r| r.status() == 431), "not read for ever");
}
