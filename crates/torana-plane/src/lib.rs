//! The data plane: what happens to a request, the same for every request.
//!
//! A configuration is compiled into a [`plan::Plan`], which is immutable; a
//! [`swap::PlanCell`] hands the newest one to the workers; each worker runs
//! [`worker::WorkerPlane`], whose request path is [`path`], seven steps in
//! order. The plane knows neither policies nor targets by name: it gets their
//! registries as data, and if it needs to name one, the trait is missing
//! something.

pub mod aside;
mod beside;
pub mod compile;
pub mod directory;
pub mod explain;
pub mod forwarder;
mod json;
pub mod log;
pub mod matcher;
pub mod metrics;
pub mod path;
pub mod plan;
pub mod refusals;
pub mod swap;
mod tools;
pub mod view;
pub mod worker;

#[cfg(test)]
mod testing;
