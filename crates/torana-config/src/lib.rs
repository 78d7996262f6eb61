//! What was written: reads configuration files, checks them and says what is wrong.
//!
//! [`load()`] goes from a path to a [`SoundConfig`] or to diagnostics about all problems at once;
//! [`report`] shows them; [`schema`] describes the model to editors. Formats and file layout end
//! here: everything behind sees only [`model`].

pub mod model;
pub mod report;
pub mod schema;

mod codes;
mod conceal;
mod document;
mod endpoint_file;
mod fingerprint;
mod gaps;
mod interpolate;
mod load;
mod merge;
mod remnant;
mod shown;
mod sources;
mod validate;

pub use codes::CODES;
pub use endpoint_file::endpoints_of_file;
pub use fingerprint::Fingerprint;
pub use interpolate::{Environment, ProcessEnvironment};
pub use load::{Loaded, Loader, load, load_text};
pub use remnant::{Remnant, SoundConfig};
pub use schema::Kinds;
pub use shown::{Document, documents, redacted};
pub use sources::{Place, Source, Sources};
