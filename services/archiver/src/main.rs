//! The archiver program.

fn main() -> std::process::ExitCode {
    eidos_server::main(archiver::service())
}
