//! See the library.

fn main() -> std::process::ExitCode {
    eidos_server::main(health_probe::service())
}
