//! The stable names of everything that can be wrong with a configuration.

/// Every code this crate reports, with what it means; in alphabetical order. Tools may depend on
/// the codes, not on the messages.
pub const CODES: &[(&str, &str)] = &[
    ("config.address", "the address of a listener cannot be read"),
    ("config.admin_not_local", "the admin interface would be reachable from other machines without a token"),
    ("config.admin_token", "the token of the admin interface is too short, too long, or cannot be sent"),
    ("config.bad_name", "a name has characters that names cannot have"),
    ("config.certificate_name", "a name of client certificates is not one"),
    ("config.consumer_key", "a key of a consumer cannot be used, or belongs to two of them"),
    ("config.cookie_name", "a cookie to be matched has a name that is not one"),
    ("config.discover", "a source of endpoints is not one, or its parts exclude each other"),
    ("config.duplicate_endpoint", "an upstream has the same endpoint twice (a warning)"),
    ("config.duplicate_key", "a map has the same key twice"),
    ("config.duplicate_name", "two routes, listeners or consumers have the same name, or two credentials"),
    ("config.endpoint_url", "the URL of an endpoint cannot be read, or has more than scheme, host and port"),
    ("config.header_name", "a header's name is not one, or is matched elsewhere"),
    ("config.header_value", "a header cannot be set to this"),
    ("config.include_loop", "a file includes itself, directly or through others"),
    ("config.include_nothing", "an include finds no file (for a pattern, a warning)"),
    ("config.include_twice", "a file is read twice"),
    ("config.invalid_value", "a value is not one of those possible here"),
    ("config.method", "a method is not one, or would never match"),
    ("config.missing_key", "a key that is needed is not there"),
    ("config.missing_variable", "an environment variable without default is not set"),
    ("config.no_drain", "requests in flight would be cut when the gateway stops (a warning)"),
    ("config.no_effect", "something is configured that does nothing here (a warning)"),
    ("config.no_endpoints", "an upstream has no endpoint that could be used"),
    ("config.no_listeners", "there is no listener"),
    ("config.no_target", "a route does not say what answers"),
    ("config.out_of_range", "a number or size is too small or too large"),
    ("config.overlapping_listeners", "two listeners, or a listener and the admin interface, share an address"),
    ("config.password_hash", "the hash of a password is not argon2id, or costs too much or too little"),
    ("config.protocol_conflict", "an endpoint's scheme and the upstream's protocol contradict each other"),
    ("config.reference", "a `${…}` reference cannot be read"),
    ("config.respond_conflict", "the parts of a fixed response contradict each other"),
    ("config.rewrite_conflict", "two rewrites of the path exclude each other"),
    ("config.rewrite_path", "a rewrite does not start with `/`"),
    ("config.set_twice", "two files set the same value, or define the same upstream"),
    ("config.several_targets", "a route says more than once what answers"),
    ("config.signature_key", "a signing key of a consumer cannot be used"),
    ("config.syntax", "the file is not valid YAML, TOML or JSON, or uses what configuration has no use for"),
    ("config.too_deep", "lists and maps, or includes, are nested too deeply"),
    ("config.too_large", "there is more configuration than any gateway needs"),
    ("config.too_many_keys", "a map has several keys where one is expected"),
    ("config.unknown_format", "a file's name does not end in `.yaml`, `.yml`, `.toml` or `.json`"),
    ("config.unknown_key", "a key does not exist here"),
    ("config.unknown_plan", "a consumer or a policy names a plan that does not exist"),
    ("config.unknown_policy", "this build has no policy of that name"),
    ("config.unknown_route", "a consumer is given a route that does not exist"),
    ("config.unknown_upstream", "a route names an upstream that does not exist"),
    ("config.unreadable", "a file cannot be read"),
    ("config.unused_upstream", "no route uses an upstream (a warning)"),
    ("config.value_test", "a test of a value that says nothing, or that nothing passes"),
    ("config.wrong_type", "a value has another type than expected"),
    ("config.zero_timeout", "a timeout is `0s` where it cannot be"),
];

#[cfg(test)]
mod tests {
    use super::CODES;

    #[test]
    fn codes_are_sorted_and_named_alike() {
        assert!(CODES.is_sorted_by_key(|(code, _)| code));
        assert!(CODES.iter().all(|(code, _)| code.starts_with("config.") && !code.contains('-')));
    }
}
