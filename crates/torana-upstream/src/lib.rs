//! Who answers behind us: upstreams, their endpoints and how one is chosen.

pub mod spec;
