//! What is measured: chains of policies, and what each is compared with.

use super::tokens::{Algorithm, Tokens};
use crate::bench::proxy::{Extra, Product};

/// A chain and its rivals.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// Highest accepted CPU time against that of the first rival.
    pub(super) goal: Option<f64>,
    /// Behind `/r5/`, see `origin`.
    pub(super) path: &'static str,
    pub(super) tokens: Tokens,
    /// The first is the baseline.
    pub(super) rivals: Vec<Rival>,
    /// Events of policies that may not happen while the row is measured: with them it would be another row.
    pub(super) never: &'static [&'static str],
}

/// A proxy in a row.
#[derive(Debug, Clone)]
pub(super) struct Rival {
    pub(super) name: &'static str,
    pub(super) product: Product,
    pub(super) extra: Extra,
    /// Requests that reach the origin for each.
    pub(super) per_request: u32,
    /// So many requests are compared with one of the others.
    pub(super) together: u32,
    /// What the second reply has in its head, in lower case.
    pub(super) reply_has: &'static [&'static str],
    /// What its body begins with.
    pub(super) body_begins: &'static str,
    /// What the origin gets, in lower case.
    pub(super) origin_sees: &'static [&'static str],
}

/// What the origin says by itself.
const PLAIN_BODY: &str = r#"{"id":4711,"name":"#;

fn rival(name: &'static str, product: Product, file: &'static str, text: &'static str) -> Rival {
    Rival {
        name,
        product,
        extra: Extra { name: file, text, values: Vec::new() },
        per_request: 1,
        together: 1,
        reply_has: &[],
        body_begins: PLAIN_BODY,
        origin_sees: &[],
    }
}

fn nginx() -> Rival {
    rival("nginx", Product::Nginx, "", "")
}

fn haproxy() -> Rival {
    rival("haproxy", Product::Haproxy, "", "")
}

fn torana(file: &'static str, text: &'static str) -> Rival {
    rival("torana", Product::Torana, file, text)
}

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../../../bench/policies/", $name))
    };
}

fn row(name: &'static str, title: &'static str, rivals: Vec<Rival>) -> Row {
    Row { name, title, goal: None, path: "/r5/json", tokens: Tokens::None, rivals, never: &[] }
}

fn jwt(name: &'static str, title: &'static str, text: &'static str, tokens: Tokens) -> Row {
    let own =
        Rival { origin_sees: &["\r\nx-user-id: user-000000\r\n", "\r\nx-user-role: member\r\n"], ..torana(name, text) };
    let never: &[&str] = match tokens {
        Tokens::Different(_) => &["token_known"],
        _ => &["token_verified"],
    };
    Row { tokens, never, ..row(name, title, vec![nginx(), own]) }
}

/// All rows, in the order they run.
pub(super) fn all() -> Vec<Row> {
    let mut rows = vec![
        row("empty", "no policies", vec![nginx(), torana("empty", ""), haproxy()]),
        row(
            "five",
            "5 policies",
            vec![
                nginx(),
                Rival {
                    reply_has: &["\r\nstrict-transport-security: "],
                    origin_sees: &["\r\nx-tenant: shop\r\n"],
                    ..torana("five", file!("five.yaml"))
                },
            ],
        ),
        row(
            "fifteen",
            "15 policies",
            vec![
                nginx(),
                Rival {
                    reply_has: &["\r\nstrict-transport-security: "],
                    origin_sees: &["\r\nx-tenant: shop\r\n", "\r\nx-client: 127.0.0.1\r\n"],
                    ..torana("fifteen", file!("fifteen.yaml"))
                },
            ],
        ),
        jwt(
            "jwt-hs256",
            "jwt HS256, a token that was verified before",
            file!("jwt-hs256.yaml"),
            Tokens::Same(Algorithm::Hs256),
        ),
        jwt(
            "jwt-hs256-new",
            "jwt HS256, every token new to the cache",
            file!("jwt-hs256-new.yaml"),
            Tokens::Different(Algorithm::Hs256),
        ),
        jwt(
            "jwt-rs256",
            "jwt RS256, a token that was verified before",
            file!("jwt-rs256.yaml"),
            Tokens::Same(Algorithm::Rs256),
        ),
        jwt(
            "jwt-rs256-new",
            "jwt RS256, every token new to the cache",
            file!("jwt-rs256-new.yaml"),
            Tokens::Different(Algorithm::Rs256),
        ),
    ];
    rows.extend(others());
    rows
}

fn others() -> Vec<Row> {
    vec![
        Row {
            never: &["limited"],
            ..row(
                "rate-limit",
                "rate_limit in memory, by client address",
                vec![
                    nginx(),
                    Rival {
                        reply_has: &["\r\nratelimit: ", "\r\nx-ratelimit-remaining: "],
                        ..torana("rate-limit", file!("rate-limit.yaml"))
                    },
                    rival("nginx limit_req", Product::Nginx, "rate-limit", file!("nginx-rate-limit.conf")),
                    rival("haproxy stick-table", Product::Haproxy, "rate-limit", file!("haproxy-rate-limit.cfg")),
                ],
            )
        },
        Row {
            goal: Some(1.0),
            path: "/r5/kept",
            never: &["miss", "bypass", "stale", "collapsed"],
            ..row(
                "cache",
                "cache hit, against a hit of nginx's proxy_cache",
                [
                    rival("nginx proxy_cache", Product::Nginx, "cache", file!("nginx-cache.conf")),
                    torana("cache", file!("cache.yaml")),
                    rival("haproxy cache", Product::Haproxy, "cache", file!("haproxy-cache.cfg")),
                ]
                .map(|rival| Rival { per_request: 0, reply_has: &["\r\nx-cache: hit\r\n"], ..rival })
                .into(),
            )
        },
        row(
            "transform",
            "transform: jq over a JSON reply of 1 KB",
            vec![
                nginx(),
                Rival {
                    body_begins: r#"{"id":4711,"label":"A product of some length","tags":["A","B"],"size":"#,
                    ..torana("transform", file!("transform.yaml"))
                },
            ],
        ),
        row(
            "aggregate",
            "aggregate of 4 parts of 1 KB, against 4 plain requests",
            vec![
                Rival { together: 4, ..nginx() },
                Rival {
                    per_request: 4,
                    body_begins: r#"{"user":"A product of some length","orders":["a","b"],"featured":{"#,
                    ..torana("aggregate", file!("aggregate.yaml"))
                },
            ],
        ),
        chain(),
    ]
}

fn chain() -> Row {
    let own = Rival {
        reply_has: &["\r\nstrict-transport-security: ", "\r\nratelimit: ", "\r\nx-request-id: "],
        origin_sees: &["\r\nx-user-id: user-000000\r\n", "\r\nx-tenant: shop\r\n"],
        ..torana("chain", file!("chain.yaml"))
    };
    let like = Rival {
        reply_has: &["\r\nstrict-transport-security: "],
        origin_sees: &["\r\nx-tenant: shop\r\n"],
        ..rival("nginx with limit, headers, log", Product::Nginx, "chain", file!("nginx-chain.conf"))
    };
    Row {
        goal: Some(0.95),
        tokens: Tokens::Same(Algorithm::Hs256),
        never: &["token_verified", "limited"],
        ..row(
            "chain",
            "jwt (known token), rate_limit, headers, metrics, access log; against nginx without any of it",
            vec![nginx(), own, like, haproxy()],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn rows_and_files_of_a_row_have_names_of_their_own() {
        let rows = all();
        assert_eq!(rows.iter().map(|row| row.name).collect::<HashSet<_>>().len(), rows.len());
        for row in rows {
            let files: HashSet<_> = row.rivals.iter().map(|rival| (rival.product.name(), rival.extra.name)).collect();
            assert_eq!(files.len(), row.rivals.len(), "{}", row.name);
        }
    }
}
