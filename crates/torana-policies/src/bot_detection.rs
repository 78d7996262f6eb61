//! Tells programs from people by what they say they are.
//!
//! A `User-Agent` is a claim: who wants to lie, lies. This keeps out the many
//! that do not bother to, and counts the rest; it proves nothing about anybody.

use aho_corasick::{AhoCorasick, AhoCorasickBuilder};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use torana_core::diagnostic::Diagnostic;
use torana_core::event::{Event, Tally};
use torana_core::exchange::Exchange;
use torana_core::names::KnownName;
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::{Refusal, Rejection};
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::verdict::Verdict;
use torana_core::written::{OneOrMany, Spanned, Written};

torana_core::refusals! {
    /// Its `User-Agent` is one that is kept out here, or it has none; the log says which.
    BLOCKED = "bot_detection.blocked" 403 Gateway Never "Automated access is not allowed here.";
}

torana_core::events! {
    ALLOWED = "allowed" "A request has a `User-Agent` of the list `allow`.";
    DENIED = "denied" "One of the list `deny`.";
    MISSING = "missing" "It has none, or more than one.";
    AI_CRAWLER = "ai_crawler" "It collects texts for training or answering.";
    SEARCH_ENGINE = "search_engine" "It is a search engine's.";
    SCANNER = "scanner" "It looks for weaknesses.";
    SCRAPER = "scraper" "It collects data about sites, or copies them.";
    HTTP_LIBRARY = "http_library" "It is a library or a tool for the command line.";
    BLOCKED_EVENT = "blocked" "A request was refused.";
}

/// Recognises automated clients by their `User-Agent`, and refuses or counts them.
///
/// Everything is looked for anywhere in the value, without regard to case: first `allow`, which lets a request pass, then
/// `deny`, then the categories. The name proves nothing: to keep out who lies, use authentication and limits.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Parts of values that pass, whatever else is in them.
    #[serde(default)]
    pub allow: OneOrMany<Spanned<String>>,
    /// Parts of values that are refused.
    #[serde(default)]
    pub deny: OneOrMany<Spanned<String>>,
    /// What is done with known kinds: `ai_crawler`, `search_engine`, `scanner`, `scraper`, `http_library`. Default: scanners
    /// are refused, the others counted.
    #[serde(default)]
    pub categories: BTreeMap<Category, Action>,
    /// What is done with requests that have no `User-Agent`, or several. Default `observe`.
    #[serde(default = "observe")]
    pub missing: Action,
    /// Count and log only, refuse nothing: what would be refused stands in the log as the cause.
    #[serde(default)]
    pub observe_only: bool,
}

/// What is done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "BotAction")]
pub enum Action {
    /// It passes.
    Allow,
    /// It passes, and stands in the log as the cause.
    Observe,
    /// 403 `bot_detection.blocked`.
    Block,
}

/// A kind of automated client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "BotCategory")]
pub enum Category {
    /// Collects texts for training or answering: GPTBot, ClaudeBot, CCBot and others.
    AiCrawler,
    /// A search engine's: Googlebot, bingbot and others.
    SearchEngine,
    /// Looks for weaknesses: sqlmap, Nikto, nuclei and others.
    Scanner,
    /// Collects data about sites, or copies them: AhrefsBot, HTTrack, Scrapy and others.
    Scraper,
    /// A library or a tool for the command line: curl, python-requests, Go-http-client and others.
    HttpLibrary,
}

const fn observe() -> Action {
    Action::Observe
}

const CATEGORIES: [(Category, &Event, &[&str]); 5] = [
    (
        Category::Scanner,
        &SCANNER,
        &[
            "sqlmap",
            "nikto",
            "nuclei",
            "nmap",
            "masscan",
            "zgrab",
            "wpscan",
            "acunetix",
            "nessus",
            "openvas",
            "dirbuster",
            "gobuster",
            "feroxbuster",
            "ffuf",
            "wfuzz",
            "arachni",
            "w3af",
            "whatweb",
            "havij",
            "jaeles",
            "netsparker",
            "qualys",
            "skipfish",
            "burpcollaborator",
            "commix",
            "xsser",
            "joomscan",
            "fimap",
            "metasploit",
            "l9explore",
        ],
    ),
    (
        Category::AiCrawler,
        &AI_CRAWLER,
        &[
            "gptbot",
            "chatgpt-user",
            "oai-searchbot",
            "claudebot",
            "claude-web",
            "claude-user",
            "anthropic-ai",
            "ccbot",
            "perplexitybot",
            "perplexity-user",
            "google-extended",
            "applebot-extended",
            "bytespider",
            "amazonbot",
            "meta-externalagent",
            "facebookbot",
            "cohere-ai",
            "diffbot",
            "omgili",
            "ai2bot",
            "timpibot",
            "imagesiftbot",
            "youbot",
            "mistralai-user",
            "duckassistbot",
        ],
    ),
    (
        Category::SearchEngine,
        &SEARCH_ENGINE,
        &[
            "googlebot",
            "bingbot",
            "yandexbot",
            "baiduspider",
            "duckduckbot",
            "slurp",
            "applebot",
            "sogou",
            "exabot",
            "seznambot",
            "petalbot",
            "qwantbot",
            "naverbot",
            "yeti/",
            "mojeekbot",
            "coccocbot",
        ],
    ),
    (
        Category::Scraper,
        &SCRAPER,
        &[
            "ahrefsbot",
            "semrushbot",
            "mj12bot",
            "dotbot",
            "rogerbot",
            "blexbot",
            "dataforseobot",
            "serpstatbot",
            "screaming frog",
            "httrack",
            "scrapy",
            "webcopier",
            "websiteextractor",
            "teleport",
            "webzip",
            "offline explorer",
            "sitesucker",
            "headlesschrome",
            "phantomjs",
            "puppeteer",
            "playwright",
            "selenium",
            "barkrowler",
            "megaindex",
        ],
    ),
    (
        Category::HttpLibrary,
        &HTTP_LIBRARY,
        &[
            "curl/",
            "wget/",
            "python-requests",
            "python-urllib",
            "python-httpx",
            "aiohttp",
            "go-http-client",
            "okhttp",
            "java/",
            "apache-httpclient",
            "libwww-perl",
            "lwp::",
            "axios/",
            "node-fetch",
            "undici",
            "got (",
            "guzzlehttp",
            "faraday",
            "ruby",
            "postmanruntime",
            "insomnia",
            "httpie",
            "reqwest",
            "hyper/",
            "php/",
            "winhttp",
            "restsharp",
        ],
    ),
];

/// The policy `bot_detection`.
pub struct BotDetection {
    /// All that is looked for, in order of precedence.
    finder: AhoCorasick,
    /// What each is, by position in the finder.
    what: Box<[What]>,
    missing: Action,
    observe_only: bool,
    tally: Arc<Tally>,
}

#[derive(Clone, Copy)]
struct What {
    event: &'static Event,
    action: Action,
}

/// Most entries of a list.
const MOST: usize = 1000;

impl PolicyKind for BotDetection {
    const NAME: &'static str = "bot_detection";
    const STAGE: Stage = Stage::Intake;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    const EVENTS: &'static [&'static Event] = EVENTS;
    type Config = Config;

    fn build(config: Config, written: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        for entry in config.allow.iter().chain(config.deny.iter()).filter(|entry| entry.trim().is_empty()) {
            let message = "an empty entry is in every value";
            problems.push(Diagnostic::error("bot_detection.entry", message).at(entry.span));
        }
        if config.allow.len() > MOST || config.deny.len() > MOST {
            let message = format!("a list has more than {MOST} entries");
            problems.push(Diagnostic::error("bot_detection.entry", message).at(written.span));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let allowed = What { event: &ALLOWED, action: Action::Allow };
        let denied = What { event: &DENIED, action: Action::Block };
        let known = CATEGORIES.iter().flat_map(|&(category, event, list)| {
            let default = if category == Category::Scanner { Action::Block } else { Action::Observe };
            let action = config.categories.get(&category).copied().unwrap_or(default);
            list.iter().map(move |word| (*word, What { event, action }))
        });
        let allow = config.allow.iter().map(|entry| (entry.as_str(), allowed));
        let deny = config.deny.iter().map(|entry| (entry.as_str(), denied));
        let (words, what): (Vec<&str>, Vec<What>) = allow.chain(deny).chain(known).unzip();
        let built = AhoCorasickBuilder::new().ascii_case_insensitive(true).build(&words);
        let finder = built.map_err(|error| {
            vec![Diagnostic::error("bot_detection.entry", format!("the lists are too long: {error}")).at(written.span)]
        })?;
        Ok(Arc::new(BotDetection {
            finder,
            what: what.into(),
            missing: config.missing,
            observe_only: config.observe_only,
            tally: site.tally(),
        }))
    }
}

impl BotDetection {
    /// What a value is: the first in order of precedence that is in it.
    fn judge(&self, agent: &[u8]) -> Option<What> {
        let found = self.finder.find_overlapping_iter(agent).map(|found| found.pattern().as_usize());
        self.what.get(found.min()?).copied()
    }
}

impl Policy for BotDetection {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        let what = match exchange.head.fields.get_single(KnownName::UserAgent) {
            Ok(Some(agent)) if !agent.trim_ascii().is_empty() => self.judge(agent),
            _ => Some(What { event: &MISSING, action: self.missing }),
        };
        let Some(What { event, action }) = what else { return Verdict::CONTINUE };
        self.tally.count(event);
        match action {
            Action::Allow => {}
            Action::Block if !self.observe_only => {
                self.tally.count(&BLOCKED_EVENT);
                return Rejection::new(&BLOCKED).because(event.name).into();
            }
            Action::Observe | Action::Block => {
                exchange.notes.cause = Some(format!("observed by the policy `bot_detection`: {}", event.name).into());
            }
        }
        Verdict::CONTINUE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::policy::entry;
    use torana_core::testing::transcript;

    fn run(config: &str, agent: &str) -> String {
        transcript(&entry::<BotDetection>(), config, &format!("GET / HTTP/1.1\nHost: a\n{agent}"), "200")
    }

    fn judged(config: &str, agent: &str) -> String {
        let shown = run(config, &format!("User-Agent: {agent}"));
        let events: Vec<&str> = shown.lines().filter_map(|line| line.strip_prefix("1 × ")).collect();
        events.join(" ")
    }

    #[test]
    fn known_kinds_are_told_apart() {
        for (agent, expected) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", ""),
            ("Mozilla/5.0 (compatible; GPTBot/1.2; +https://openai.com/gptbot)", "ai_crawler"),
            ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "search_engine"),
            ("sqlmap/1.8#stable (https://sqlmap.org)", "scanner blocked"),
            ("CURL/8.5.0", "http_library"),
            ("Mozilla/5.0 (compatible; AhrefsBot/7.0)", "scraper"),
            // Of two kinds: the first in order.
            ("python-requests nuclei", "scanner blocked"),
        ] {
            assert_eq!(judged("{}", agent), expected, "{agent}");
        }
    }

    #[test]
    fn lists_come_before_kinds_and_allow_before_deny() {
        let config = r#"{ "allow": ["partner"], "deny": "evil", "categories": { "http_library": "block", "scanner": "allow" } }"#;
        for (agent, expected) in [
            ("curl/8 Partner", "allowed"),
            ("evil partner", "allowed"),
            ("Evil Firefox", "denied blocked"),
            ("curl/8", "http_library blocked"),
            ("nikto", "scanner"),
        ] {
            assert_eq!(judged(config, agent), expected, "{agent}");
        }
    }

    #[test]
    fn those_without_a_name_are_what_is_written() {
        assert_eq!(run("{}", ""), "GET /\nhost: a\n--\n200\n1 × missing\n");
        let block = r#"{ "missing": "block" }"#;
        for agent in ["", "User-Agent: ", "User-Agent: a\nUser-Agent: b"] {
            assert!(run(block, agent).starts_with("rejected bot_detection.blocked 403\n"), "{agent}");
        }
        assert!(run(r#"{ "missing": "block", "observe_only": true }"#, "").starts_with("GET /"));
    }

    #[test]
    fn entries_that_are_everywhere_are_refused() {
        assert!(run(r#"{ "deny": [""] }"#, "").starts_with("error bot_detection.entry"));
        assert!(run(r#"{ "categories": { "robots": "block" } }"#, "").contains("error config."));
    }
}
