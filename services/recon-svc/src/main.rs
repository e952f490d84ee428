//! The recon-svc program.

fn main() -> std::process::ExitCode {
    eidos_server::main(recon_svc::service())
}
