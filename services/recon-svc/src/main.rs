//! The recon-svc program.

fn main() -> std::process::ExitCode {
    eidos_runtime::main(recon_svc::service())
}
