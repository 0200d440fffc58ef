//! `/openapi.json`, `/docs` and the page: the API cannot change unseen.

use crate::support::Server;
use s3router_proto::ErrorKind;

#[test]
fn the_document_is_as_agreed() {
    insta::with_settings!({prepend_module_to_snapshot => false, snapshot_path => "../snapshots"}, {
        insta::assert_json_snapshot!("openapi", Server::demo().json("/openapi.json"), { ".info.version" => "[version]" });
    });
}

#[test]
fn every_code_of_the_closed_list_is_in_the_document_under_its_status() {
    let document = Server::demo().json("/openapi.json");
    let responses = &document["paths"]["/transcribe"]["post"]["responses"];
    for kind in ErrorKind::ALL {
        let status = s3router_server::error::status(kind).as_str().to_owned();
        let described = responses[&status]["description"].as_str().unwrap_or_default();
        assert!(
            described.split(", ").any(|code| code == kind.code()),
            "{kind:?} under {status}: {described}"
        );
    }
}

#[test]
fn pages_come_whole_from_the_server_itself() {
    for path in ["/", "/docs/"] {
        let response = Server::demo().get(path);
        assert_eq!(response.status(), 200);
        let html = response.text().unwrap();
        assert!(!html.contains("//cdn") && !html.contains("src=\"http"), "{path}");
    }
    let page = Server::demo().get("/");
    assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
}
