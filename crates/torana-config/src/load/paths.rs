//! Makes the paths of a decoded configuration independent of the file they stood in.

use std::path::{Path, PathBuf};

use torana_core::written::Spanned;

use crate::model::Config;
use crate::sources::Sources;

/// Resolves every path in place. Spans stay.
pub(super) fn resolve(config: &mut Config, sources: &Sources) {
    let one = |path: &mut Spanned<PathBuf>| path.value = sources.resolve(path.span, &path.value);
    for listener in &mut config.listeners {
        let Some(tls) = &mut listener.value.tls else {
            continue;
        };
        for certificate in &mut tls.certificates {
            one(&mut certificate.value.cert);
            one(&mut certificate.value.key);
        }
        if let Some(client_auth) = &mut tls.client_auth {
            one(&mut client_auth.ca);
        }
    }
    for upstream in config.upstreams.values_mut() {
        upstream.value.discover.0.iter_mut().filter_map(|discover| discover.value.file.as_mut()).for_each(one);
        let Some(tls) = &mut upstream.value.tls else {
            continue;
        };
        for path in [&mut tls.value.ca, &mut tls.value.cert, &mut tls.value.key].into_iter().flatten() {
            one(path);
        }
    }
    for path in [&mut config.upgrade.socket, &mut config.state_dir].into_iter().flatten() {
        one(path);
    }
    if let Some(log) = config.access_log.on_mut()
        && !matches!(log.output.value.as_str(), "stdout" | "stderr")
    {
        let path = sources.resolve(log.output.span, Path::new(&log.output.value));
        log.output.value = path.to_string_lossy().into_owned();
    }
}
