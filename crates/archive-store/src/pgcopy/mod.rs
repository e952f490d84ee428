//! Values of COPY BINARY as archives hold them, and a digest that never looks at values.

mod digester;
pub(crate) mod numeric;
pub(crate) mod time;

pub use digester::CopyDigester;
