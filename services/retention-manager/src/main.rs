//! The retention-manager program.

fn main() {}
