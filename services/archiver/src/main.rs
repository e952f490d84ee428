//! The archiver program.

fn main() -> std::process::ExitCode {
    eidos_runtime::main(archiver::service())
}
