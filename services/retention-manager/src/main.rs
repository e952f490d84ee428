//! The retention-manager program.

fn main() -> std::process::ExitCode {
    eidos_runtime::main(retention_manager::service())
}
