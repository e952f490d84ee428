//! The binary format of COPY: its frame, and a digest that never looks at values.

mod digester;
pub(crate) mod numeric;
pub(crate) mod scanner;
pub(crate) mod time;

pub use digester::CopyDigester;

/// What every stream begins with: the signature, no flags, no extension.
pub const COPY_HEADER: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What every stream ends with.
pub const COPY_TRAILER: [u8; 2] = [0xff, 0xff];
