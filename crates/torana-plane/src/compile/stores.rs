//! The stores that policies name.

use super::Context;
use crate::plan::PlanStore;
use torana_config::Fingerprint;
use torana_config::model::{Config, StoreUse};
use torana_core::diagnostic::{Diagnostic, did_you_mean};
use torana_core::written::Spanned;

/// Makes every store, or takes it over with its connections from the plan
/// before if nothing about it has changed. One that cannot be made is an error.
pub(super) fn compile(config: &Config, context: &mut Context<'_>) -> Vec<PlanStore> {
    config.stores.iter().filter_map(|(name, written)| store(name, written, context)).collect()
}

fn store(name: &Spanned<String>, written: &Spanned<StoreUse>, context: &mut Context<'_>) -> Option<PlanStore> {
    let kind_use = &written.0;
    let kinds = context.registries.stores;
    let Some(kind) = kinds.iter().find(|kind| kind.name == *kind_use.name) else {
        let near = did_you_mean(&kind_use.name, kinds.iter().map(|kind| kind.name));
        context.report(
            Diagnostic::error("config.unknown_store_kind", format!("there is no store {}", kind_use.name.shown()))
                .at(kind_use.name.span)
                .maybe_hint(near.map(|near| format!("did you mean `{near}`?"))),
        );
        return None;
    };
    let fingerprint = Fingerprint::of(&kind_use.config);
    let before = context.previous.into_iter().flat_map(|plan| &plan.stores);
    let same =
        |store: &&PlanStore| *store.name == **name && store.kind == kind.name && store.fingerprint == fingerprint;
    if let Some(known) = before.into_iter().find(same) {
        return Some(known.clone());
    }
    match (kind.build)(&kind_use.config) {
        Ok(store) => Some(PlanStore { name: name.as_str().into(), kind: kind.name, fingerprint, store }),
        Err(diagnostics) => {
            context.diagnostics.extend(diagnostics);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::plan;
    use std::sync::Arc;
    use torana_core::testing::show_diagnostics;

    const ONE: &str = r#"{ "stores": { "one": { "fake": { "number": 1 } }, "two": { "fake": {} } } }"#;

    #[test]
    fn a_store_survives_plans_until_it_is_changed() {
        let first = plan(ONE, None).unwrap();
        let second = plan(ONE, Some(&first)).unwrap();
        let changed = plan(&ONE.replace('1', "2"), Some(&second)).unwrap();
        let is_same = |at: usize| {
            let [first, second, changed] = [&first, &second, &changed].map(|plan| &plan.stores[at]);
            assert_eq!(*first.name, *changed.name);
            (Arc::ptr_eq(&first.store, &second.store), Arc::ptr_eq(&second.store, &changed.store))
        };
        assert_eq!((first.stores.len(), changed.stores.len()), (2, 2));
        assert_eq!((is_same(0), is_same(1)), ((true, false), (true, true)));
    }

    #[test]
    fn a_kind_that_does_not_exist_and_the_name_of_the_memory_are_refused() {
        let said = |config: &str| show_diagnostics(&plan(config, None).unwrap_err());
        let shown = said(r#"{ "stores": { "one": { "fakke": {} } } }"#);
        assert!(shown.contains("config.unknown_key") && shown.contains("did you mean `fake`"), "{shown}");
        assert!(said(r#"{ "stores": { "memory": { "fake": {} } } }"#).contains("config.bad_name"));
    }
}
