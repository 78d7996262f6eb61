//! Sends the request to an upstream.

use std::sync::Arc;
use torana_core::diagnostic::Diagnostic;
use torana_core::exchange::Exchange;
use torana_core::target::{Answer, Names, Target, TargetKind, UpstreamId, find_upstream};
use torana_core::written::{Spanned, Written};

/// The target `upstream: NAME`.
pub struct Upstream {
    id: UpstreamId,
    name: String,
}

impl TargetKind for Upstream {
    const NAME: &'static str = "upstream";
    type Config = Spanned<String>;

    fn build(name: Self::Config, _: &Written, names: &dyn Names) -> Result<Arc<dyn Target>, Vec<Diagnostic>> {
        let id = find_upstream(&name, names).map_err(|problem| vec![*problem])?;
        Ok(Arc::new(Upstream { id, name: name.value }))
    }
}

impl Target for Upstream {
    fn answer<'a>(&'a self, _: &'a mut Exchange) -> Answer<'a> {
        Answer::Forward(self.id)
    }

    fn describe(&self) -> String {
        format!("upstream {}", self.name)
    }

    fn upstreams(&self) -> Vec<UpstreamId> {
        vec![self.id]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::target::entry;
    use torana_core::testing::target_transcript;

    fn run(config: &str) -> String {
        target_transcript(&entry::<Upstream>(), config, &[], "GET / HTTP/1.1\nHost: a")
    }

    #[test]
    fn it_forwards_to_the_named_upstream() {
        assert_eq!(run(r#""orders""#), "upstream orders\nforward to 1\n");
        assert_eq!(
            run(r#""user""#),
            "error config.unknown_upstream: there is no upstream `user` (did you mean `users`?)\n"
        );
    }
}
