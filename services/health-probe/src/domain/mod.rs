//! Pure decisions: what an address means, what an answer means, what a result changes.

pub mod address;
pub mod health_body;
pub mod observation;
pub mod reducer;
