//! The retention-manager program.

fn main() -> std::process::ExitCode {
    eidos_server::main(retention_manager::service())
}
