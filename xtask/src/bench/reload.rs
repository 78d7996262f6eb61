//! `cargo xtask bench reload`: what reloads of a large configuration do to the latency of requests.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Outcome;
use crate::bench::beside::{self, Gateway, millis};
use crate::bench::options::{self, BesideOptions};
use crate::bench::origin::Origin;
use crate::bench::supervise::{self, Session};

/// `cargo xtask bench reload`.
pub(super) fn run(args: &[String]) -> Outcome<()> {
    if options::wants_help(args) {
        print!("{}{}", options::RELOAD_USAGE, options::BESIDE_USAGE);
        return Ok(());
    }
    let options = BesideOptions::parse_reload(args)?;
    supervise::require(&beside::PROGRAMS)?;
    let session = Session::enter(options::LOAD_CORE)?;
    let origin = Origin::start(&session)?;
    let mut files = None;
    let gateway = Gateway::start(&session, &options, |addresses| {
        let variants = [0, 1].map(|variant| {
            let text = beside::configuration(&options, addresses, origin.address);
            format!(
                "{text}  - {{ name: variant, match: {{ path: /variant-{variant} }}, respond: {{ status: 204 }} }}\n"
            )
        });
        let file = session.write("torana.yaml", &variants[0])?;
        let variants = [session.write("variant-0", &variants[0])?, session.write("variant-1", &variants[1])?];
        files = Some(Files { file: file.clone(), variants, turn: AtomicBool::new(false) });
        Ok(file)
    })?;
    let files = files.ok_or("no configuration was written")?;
    let reload = || {
        files.swap()?;
        gateway.admin("POST", "/reload")
    };
    let instead = || {
        files.swap()?;
        gateway.admin("GET", "/readyz")
    };
    let took = (0..3).map(|_| reload()).collect::<Outcome<Vec<_>>>()?;
    let took = took.iter().map(|took| millis(*took)).collect::<Vec<_>>().join(", ");
    let alone = format!("one reload without traffic, one route changed: {took}");
    beside::compare(&gateway, &options, "reloads", &alone, &reload, &instead)
}

/// Two configurations that differ in one route.
struct Files {
    file: PathBuf,
    /// Both, written before anything is timed: writing a megabyte on the core of the load would be charged to the
    /// gateway.
    variants: [PathBuf; 2],
    turn: AtomicBool,
}

impl Files {
    /// Puts the other one in place.
    fn swap(&self) -> Outcome<()> {
        let turn = !self.turn.fetch_xor(true, Ordering::Relaxed);
        let fresh = self.file.with_extension("new");
        fs::hard_link(&self.variants[usize::from(turn)], &fresh)
            .and_then(|()| fs::rename(&fresh, &self.file))
            .map_err(|error| format!("cannot replace {}: {error}", self.file.display()))
    }
}
