//! The table: which mistakes are looked for, and where. It is checked from both sides: every row has its tests, over
//! HTTP/1.1 and over HTTP/2 where that makes sense, and every test of this suite is in a row.

use std::collections::BTreeSet;

/// How a row is tried over HTTP/2.
enum Http2 {
    /// By the same tests.
    Same,
    /// By one of its own.
    By(&'static str),
    /// Not at all, since.
    Not(&'static str),
}

use Http2::{By, Not, Same};

/// A mechanism, the numbers it was given, and the tests that look for it.
type Row = (&'static [&'static str], &'static [&'static str], Http2);

/// Identity and forwarding headers.
const HEADERS: &[Row] = &[
    (
        &["CVE-2024-45410", "CVE-2026-29054"],
        &["cve_2024_45410_nominated_gateway_headers", "cve_2024_45410_nominated_framing"],
        By("cve_2024_45410_http2_nominates_nothing"),
    ),
    (
        &["CVE-2026-30851", "CVE-2026-52845"],
        &["cve_2026_30851_copied_headers_that_the_answer_lacks", "cve_2026_30851_repeated_and_trailing_owned_headers"],
        Same,
    ),
    (
        &["CVE-2026-31908", "CVE-2026-39998", "CVE-2026-44087", "CVE-2026-49231"],
        &["cve_2026_49231_identity_headers_from_the_client"],
        Same,
    ),
    (&["CVE-2026-33433", "CVE-2026-39858", "CVE-2026-54763"], &["cve_2026_33433_underscore_spellings"], Same),
    (&["CVE-2025-64484"], &["cve_2025_64484_identity_headers_with_underscores"], Same),
    (&["CVE-2026-35051", "CVE-2026-54764", "CVE-2024-52003"], &["cve_2026_35051_every_forwarding_header"], Same),
    (&["CVE-2024-45806"], &["cve_2024_45806_no_range_is_trusted_by_itself"], Same),
    (&["CVE-2026-41181"], &["cve_2026_41181_credentials_and_those_who_stand_in"], Same),
    (&["CVE-2022-23469"], &["cve_2022_23469_secrets_are_not_logged"], Same),
    (&["CVE-2024-45808", "CVE-2025-25294"], &["cve_2024_45808_log_injection"], By("cve_2024_45808_log_injection")),
    (&["CVE-2026-30852"], &["cve_2026_30852_data_is_no_template"], Same),
];

/// Authentication that fails open or is confused.
const IDENTITY: &[Row] = &[
    (&["CVE-2026-39999"], &["cve_2026_39999_algorithm_confusion"], Same),
    (&["CVE-2026-49230"], &["cve_2026_49230_encrypted_tokens"], Same),
    (
        &["CVE-2026-49872"],
        &["cve_2026_49872_credentials_of_another_source"],
        By("cve_2026_49872_credentials_of_another_source"),
    ),
    (&["CVE-2022-29266"], &["cve_2022_29266_errors_tell_the_secret"], Same),
    (&["CVE-2022-29226"], &["cve_2022_29226_any_token_counts"], Same),
    (&["CVE-2023-35941", "CVE-2023-27496"], &["cve_2023_35941_what_is_signed_has_one_reading"], Same),
    (&["CVE-2026-54762"], &["cve_2026_54762_unresolved_secrets"], Same),
    (&["CVE-2026-27586"], &["cve_2026_27586_certificates"], By("cve_2026_27586_certificates")),
    (&["CVE-2026-71326"], &["cve_2026_71326_at_the_same_time"], Same),
    (&["CVE-2026-34457"], &["cve_2026_34457_health_checks_are_nobody_special"], Same),
    (&["CVE-2026-40574"], &["cve_2026_40574_names_are_compared_whole"], Same),
    (&["CVE-2021-23365"], &["cve_2021_23365_two_readings_of_one_token"], Same),
    (&["CVE-2022-21449"], &["cve_2022_21449_and_the_rest_of_jose"], Same),
];

/// Everything else this suite looks for.
const OTHERS: &[Row] = &[
    (&["CVE-2016-5385"], &["cve_2016_5385_proxy_header"], Same),
    (&["CVE-2023-27487"], &["cve_2023_27487_original_path"], Same),
    (&["CVE-2026-26998"], &["cve_2026_26998_endless_answers"], Same),
    (&["CVE-2019-9901"], &["cve_2019_9901_dot_segments"], Not(PATHS)),
    (&["CVE-2021-31920"], &["cve_2021_31920_slashes"], Not(PATHS)),
    (&["CVE-2021-43557"], &["cve_2021_43557_raw_uri"], Not(PATHS)),
    (&["CVE-2021-27306"], &["cve_2021_27306_siblings"], Not(PATHS)),
    (&["CVE-2023-47106"], &["cve_2023_47106_fragments"], Not(PATHS)),
    (&["CVE-2025-47952"], &["cve_2025_47952_reserved_characters"], Not(PATHS)),
    (&["CVE-2026-40912"], &["cve_2026_40912_rewrites"], Not(PATHS)),
    (&["CVE-2026-27587"], &["cve_2026_27587_case"], Not(PATHS)),
    (
        &["CVE-2026-33186"],
        &["cve_2026_33186_http2_path_without_slash", "cve_2026_33186_http2_authority_that_disagrees"],
        By("cve_2026_33186_http2_path_without_slash"),
    ),
    (&["CVE-2026-42274"], &["cve_2026_42274_one_path"], Not(PATHS)),
    (&["CVE-2025-54576"], &["cve_2025_54576_query_is_not_path"], Not(PATHS)),
    (&["CVE-2026-26308"], &["cve_2026_26308_repeated_headers"], Same),
    (&["GHSA-4gph-2hhr-5mwg"], &["ghsa_4gph_2hhr_5mwg_json_passes_byte_for_byte"], Not("bodies are bytes to both")),
    (
        &["CVE-2022-25757"],
        &["cve_2022_25757_duplicate_keys_in_the_configuration_are_an_error"],
        Not("configurations come by no protocol"),
    ),
    (&["CVE-2025-4366"], &["cve_2025_4366_body_nobody_reads"], Not(FRAMING)),
    (
        &["CVE-2026-2833"],
        &["cve_2026_2833_bytes_behind_an_upgrade", "cve_2026_2833_early_bytes_after_101"],
        Not("HTTP/2 has no upgrades"),
    ),
    (&["CVE-2026-2835"], &["cve_2026_2835_http10_and_encodings"], Not(FRAMING)),
    (&["CVE-2025-64763", "CVE-2026-71324"], &["cve_2025_64763_early_data_behind_connect"], Not(FRAMING)),
    (
        &["CVE-2021-32714", "CVE-2021-21299", "CVE-2021-32715", "CVE-2020-35863"],
        &["cve_2021_32714_lenient_lengths"],
        Not(FRAMING),
    ),
    (&["CVE-2025-30157"], &["cve_2025_30157_nothing_of_ours_in_a_tunnel"], Not("HTTP/2 has no upgrades")),
    (&["CVE-2024-32638"], &["cve_2024_32638_early_reply_and_the_pool"], Not(FRAMING)),
    (&["CVE-2026-2836"], &["cve_2026_2836_hosts_are_not_mixed_up"], Same),
];

const PATHS: &str = "both protocols hand the target to one reading, whose own tests are per target; see cve_2026_33186";
const FRAMING: &str = "it is about how HTTP/1 frames messages; what HTTP/2 can do about that is in `downgrade`";

/// What the first two tables have to cover: every number of what was collected about other gateways.
const REQUIRED_HEADERS: &str = "CVE-2024-45410 CVE-2026-29054 CVE-2026-30851 CVE-2026-52845 CVE-2026-31908 CVE-2026-39998
    CVE-2026-44087 CVE-2026-49231 CVE-2026-33433 CVE-2026-39858 CVE-2026-54763 CVE-2025-64484 CVE-2026-35051 CVE-2026-54764
    CVE-2024-52003 CVE-2024-45806 CVE-2026-41181 CVE-2022-23469 CVE-2024-45808 CVE-2025-25294 CVE-2026-30852";
const REQUIRED_IDENTITY: &str = "CVE-2026-39999 CVE-2026-49230 CVE-2026-49872 CVE-2022-29266 CVE-2022-29226 CVE-2023-35941
    CVE-2023-27496 CVE-2026-54762 CVE-2026-27586 CVE-2026-71326 CVE-2026-34457 CVE-2026-40574 CVE-2021-23365 CVE-2022-21449";

const SOURCES: [&str; 5] = [
    include_str!("headers.rs"),
    include_str!("identity.rs"),
    include_str!("paths.rs"),
    include_str!("tokens.rs"),
    include_str!("wire.rs"),
];

/// A test as it is written.
struct Test {
    name: &'static str,
    /// What is said above it.
    said: &'static str,
    body: &'static str,
}

fn tests() -> Vec<Test> {
    let written = |source: &'static str| {
        source.match_indices("#[test]\nfn ").map(move |(at, mark)| {
            let (before, rest) = (&source[..at], &source[at + mark.len()..]);
            let said = before.rfind("\n}\n").or_else(|| before.rfind(";\n")).map_or(before, |end| &before[end..]);
            let end = rest.find("\n}\n").map_or(rest.len(), |end| end + 2);
            let (name, body) = rest[..end].split_once('(').unwrap();
            Test { name, said, body }
        })
    };
    SOURCES.into_iter().flat_map(written).collect()
}

fn rows() -> impl Iterator<Item = &'static Row> {
    [HEADERS, IDENTITY, OTHERS].into_iter().flatten()
}

#[test]
fn every_row_has_tests_that_name_it() {
    let tests = tests();
    assert!(tests.len() > 40, "{}", tests.len());
    let find = |name: &str| {
        let found = tests.iter().find(|test| test.name == name);
        found.unwrap_or_else(|| panic!("there is no test `{name}`"))
    };
    for (ids, names, http2) in rows() {
        let found: Vec<&Test> = names.iter().map(|name| find(name)).collect();
        for id in *ids {
            let number = id.rsplit('-').next().unwrap();
            let is_named = |test: &&Test| test.name.contains(number) || test.said.contains(number);
            assert!(found.iter().any(is_named), "{id} is named by none of {names:?}");
        }
        let over_http2 = |test: &Test| {
            ["Wire::BOTH", "Wire::Http2", "refused(&gateway", "frames::", "Http2::"]
                .iter()
                .any(|by| test.body.contains(by))
        };
        match http2 {
            Same => assert!(
                found.iter().all(|test| test.body.contains("Wire::BOTH") || test.body.contains("refused(&gateway")),
                "{names:?}"
            ),
            By(name) => assert!(over_http2(find(name)), "{name} does not speak HTTP/2"),
            Not(why) => assert!(why.len() > 10, "{names:?}"),
        }
    }
}

#[test]
fn every_test_is_in_a_row_and_every_number_too() {
    let listed: BTreeSet<&str> = rows()
        .flat_map(|(_, names, http2)| {
            let by = if let By(name) = http2 { Some(*name) } else { None };
            names.iter().copied().chain(by)
        })
        .collect();
    for test in tests() {
        assert!(listed.contains(test.name), "`{}` is in no row", test.name);
    }
    let known =
        |table: &'static [Row]| -> BTreeSet<&str> { table.iter().flat_map(|(ids, ..)| ids.iter().copied()).collect() };
    let missing = |required: &'static str, table| -> Vec<&str> {
        let known = known(table);
        required.split_whitespace().filter(|id| !known.contains(id)).collect()
    };
    assert_eq!(missing(REQUIRED_HEADERS, HEADERS), Vec::<&str>::new());
    assert_eq!(missing(REQUIRED_IDENTITY, IDENTITY), Vec::<&str>::new());
}

#[test]
fn the_table_is_read_as_it_is_written() {
    let tests = tests();
    let test = tests.iter().find(|test| test.name == "cve_2026_49231_identity_headers_from_the_client").unwrap();
    assert!(test.said.contains("CVE-2026-31908") && test.body.contains("Wire::BOTH"));
    assert!(!test.body.contains("cve_2025_64484"), "a body ends where it ends");
}
