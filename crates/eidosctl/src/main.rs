//! The operator's tool: migrate, inspect, trigger, pause. `eidosctl --help` says the rest.

use std::process::ExitCode;

fn main() -> ExitCode {
    eidosctl::main()
}
