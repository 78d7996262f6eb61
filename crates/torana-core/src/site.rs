//! What a policy or target may ask of the plan it is built for, and tell it.

use crate::consumer::{Consumers, Nobody};
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::event::Tally;
use crate::operation::{Operate, Operation};
use crate::store::{MEMORY, Store};
use crate::written::{KindUse, Spanned, Written};
use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// An upstream of the running plan, by position.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct UpstreamId(pub u32);

/// The plan being built, as one policy or target sees it.
pub trait Site {
    /// The upstream called `name`, if the configuration has it.
    fn upstream(&self, name: &str) -> Option<UpstreamId>;
    /// The names of all upstreams.
    fn upstreams(&self) -> Vec<&str>;
    /// The service at `url`, which stands in the policy's own configuration
    /// and needs no entry under `upstreams`: a key set, an authority to ask.
    /// TLS is verified by the system's authorities; who needs more writes an
    /// upstream. Send to it with [`Outbound`](crate::exchange::outbound::Outbound).
    ///
    /// # Errors
    /// It is no `http` or `https` URL.
    fn service(&self, url: &Spanned<String>) -> Result<Service, Box<Diagnostic>>;
    /// Who asks, in all gateways of this configuration and all its plans: the
    /// route, the kind, and its number among those of its kind there.
    fn owner(&self) -> &str;
    /// The store called `name`, if the configuration has it; see
    /// [`find_store`].
    fn store(&self, name: &str) -> Option<Arc<dyn Store>>;
    /// The names of all stores.
    fn stores(&self) -> Vec<&str>;
    /// Whether all of the configuration at hand is there. If not, the rest is
    /// only looked through for more errors, and a lack in it proves nothing.
    fn is_whole(&self) -> bool;
    /// What the path of the route captures, in order; nothing for a policy of
    /// all routes.
    fn captured_names(&self) -> &[String] {
        &[]
    }
    /// Takes a warning: what is wrong without keeping the thing from being
    /// built.
    fn warn(&self, warning: Diagnostic);
    /// Where the events are counted that its kind declares. It goes on over
    /// reloads, and is exported as `gateway_policy_events_total`.
    fn tally(&self) -> Arc<Tally>;
    /// The callers that the gateway itself holds credentials of.
    fn consumers(&self) -> Arc<dyn Consumers> {
        Arc::new(Nobody)
    }
    /// What `plans` says under `name`, for a policy to read the part that is
    /// its own.
    fn plan(&self, name: &str) -> Option<&Written> {
        let _ = name;
        None
    }
    /// The names of all plans.
    fn plans(&self) -> Vec<&str> {
        Vec::new()
    }
    /// Takes somebody who does an operation that its kind declares.
    fn offer(&self, operation: &'static Operation, operate: Arc<dyn Operate>);
    /// What outlives plans; see [`keep`].
    fn keep(&self, name: &str, kind: TypeId, make: &mut dyn FnMut() -> Kept) -> Kept;
    /// The same, for all policies and targets together; see [`share`].
    fn share(&self, name: &str, kind: TypeId, make: &mut dyn FnMut() -> Kept) -> Kept;
    /// Builds a policy that is written inside the configuration of this one.
    /// What comes of it is known to the module `policy` only, whose `inner`
    /// asks for it.
    ///
    /// # Errors
    /// There is no such policy, or it cannot be built.
    fn policy(&self, used: &KindUse) -> Result<Kept, Vec<Diagnostic>>;
}

/// A service and what it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where it is.
    pub upstream: UpstreamId,
    /// What the URL says behind the host; begins with `/`.
    pub path_and_query: String,
}

/// State that is handed on from plan to plan.
pub type Kept = Arc<dyn Any + Send + Sync>;

/// State that outlives plans: the value that `make` made for the same policy
/// or target of the same route in the plan before, or a new one.
///
/// `name` says what the state depends on: whoever counts per minute and is
/// changed to count per hour puts the window into the name, and begins anew.
/// What no plan asks for any more is dropped with the last plan that did.
pub fn keep<T: Send + Sync + 'static>(site: &(impl Site + ?Sized), name: &str, make: impl FnOnce() -> T) -> Arc<T> {
    typed(make, |kind, make| site.keep(name, kind, make))
}

/// State as with [`keep`] that belongs to no policy in particular: whoever asks
/// for it under the same name and type gets the same. `name` begins with the
/// name of the kind, so that kinds do not meet.
pub fn share<T: Send + Sync + 'static>(site: &(impl Site + ?Sized), name: &str, make: impl FnOnce() -> T) -> Arc<T> {
    typed(make, |kind, make| site.share(name, kind, make))
}

fn typed<T: Send + Sync + 'static>(
    make: impl FnOnce() -> T,
    keep: impl FnOnce(TypeId, &mut dyn FnMut() -> Kept) -> Kept,
) -> Arc<T> {
    let mut make = Some(make);
    let kept = keep(TypeId::of::<T>(), &mut || match make.take() {
        Some(make) => Arc::new(make()),
        // Asked twice: nothing of any use.
        None => Arc::new(()),
    });
    kept.downcast().unwrap_or_else(|_| unreachable!("state is kept by its type"))
}

/// The upstream that a configuration names.
///
/// # Errors
/// There is none of that name; the diagnostic stands at it.
pub fn find_upstream(name: &Spanned<String>, site: &(impl Site + ?Sized)) -> Result<UpstreamId, Box<Diagnostic>> {
    site.upstream(name).ok_or_else(|| {
        let known = site.upstreams();
        let hint = match did_you_mean(name, known.iter().copied()).filter(|_| name.raw().is_none()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "there are no upstreams: add `upstreams`".to_owned(),
            None => "add it to `upstreams`".to_owned(),
        };
        let message = format!("there is no upstream {}", name.shown());
        Box::new(Diagnostic::error("config.unknown_upstream", message).at(name.span).hint(hint))
    })
}

/// Checks that there is a plan of the name that a policy was given.
///
/// # Errors
/// There is none; the diagnostic stands at it.
pub fn find_plan(name: &Spanned<String>, site: &(impl Site + ?Sized)) -> Result<(), Box<Diagnostic>> {
    if site.plan(name).is_some() {
        return Ok(());
    }
    let known = site.plans();
    let hint = match did_you_mean(name, known.iter().copied()).filter(|_| name.raw().is_none()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "add it to `plans`".to_owned(),
    };
    let message = format!("there is no plan {}", name.shown());
    Err(Box::new(Diagnostic::error("config.unknown_plan", message).at(name.span).hint(hint)))
}

/// The store that a configuration names; `None` is [`MEMORY`].
///
/// # Errors
/// There is none of that name; the diagnostic stands at it.
pub fn find_store(
    name: &Spanned<String>,
    site: &(impl Site + ?Sized),
) -> Result<Option<Arc<dyn Store>>, Box<Diagnostic>> {
    if name.as_str() == MEMORY {
        return Ok(None);
    }
    site.store(name).map(Some).ok_or_else(|| {
        let known = site.stores();
        let names = known.iter().copied().chain([MEMORY]);
        let hint = match did_you_mean(name, names).filter(|_| name.raw().is_none()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => format!("there are no stores: add `stores`, or write `{MEMORY}`"),
            None => "add it to `stores`".to_owned(),
        };
        let message = format!("there is no store {}", name.shown());
        Box::new(Diagnostic::error("config.unknown_store", message).at(name.span).hint(hint))
    })
}

/// Where a plan keeps the state of its policies and targets.
#[derive(Default)]
pub struct Keepsakes {
    list: RefCell<HashMap<Key, Kept>>,
}

/// Whose it is, what it is called, and its type.
type Key = (Box<str>, Box<str>, TypeId);

/// What a plan kept, when it is built.
#[derive(Clone, Default)]
pub struct KeptList(HashMap<Key, Kept>);

/// Who owns what is shared; no policy or target is called nothing.
pub const EVERYBODY: &str = "*";

impl Keepsakes {
    /// What `owner` keeps under `name`: from this plan if it has asked before,
    /// else from the plan `before`, else new.
    pub fn keep(
        &self,
        before: Option<&KeptList>,
        owner: &str,
        name: &str,
        kind: TypeId,
        make: &mut dyn FnMut() -> Kept,
    ) -> Kept {
        let key: Key = (owner.into(), name.into(), kind);
        let mut list = self.list.borrow_mut();
        if let Some(known) = list.get(&key) {
            return known.clone();
        }
        let kept = before.and_then(|before| before.0.get(&key)).cloned().unwrap_or_else(make);
        list.insert(key, kept.clone());
        kept
    }

    /// The finished list.
    #[must_use]
    pub fn into_list(self) -> KeptList {
        KeptList(self.list.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::nowhere::Nowhere;
    use crate::testing::TestNames;
    use std::sync::Mutex;

    #[test]
    fn state_is_found_again_by_owner_name_and_type() {
        let make = |value: u32| move || -> Kept { Arc::new(Mutex::new(value)) };
        let kind = TypeId::of::<Mutex<u32>>();
        let value = |kept: &Kept| *kept.downcast_ref::<Mutex<u32>>().unwrap().lock().unwrap();
        let first = Keepsakes::default();
        let made = first.keep(None, "a", "counter", kind, &mut make(1));
        assert_eq!(value(&made), 1);
        assert_eq!(value(&first.keep(None, "a", "counter", kind, &mut make(2))), 1, "asked again in the same plan");
        let first = first.into_list();

        let second = Keepsakes::default();
        assert_eq!(value(&second.keep(Some(&first), "a", "counter", kind, &mut make(3))), 1, "kept");
        assert_eq!(value(&second.keep(Some(&first), "b", "counter", kind, &mut make(4))), 4, "another owner");
        assert_eq!(value(&second.keep(Some(&first), "a", "per hour", kind, &mut make(5))), 5, "another name");
        // What the second plan did not ask for is not in the third.
        let third = Keepsakes::default();
        let second = {
            let none = Keepsakes::default();
            drop(second);
            none.into_list()
        };
        assert_eq!(value(&third.keep(Some(&second), "a", "counter", kind, &mut make(6))), 6, "forgotten");
    }

    #[test]
    fn stores_are_found_by_name_and_memory_needs_none() {
        let mut site = TestNames::new("r", "/x");
        let said = |site: &TestNames, name: &str| match find_store(&Spanned::from(name.to_owned()), site) {
            Ok(store) => store.is_some().to_string(),
            Err(problem) => format!("{}: {}", problem.code, problem.hint.clone().unwrap_or_default()),
        };
        assert_eq!(said(&site, "shared"), "config.unknown_store: there are no stores: add `stores`, or write `memory`");
        site.stores.insert("shared".to_owned(), Arc::new(Nowhere));
        assert_eq!((&*said(&site, "shared"), &*said(&site, "memory")), ("true", "false"));
        assert_eq!(said(&site, "sharde"), "config.unknown_store: did you mean `shared`?");
        assert_eq!(said(&site, "memroy"), "config.unknown_store: did you mean `memory`?");
    }

    #[test]
    fn what_is_kept_has_the_type_it_was_made_with() {
        let site = TestNames::new("r", "/x");
        let one = keep(&site, "n", || 1_u32);
        assert_eq!((*one, *keep(&site, "n", || 2_u32), *keep(&site, "n", || 3_u64)), (1, 1, 3));
    }
}
