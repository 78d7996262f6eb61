//! The control plane: what runs beside requests.
//!
//! It takes up new configurations ([`supervisor`]), notices when there is one
//! ([`providers`], [`signals`]), shows what is running ([`admin`]), writes the
//! access log ([`log_writer`]), keeps earlier configurations to go back to
//! ([`revisions`]), tells the service manager how things are
//! ([`service_manager`]) and stops the gateway without losing requests
//! ([`shutdown`]).
//!
//! Deliberately missing: any knowledge of the data plane. What is asked of it
//! are the traits in [`running`], which the binary implements; so nothing in
//! here can reach into the path of a request.

pub mod admin;
pub mod diff;
pub mod log_writer;
pub mod notice;
mod priority;
pub mod providers;
pub mod revisions;
pub mod running;
pub mod service_manager;
pub mod shutdown;
pub mod signals;
pub mod status;
pub mod supervisor;
mod time;
