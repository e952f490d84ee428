//! The archiver program.

fn main() {}
