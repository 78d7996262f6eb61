//! `cargo xtask docs`: every configuration in the documents is one the gateway takes.
//!
//! A fence that starts with ```` ```yaml torana ```` holds a whole configuration; `torana check` must accept it
//! without a warning.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::workspace::{self, cargo};

const USAGE: &str = "\
usage: cargo xtask docs

Runs `torana check` on every fence of README.md and docs/ that starts with ```yaml torana.
";

const FENCE: &str = "```yaml torana";

/// `cargo xtask docs`.
pub(crate) fn run(args: &[String]) -> Outcome<()> {
    if !args.is_empty() {
        return crate::usage(args, USAGE);
    }
    workspace::output(cargo().args(["build", "--quiet", "--package", "torana"]))?;
    check(&workspace::target_directory()?.join("debug").join("torana"))
}

/// Checks all snippets with the program at `binary`.
pub(crate) fn check(binary: &Path) -> Outcome<()> {
    let root = workspace::root();
    let mut documents = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    documents.extend(workspace::files(&root.join("docs"), ".md")?);
    let directory = workspace::target_directory()?.join("snippets");
    fs::create_dir_all(&directory).map_err(|error| format!("cannot make the directory for snippets: {error}"))?;
    let (mut count, mut wrong) = (0, Vec::new());
    for document in documents {
        let text = workspace::read(&document)?;
        for (line, _) in
            (1..).zip(text.lines()).filter(|(_, line)| line.starts_with("```yaml") && line.trim_end() != FENCE)
        {
            wrong.push(format!(
                "{}:{line}: a configuration nobody checks; start it with {FENCE}",
                workspace::relative(&document)
            ));
        }
        for (line, text) in fences(&text) {
            count += 1;
            let shown = format!("{}:{line}", workspace::relative(&document));
            if let Some(problem) = problem(binary, &directory, &text)? {
                wrong.push(format!("{shown}:\n{problem}"));
            }
        }
    }
    if count == 0 {
        return Err(format!("no document has a fence that starts with {FENCE}"));
    }
    if wrong.is_empty() {
        println!("{count} snippets are valid configurations");
        return Ok(());
    }
    Err(format!("{} problems with {count} snippets:\n{}", wrong.len(), wrong.join("\n")))
}

/// The fences with the line each begins in.
fn fences(text: &str) -> Vec<(usize, String)> {
    let mut fences: Vec<(usize, String)> = Vec::new();
    let mut is_inside = false;
    for (index, line) in text.lines().enumerate() {
        match fences.last_mut() {
            Some(_) if is_inside && line.starts_with("```") => is_inside = false,
            Some((_, snippet)) if is_inside => snippet.extend([line, "\n"]),
            _ if line.trim_end() == FENCE => {
                is_inside = true;
                fences.push((index + 1, String::new()));
            }
            _ => {}
        }
    }
    fences
}

fn problem(binary: &Path, directory: &Path, text: &str) -> Outcome<Option<String>> {
    let file: PathBuf = directory.join("snippet.yaml");
    fs::write(&file, text).map_err(|error| format!("cannot write a snippet: {error}"))?;
    // Certificates are read when a configuration is checked, so snippets with TLS find some.
    certificates(directory)?;
    let output = Command::new(binary)
        .arg("check")
        .arg(&file)
        .current_dir(directory)
        .output()
        .map_err(|error| format!("cannot start {}: {error}", binary.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let is_clean = output.status.success() && !said.contains("warning");
    Ok((!is_clean).then(|| said.into_owned()))
}

/// A self-signed certificate as `certs/shop.pem` and `certs/shop.key`, made once.
fn certificates(directory: &Path) -> Outcome<()> {
    let certs = directory.join("certs");
    if certs.join("shop.pem").is_file() {
        return Ok(());
    }
    fs::create_dir_all(&certs).map_err(|error| format!("cannot make the directory for certificates: {error}"))?;
    let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=shop.example \
                   -addext subjectAltName=DNS:shop.example -keyout shop.key -out shop.pem";
    let output = Command::new("openssl")
        .current_dir(certs)
        .args(request.split_whitespace())
        .output()
        .map_err(|error| format!("cannot start openssl: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_fences_are_taken() {
        let text = "a\n```yaml torana\nx: 1\ny: 2\n```\n```yaml\nz: 3\n```\n```yaml torana\n```\n";
        assert_eq!(fences(text), [(2, "x: 1\ny: 2\n".to_owned()), (9, String::new())]);
    }
}
