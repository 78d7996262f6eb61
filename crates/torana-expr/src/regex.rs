//! Regular expressions an operator wrote, run on what strangers send.
//!
//! Matching takes time in proportion to the text, whatever the expression (no
//! backtracking, no look-around, no back-references), and compiling has limits
//! on size and depth, so neither a pattern nor a request can stall a worker.
//! Classes such as `\d` and `\w`, and `(?i)`, are about ASCII: paths are, and
//! with Unicode tables a dozen bytes of pattern become megabytes.

use regex_automata::meta;
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::util::syntax as options;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Hir, HirKind, Look};
use std::fmt;
use std::hash::{Hash, Hasher};
use torana_core::captures::Captures;

/// Longest pattern, in bytes.
const LONGEST: usize = 2_048;
/// Most groups, named or not: slots for them live on the stack.
const MOST_GROUPS: usize = 16;
const SLOTS: usize = 2 * (MOST_GROUPS + 1);
/// Nesting of groups and classes.
const DEEPEST: u32 = 64;
/// Bytes a compiled pattern may take.
const LARGEST: usize = 512 * 1024;
/// Bytes of the table a search fills as it goes, per thread.
const CACHE: usize = 256 * 1024;

/// A compiled regular expression. Equal to another if it was written alike.
#[derive(Clone)]
pub struct Regex {
    text: Box<str>,
    compiled: meta::Regex,
    hir: Hir,
    /// Named groups, by position in the pattern: name and number.
    names: Vec<(String, usize)>,
}

/// A pattern that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RegexError {
    /// What is wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    /// Where in the pattern, in bytes.
    pub offset: usize,
}

impl RegexError {
    fn new(message: impl Into<String>, hint: &str, offset: usize) -> RegexError {
        RegexError { message: message.into(), hint: hint.to_owned(), offset }
    }
}

impl Regex {
    /// A pattern that has to match the whole text.
    ///
    /// # Errors
    /// It is not a regular expression, or too large.
    pub fn whole(text: &str) -> Result<Regex, RegexError> {
        let hir = parse(text)?;
        // Not `^(?:text)$` as text: a pattern with `(?x)` could comment the end out.
        let anchored = Hir::concat(vec![Hir::look(Look::Start), hir.clone(), Hir::look(Look::End)]);
        Regex::build(text, hir, &anchored)
    }

    /// A pattern that may match anywhere in the text.
    ///
    /// # Errors
    /// It is not a regular expression, or too large.
    pub fn anywhere(text: &str) -> Result<Regex, RegexError> {
        let hir = parse(text)?;
        let searched = hir.clone();
        Regex::build(text, hir, &searched)
    }

    fn build(text: &str, hir: Hir, searched: &Hir) -> Result<Regex, RegexError> {
        let groups = hir.properties().explicit_captures_len();
        if groups > MOST_GROUPS {
            let message = format!("the regular expression has {groups} groups; {MOST_GROUPS} is the most");
            return Err(RegexError::new(message, "write groups that capture nothing as `(?:…)`", 0));
        }
        let compiled = meta::Builder::new().configure(config()).build_from_hir(searched).map_err(too_large)?;
        let groups = compiled.group_info();
        let names = groups
            .pattern_names(regex_automata::PatternID::ZERO)
            .enumerate()
            .filter_map(|(number, name)| Some((name?.to_owned(), number)))
            .collect();
        Ok(Regex { text: text.into(), compiled, hir, names })
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `text` matches.
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.compiled.is_match(text)
    }

    /// The names of its named groups, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(name, _)| name.as_str())
    }

    /// Whether `path` matches; if so, what the named groups matched is added
    /// to `captures`. A group that took no part captures nothing, at the start.
    pub fn capture(&self, path: &str, captures: &mut Captures) -> bool {
        if self.names.is_empty() {
            return self.is_match(path.as_bytes());
        }
        let mut slots: [Option<NonMaxUsize>; SLOTS] = [None; SLOTS];
        let input = Input::new(path).anchored(Anchored::Yes);
        if self.compiled.search_slots(&input, &mut slots).is_none() {
            return false;
        }
        for (_, number) in &self.names {
            let at = |slot: usize| slots.get(slot).copied().flatten().map_or(0, NonMaxUsize::get);
            captures.push(at(2 * number), at(2 * number + 1));
        }
        true
    }

    /// The text every match begins with, as far as the pattern says it letter
    /// by letter.
    #[must_use]
    pub fn lead(&self) -> String {
        let mut bytes = Vec::new();
        lead(&self.hir, &mut bytes);
        let valid = std::str::from_utf8(&bytes).map_or_else(|error| error.valid_up_to(), str::len);
        bytes.truncate(valid);
        String::from_utf8(bytes).unwrap_or_default()
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Regex) -> bool {
        self.text == other.text
    }
}

impl Eq for Regex {}

impl Hash for Regex {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Regex({})", self.text)
    }
}

/// Whether any of several patterns matches a whole text: one search, however
/// many there are.
#[derive(Clone, Debug)]
pub struct AnyOf(meta::Regex);

impl AnyOf {
    /// `None` if together they are too large: then each is asked by itself.
    #[must_use]
    pub fn new<'r>(patterns: impl IntoIterator<Item = &'r Regex>) -> Option<AnyOf> {
        let any = Hir::alternation(patterns.into_iter().map(|regex| without_groups(&regex.hir)).collect());
        let anchored = Hir::concat(vec![Hir::look(Look::Start), any, Hir::look(Look::End)]);
        // Many patterns make many states; a larger table keeps the search from starting over.
        let config = config().nfa_size_limit(Some(16 * LARGEST)).hybrid_cache_capacity(4 * CACHE);
        meta::Builder::new().configure(config).build_from_hir(&anchored).ok().map(AnyOf)
    }

    /// Whether one of them matches `text`.
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }
}

fn config() -> meta::Config {
    meta::Config::new()
        .nfa_size_limit(Some(LARGEST))
        .onepass_size_limit(Some(LARGEST))
        .dfa_size_limit(Some(LARGEST))
        .hybrid_cache_capacity(CACHE)
        .utf8_empty(false)
}

fn parse(text: &str) -> Result<Hir, RegexError> {
    if text.is_empty() {
        return Err(RegexError::new("the regular expression is empty", "write `.*` for any text", 0));
    }
    if text.len() > LONGEST {
        let message = format!("the regular expression has {} bytes; {LONGEST} is the most", text.len());
        return Err(RegexError::new(message, "", 0));
    }
    let config = options::Config::new().unicode(false).utf8(false).nest_limit(DEEPEST);
    options::parse_with(text, &config).map_err(|error| explain(&error))
}

fn explain(error: &regex_syntax::Error) -> RegexError {
    use regex_syntax::ast::ErrorKind as Syntax;
    use regex_syntax::hir::ErrorKind as Meaning;
    let (what, hint, offset) = match error {
        regex_syntax::Error::Parse(error) => {
            let hint = match error.kind() {
                Syntax::UnsupportedLookAround => {
                    "look-around cannot be matched in linear time; write two routes instead"
                }
                Syntax::UnsupportedBackreference => "back-references cannot be matched in linear time",
                _ => "",
            };
            (error.kind().to_string(), hint, error.span().start.offset)
        }
        regex_syntax::Error::Translate(error) => {
            let hint = match error.kind() {
                Meaning::UnicodeNotAllowed => "classes are about ASCII; write other letters outside of `[…]`",
                _ => "",
            };
            (error.kind().to_string(), hint, error.span().start.offset)
        }
        error => (error.to_string(), "", 0),
    };
    RegexError::new(format!("not a regular expression: {what}"), hint, offset)
}

fn too_large(_: meta::BuildError) -> RegexError {
    let message = format!("the regular expression takes more than {} KiB when compiled", LARGEST / 1024);
    RegexError::new(message, "repeat less: `{1,1000}` writes what it repeats a thousand times", 0)
}

/// Adds what every match of `hir` begins with; whether that is all of it.
fn lead(hir: &Hir, out: &mut Vec<u8>) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(Look::Start) => true,
        HirKind::Literal(literal) => {
            out.extend_from_slice(&literal.0);
            true
        }
        HirKind::Capture(capture) => lead(&capture.sub, out),
        HirKind::Concat(parts) => parts.iter().all(|part| lead(part, out)),
        _ => false,
    }
}

/// The same without captures, which a search for several would only count.
fn without_groups(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Capture(capture) => without_groups(&capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(without_groups).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(without_groups).collect()),
        HirKind::Repetition(repetition) => {
            let sub = Box::new(without_groups(&repetition.sub));
            Hir::repetition(regex_syntax::hir::Repetition { sub, ..repetition.clone() })
        }
        _ => hir.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(pattern: &str, path: &str) -> Option<Vec<String>> {
        let regex = Regex::whole(pattern).unwrap();
        let mut captures = Captures::default();
        regex.capture(path, &mut captures).then(|| {
            assert_eq!(captures.len(), regex.names().count());
            (0..captures.len()).map(|index| captures.get(path, index).to_owned()).collect()
        })
    }

    #[test]
    fn a_whole_pattern_matches_from_end_to_end() {
        for pattern in ["/items/[0-9]+", "^/items/[0-9]+$", "(?x) /items/ [0-9]+ # a number"] {
            let regex = Regex::whole(pattern).unwrap();
            assert!(regex.is_match(b"/items/17"), "{pattern}");
            for path in ["/items/17/x", "/x/items/17", "/items/", "/items/17\n"] {
                assert!(!regex.is_match(path.as_bytes()), "{pattern} {path}");
            }
        }
        assert!(Regex::whole("a|b").unwrap().is_match(b"b") && !Regex::whole("a|b").unwrap().is_match(b"ab"));
        assert!(Regex::anywhere("b+").unwrap().is_match(b"abc"));
    }

    #[test]
    fn named_groups_are_captured_in_order_and_others_are_not() {
        let pattern = r"/(?P<year>\d{4})/(x|y)/(?<slug>[a-z-]+)(?:\.(?<format>json))?";
        let slots = |list: [&str; 3]| Some(list.map(str::to_owned).to_vec());
        assert_eq!(captured(pattern, "/2024/x/a-b.json"), slots(["2024", "a-b", "json"]));
        assert_eq!(captured(pattern, "/2024/y/a-b"), slots(["2024", "a-b", ""]));
        assert_eq!(captured(pattern, "/2024/z/a-b"), None);
        assert_eq!(captured("/(?:a|b)", "/a"), Some(vec![]));
    }

    #[test]
    fn the_lead_is_what_every_match_begins_with() {
        let lead = |pattern: &str| Regex::whole(pattern).unwrap().lead();
        assert_eq!(lead("^/items/[0-9]+$"), "/items/");
        assert_eq!(lead("/(?<a>api)/v(1|2)/x"), "/api/v");
        assert_eq!(lead("/items(/[0-9]+)?"), "/items");
        assert_eq!(lead(".*"), "");
        assert_eq!(lead("/a|/b"), "");
        assert_eq!(lead("(?i)/A/b"), "/");
        assert_eq!(lead("/caf\u{e9}/x"), "/caf\u{e9}/x");
        assert_eq!(lead("/a/b+"), "/a/");
    }

    #[test]
    fn what_is_wrong_is_shown_where_it_is() {
        let error = |pattern: &str| Regex::whole(pattern).unwrap_err();
        assert_eq!(error("/a/(b").offset, 3);
        assert_eq!(error("/a[z-a]").offset, 3);
        assert!(error("/a(?=b)").hint.contains("linear time"));
        assert!(error(r"/(a)\1").hint.contains("linear time"));
        assert!(error("").hint.contains(".*"));
        assert!(error("[\u{e9}]").hint.contains("ASCII"));
    }

    #[test]
    fn bombs_do_not_compile() {
        for bomb in ["((a{100}){100}){100}".to_owned(), "(".repeat(1_000), "(?:".repeat(500), "a".repeat(3_000)] {
            assert!(Regex::whole(&bomb).is_err(), "{bomb:.20}");
        }
        assert!(Regex::whole(&"(a)".repeat(17)).unwrap_err().message.contains("17 groups"));
    }

    #[test]
    fn one_search_for_many_patterns_says_whether_one_matches() {
        let patterns: Vec<Regex> = (0..200).map(|n| Regex::whole(&format!("/r{n}/(?<id>[0-9]+)")).unwrap()).collect();
        let any = AnyOf::new(&patterns).unwrap();
        assert!(any.is_match(b"/r17/5") && any.is_match(b"/r199/0"));
        assert!(!any.is_match(b"/r200/5") && !any.is_match(b"/r17/5/") && !any.is_match(b"x/r17/5"));
    }
}
