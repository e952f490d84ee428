//! The aggregator program.

fn main() -> std::process::ExitCode {
    eidos_server::main(aggregator::service())
}
