//! The order-expirer program.

fn main() -> std::process::ExitCode {
    eidos_server::main(order_expirer::service())
}
