//! `cargo xtask new policy NAME`: a policy that does nothing yet, in its file and its two lines, in one of the crates of
//! policies.

use std::fs;
use std::path::Path;

use crate::Outcome;
use crate::workspace;

const USAGE: &str = "\
usage: cargo xtask new policy NAME [--crate identity|policies]

Makes NAME.rs in crates/torana-policies/src and registers it; with `--crate identity` in crates/torana-identity/src, where
policies are that are about the caller. NAME is the configuration key: lower case, `_` between words.
";

/// Crates of policies, by what stands behind `torana-`, and when those mostly run.
const CRATES: [(&str, &str); 2] = [("policies", "Shape"), ("identity", "Identify")];

const FILE: &str = r#"//! TODO(you): what the policy does, in one sentence.

use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use torana_core::diagnostic::Diagnostic;
use torana_core::exchange::Exchange;
use torana_core::policy::{Policy, PolicyKind};
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::verdict::Verdict;
use torana_core::written::Written;

/// What the policy is for: the field docs are its reference page.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

/// The policy `@name@`.
pub struct @Type@;

impl PolicyKind for @Type@ {
    const NAME: &'static str = "@name@";
    const STAGE: Stage = Stage::@Stage@;
    type Config = Config;

    fn build(_: Config, _: &Written, _: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        Ok(Arc::new(@Type@))
    }
}

impl Policy for @Type@ {
    fn on_request<'a>(&'a self, _: &'a mut Exchange) -> Verdict<'a> {
        Verdict::CONTINUE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_can_be_configured_with_nothing() {
        let written = Written::empty(torana_core::diagnostic::Span::NONE);
        let site = torana_core::testing::TestNames::new("r", "/x");
        assert!(@Type@::build(Config::default(), &written, &site).is_ok());
    }
}
"#;

/// `cargo xtask new`.
pub(crate) fn run(args: &[String]) -> Outcome<()> {
    let Some((name, package, stage)) = read(args) else { return crate::usage(args, USAGE) };
    let all = CRATES.map(|(package, _)| workspace::root().join(format!("crates/torana-{package}/src")));
    let is_there = |path: &Path| path.with_extension("rs").exists() || path.join("mod.rs").exists();
    // A name is a configuration key, wherever its file is.
    if let Some(file) = all.iter().map(|src| src.join(name)).find(|path| is_there(path)) {
        return Err(format!("{} is there already", workspace::relative(&file)));
    }
    let src = workspace::root().join(format!("crates/torana-{package}/src"));
    let (file, lib) = (src.join(format!("{name}.rs")), src.join("lib.rs"));
    let registered = registered(&workspace::read(&lib)?, name).ok_or_else(|| {
        format!("{} has no line `pub const REGISTRY: … = &[…];` to add to", workspace::relative(&lib))
    })?;
    let write = |path, text| fs::write(path, text).map_err(|error| format!("cannot write: {error}"));
    write(&file, FILE.replace("@name@", name).replace("@Type@", &type_name(name)).replace("@Stage@", stage))?;
    write(&lib, registered)?;
    println!(
        "made {} and registered it; next: its docs, its Config, its behaviour, its tests, then `cargo xtask gen`",
        workspace::relative(&file)
    );
    Ok(())
}

/// The name of the policy, its crate and its stage; `None`: the arguments say
/// something else.
fn read(args: &[String]) -> Option<(&str, &'static str, &'static str)> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (name, package) = match words[..] {
        ["policy", name] => (name, "policies"),
        ["policy", name, "--crate", package] | ["policy", "--crate", package, name] => (name, package),
        _ => return None,
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let (package, stage) = CRATES.into_iter().find(|(known, _)| *known == package.trim_start_matches("torana-"))?;
    is_name.then_some((name, package, stage))
}

/// `lib.rs` with the module and the registry entry.
fn registered(lib: &str, name: &str) -> Option<String> {
    let module = lib.rfind("pub mod ")?;
    let end = module + lib[module..].find('\n')? + 1;
    let with_module = format!("{}pub mod {name};\n{}", &lib[..end], &lib[end..]);
    let registry = with_module.find("REGISTRY: &[PolicyEntry]")?;
    let close = registry + with_module[registry..].find("];")?;
    let (before, after) = with_module.split_at(close);
    let comma = if before.trim_end().ends_with([',', '[']) { "" } else { ", " };
    Some(format!("{}{comma}entry::<{name}::{}>(){after}", before.trim_end(), type_name(name)))
}

/// `rate_limit` → `RateLimit`.
fn type_name(name: &str) -> String {
    let capital = |word: &str| {
        word.chars().take(1).map(|c| c.to_ascii_uppercase()).chain(word.chars().skip(1)).collect::<String>()
    };
    name.split('_').map(capital).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_made_in_any_of_their_crates() {
        let said = |text: &str| {
            let args: Vec<String> = text.split(' ').map(str::to_owned).collect();
            read(&args).map(|(name, package, stage)| format!("{name} {package} {stage}"))
        };
        for (text, expected) in [
            ("policy quota", Some("quota policies Shape")),
            ("policy quota --crate policies", Some("quota policies Shape")),
            ("policy saml --crate identity", Some("saml identity Identify")),
            ("policy --crate torana-identity saml", Some("saml identity Identify")),
            ("policy saml --crate targets", None),
            ("policy saml --crate", None),
            ("policy Saml", None),
            ("policy --crate", None),
            ("target saml", None),
            ("policy", None),
        ] {
            assert_eq!(said(text).as_deref(), expected, "{text}");
        }
        for (package, _) in CRATES {
            let lib = workspace::root().join(format!("crates/torana-{package}/src/lib.rs"));
            let added = registered(&workspace::read(&lib).unwrap(), "quota").unwrap();
            assert!(added.contains("pub mod quota;\n") && added.contains("entry::<quota::Quota>()"), "{package}");
        }
    }

    #[test]
    fn two_lines_are_added() {
        let lib =
            "pub mod headers;\n\nuse x;\n\npub const REGISTRY: &[PolicyEntry] = &[entry::<headers::Headers>()];\n";
        let expected = "pub mod headers;\npub mod rate_limit;\n\nuse x;\n\npub const REGISTRY: &[PolicyEntry] = \
                        &[entry::<headers::Headers>(), entry::<rate_limit::RateLimit>()];\n";
        assert_eq!(registered(lib, "rate_limit").as_deref(), Some(expected));
    }
}
