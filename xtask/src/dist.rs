//! `cargo xtask dist`: the gateway as it is shipped, optimised for what it has been seen to do.
//!
//! Profile-guided optimisation in three steps: a build that counts what it executes, the loads of
//! [`bench::train`](crate::bench::train), and the release build again with the counts. The compiler inlines what is often
//! called where it is called and keeps what is rare apart. A profile is made anew each time, never kept: it holds for one
//! compiler and one state of the code and all dependencies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::bench::train;
use crate::workspace::{self, cargo, output, succeed};

const USAGE: &str = "\
usage: cargo xtask dist

Builds target/dist/torana: the release build, optimised by a profile of its own work (two release builds and two minutes
of load). Needs the compiler's llvm-profdata (`rustup component add llvm-tools`) and the benchmark's load generators.
RUSTFLAGS are not looked at.
";

/// Has the linker put what is often executed into one section, of 1.5 MB; otherwise it lies all over 20. Fewer pages are
/// touched; no difference in time was measurable.
const TOGETHER: &str = "-Clink-arg=-Wl,-z,keep-text-section-prefix";
/// What stands between flags in `CARGO_ENCODED_RUSTFLAGS`.
const SEPARATOR: &str = "\u{1f}";

/// `cargo xtask dist`.
pub(crate) fn run(args: &[String]) -> Outcome<()> {
    if !args.is_empty() {
        return crate::usage(args, USAGE);
    }
    // Before a build of minutes, not after it.
    train::require()?;
    let compiler = Compiler::find()?;
    let place = workspace::target_directory()?.join("dist");
    let profiles = place.join("profiles");
    // Counts of an older build would be added to.
    if profiles.exists() {
        fs::remove_dir_all(&profiles).map_err(|e| format!("cannot remove {}: {e}", workspace::relative(&profiles)))?;
    }
    println!("=== the build that counts");
    let counting = compiler.build(&place.join("counting"), &format!("-Cprofile-generate={}", profiles.display()))?;
    println!("=== what it is to be good at");
    let this = std::env::current_exe().map_err(|e| format!("cannot find this program's own file: {e}"))?;
    succeed(Command::new(this).arg("bench-train").arg(&counting))?;
    let profile = place.join("torana.profdata");
    let mut merge = Command::new(&compiler.profdata);
    succeed(merge.args(["merge", "--sparse", "-o"]).arg(&profile).args(raw(&profiles)?))?;
    println!("=== the build that knows");
    let built = compiler.build(
        &place.join("optimised"),
        &[&format!("-Cprofile-use={}", profile.display()), TOGETHER].join(SEPARATOR),
    )?;
    let shipped = place.join("torana");
    fs::copy(&built, &shipped).map_err(|e| format!("cannot write {}: {e}", workspace::relative(&shipped)))?;
    println!("{}", workspace::relative(&shipped));
    Ok(())
}

/// The compiler in use.
struct Compiler {
    /// The platform it runs on, as it calls it.
    host: String,
    /// Its own: formats of profiles differ from one LLVM to the next.
    profdata: PathBuf,
}

impl Compiler {
    fn find() -> Outcome<Compiler> {
        let about = output(Command::new("rustc").arg("-vV"))?;
        let host = about.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc -vV names no host")?;
        let libraries = output(Command::new("rustc").args(["--print", "target-libdir"]))?;
        let profdata = Path::new(libraries.trim()).with_file_name("bin").join("llvm-profdata");
        if !profdata.is_file() {
            return Err("the compiler's llvm-profdata is not installed: `rustup component add llvm-tools`".to_owned());
        }
        Ok(Compiler { host: host.to_owned(), profdata })
    }

    /// The release build with `flags`, in a directory of its own. Answers where the gateway is.
    fn build(&self, directory: &Path, flags: &str) -> Outcome<PathBuf> {
        let mut command = cargo();
        // With a target named, the flags are for the gateway alone and not for what runs while it is built.
        command.args(["build", "--release", "--package", "torana", "--target", &self.host, "--target-dir"]);
        succeed(command.arg(directory).env("CARGO_ENCODED_RUSTFLAGS", flags))?;
        Ok(directory.join(&self.host).join("release").join("torana"))
    }
}

/// What the counting build has left.
fn raw(profiles: &Path) -> Outcome<Vec<PathBuf>> {
    let found = workspace::files(profiles, ".profraw")?;
    if found.is_empty() {
        return Err(format!(
            "the loads left no profile in {}: the gateway did not end by itself",
            workspace::relative(profiles)
        ));
    }
    Ok(found)
}
