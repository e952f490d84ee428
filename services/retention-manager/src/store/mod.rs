//! Every SQL statement of this service.

pub(crate) mod history;
pub(crate) mod plans;
