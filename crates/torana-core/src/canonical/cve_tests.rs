//! One test per published bypass that a second reading of the target made
//! possible. The ids are those of the advisory each is named after.

use super::TargetError::*;
use super::tests::{admit, get, head};
use super::*;

fn path(raw: &str) -> Result<String, TargetError> {
    get(raw.as_bytes()).map(|target| target.path().to_owned())
}

/// Every spelling either is the protected path or is refused: none is a third
/// thing that a rule on `/admin` misses and a server behind serves as it.
fn assert_no_third_reading(spellings: &[&str], protected: &str) {
    for raw in spellings {
        match path(raw) {
            Ok(seen) => assert_eq!(seen, protected, "{raw}"),
            Err(error) => assert_eq!(error.status().code(), 400, "{raw}"),
        }
    }
}

#[test]
fn cve_2019_9901_envoy_dot_segments() {
    assert_eq!(path("/public/../admin").as_deref(), Ok("/admin"));
    assert_eq!(path("/public/%2e%2e/admin").as_deref(), Ok("/admin"));
    assert_eq!(path("/public/.%2E/admin").as_deref(), Ok("/admin"));
    // Decoded once: an upstream that decodes twice is beyond help, and no
    // rule here takes it for the parent.
    assert_eq!(path("/public/%252e%252e/admin").as_deref(), Ok("/public/%252e%252e/admin"));
    assert_eq!(path("/public/..;/admin"), Err(Parameters));
    assert_eq!(path("/public/..\\admin"), Err(Backslash));
    assert_eq!(path("/public\\..\\admin"), Err(Backslash));
}

#[test]
fn cve_2021_31920_istio_slashes() {
    assert_no_third_reading(
        &["//admin", "///admin", "/admin", "/%61dmin", "/%2fadmin", "/%2Fadmin", "/.//admin", "/./admin"],
        "/admin",
    );
    assert_eq!(path("/admin%2f").unwrap_err(), EncodedSlash);
}

#[test]
fn cve_2021_43557_apisix_raw_uri_block_list() {
    assert_no_third_reading(
        &["/internal/../internal/x", "/internal//x", "/./internal/x", "/%69nternal/x", "/internal/%2e/x"],
        "/internal/x",
    );
}

#[test]
fn cve_2021_27306_kong_sibling_routes() {
    assert_eq!(path("/open/../closed").as_deref(), Ok("/closed"));
    assert_eq!(path("/open/..%2fclosed"), Err(EncodedSlash));
    assert_eq!(path("/open/%2e%2e%2fclosed"), Err(EncodedSlash));
}

#[test]
fn cve_2023_47106_and_2026_41059_fragment() {
    for raw in ["/a#/../admin", "/#", "/a?b#c", "/a/#?x"] {
        assert_eq!(path(raw), Err(Fragment), "{raw}");
    }
}

#[test]
fn cve_2025_47952_66490_32431_traefik_reserved_characters() {
    assert_eq!(path("/a%2f..%2fadmin"), Err(EncodedSlash));
    assert_eq!(path("/a%5c..%5cadmin"), Err(Backslash));
    assert_eq!(path("/a%00"), Err(EncodedControl));
    // These are data: the rule sees, and the upstream gets, the same escape.
    for raw in ["/a%3Bb", "/a%3Fb", "/a%23b", "/a%25b"] {
        assert_eq!(path(raw).as_deref(), Ok(raw));
    }
}

#[test]
fn cve_2026_40912_48020_65600_67309_rewrite_after_auth() {
    let target = get(b"/public/..%3Fx").unwrap();
    let mut out = CanonicalTarget::default();
    // `StripPrefix: /public/.` and kin: what is left begins with a dot.
    for rewritten in ["/./admin", "/app/../admin", "/app/.%2e/admin", "/admin"] {
        assert_eq!(target.rewrite_path(rewritten.as_bytes(), "/app", &mut out), Err(LeavesSubtree), "{rewritten}");
    }
    assert_eq!(target.rewrite_path(b"/../admin", "/app", &mut out), Err(AboveRoot));
}

#[test]
fn cve_2026_27587_caddy_case_and_escapes() {
    // Case is data in a path, however it was encoded.
    assert_eq!(path("/ADMIN").as_deref(), Ok("/ADMIN"));
    assert_eq!(path("/%41DMIN").as_deref(), Ok("/ADMIN"));
    assert_eq!(path("/%61dmin").as_deref(), Ok("/admin"));
    assert_eq!(path("/caf%C3%A9"), path("/caf%c3%a9"));
}

#[test]
fn cve_2026_27588_caddy_host_case() {
    for host in ["Admin.Example", "ADMIN.EXAMPLE", "admin.example", "admin.example.", "admin.example:80"] {
        let target = admit(&head(Version::Http11, "GET", b"/", &[host.as_bytes()])).unwrap();
        assert_eq!(target.host(), "admin.example");
    }
}

#[test]
fn cve_2026_33186_grpc_go_path_without_slash() {
    for raw in [&b"pkg.Service/Method"[..], b"", b"*", b"http://h/", b"%2fa", b"\\a"] {
        let mut request = head(Version::Http2, "POST", raw, &[]);
        request.set_raw_authority(b"h");
        assert_eq!(admit(&request).unwrap_err(), Form, "{raw:?}");
    }
}

#[test]
fn cve_2026_26205_and_2025_29914_path_read_as_authority() {
    for raw in ["//evil.example/admin", "///evil.example/admin"] {
        let target = get(raw.as_bytes()).unwrap();
        assert_eq!((target.host(), target.path()), ("h", "/evil.example/admin"));
    }
}

#[test]
fn cve_2025_54576_oauth2_proxy_rules_on_path_and_query() {
    let target = get(b"/admin?/health").unwrap();
    assert_eq!(target.path(), "/admin", "the query is never part of the path");
}

#[test]
fn cve_2026_42274_heimdall_rule_on_raw_path() {
    assert_no_third_reading(&["/a/%2e%2e/admin", "/a/../admin", "/adm%69n", "//admin"], "/admin");
    assert_eq!(path("/admin/.").as_deref(), Ok("/admin/"), "a slash more, as RFC 3986 has it");
}

#[test]
fn cve_2022_23632_traefik_trailing_dot() {
    let target = admit(&head(Version::Http11, "GET", b"/", &[b"shop.example."])).unwrap();
    assert_eq!(target.host(), "shop.example");
}
