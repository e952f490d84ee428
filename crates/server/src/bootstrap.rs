//! [`main`]: the whole program of a service.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use eidos_core::CoreError;
use eidos_core::lease::LeaseError;
use eidos_runtime::{BadRunRequest, Drained, Foreground, RunRequest};
use eidos_settings::{Effective, Input, ServiceSettings, SuiteSettings};
use eidos_telemetry::{LogFormat, TelemetryGuard, TelemetryOptions, TraceOptions};
use eidos_types::{SharedClock, SystemClock};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{self, Action, Arguments, Askable, Format, Question, RunArgs};
use crate::service::Service;
use crate::{ServiceDefinition, tables};

/// Another run holds the lease (`EX_TEMPFAIL`): the same command may succeed later.
const EXIT_BUSY: u8 = 75;
/// A mistake on the command line: clap's own code for usage.
const EXIT_USAGE: u8 = 2;
/// How often progress is shown in the foreground.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// How long threads that do not end may hold the process back.
const RUNTIME_CLOSE: Duration = Duration::from_secs(2);

/// Runs a service: reads the command line and the settings, does what it is told and says with its exit code how it
/// went: 0 done, 1 failed, 75 busy, 78 settings that cannot be used.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the whole program: nobody needs the definition afterwards"
)]
pub fn main<S: ServiceSettings>(definition: ServiceDefinition<S>) -> ExitCode {
    let queries = askable(&definition);
    let command = cli::command(
        definition.name,
        definition.about,
        env!("CARGO_PKG_VERSION"),
        definition.commands,
        &queries,
    );
    let arguments = match cli::parse(command, definition.commands, &queries, std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(shown) => {
            let _closed_pipe = shown.print();
            return ExitCode::from(u8::try_from(shown.exit_code()).unwrap_or(1));
        }
    };
    if let Action::Completions(shell) = arguments.action {
        return completions(&definition, shell);
    }
    let settings = match load::<S>(&arguments) {
        Ok(settings) => Arc::new(settings),
        Err(errors) => {
            complain(&errors.to_string());
            return ExitCode::from(eidos_settings::EXIT_CODE);
        }
    };
    if arguments.action == Action::CheckConfig {
        for warning in settings.warnings() {
            complain(&format!("warning: {warning}"));
        }
        return say(&eidos_settings::render(&settings));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::anyhow!("cannot start the runtime: {error}")),
    };
    let code = runtime.block_on(act(&definition, settings, arguments.action));
    // A run that cannot be stopped sits in a thread: it must not keep the process.
    runtime.shutdown_timeout(RUNTIME_CLOSE);
    code
}

fn askable<S: ServiceSettings>(definition: &ServiceDefinition<S>) -> Vec<Askable> {
    let queries = definition.queries.iter();
    queries
        .map(|query| Askable {
            name: query.name,
            about: query.about,
            argument: query.argument,
        })
        .collect()
}

fn completions<S: ServiceSettings>(
    definition: &ServiceDefinition<S>,
    shell: clap_complete::Shell,
) -> ExitCode {
    let mut command = cli::command(
        definition.name,
        definition.about,
        env!("CARGO_PKG_VERSION"),
        definition.commands,
        &askable(definition),
    );
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, definition.name, &mut script);
    say(&String::from_utf8_lossy(&script))
}

fn load<S: ServiceSettings>(arguments: &Arguments) -> Result<Effective<S>, eidos_settings::SettingsErrors> {
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    eidos_settings::load_to_start(&Input {
        file: arguments.config.as_deref(),
        env,
    })
}

async fn act<S: ServiceSettings>(
    definition: &ServiceDefinition<S>,
    settings: Arc<Effective<S>>,
    action: Action,
) -> ExitCode {
    // Fails only when a provider is installed already, which is what is wanted.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let _telemetry = match start_telemetry(definition.name, &settings.suite) {
        Ok(guard) => guard,
        Err(error) => return fail(&error.into()),
    };
    for warning in settings.warnings() {
        tracing::warn!(%warning, "a key of the settings looks misspelt");
    }
    // Before anything connects: series that are created at zero then would be lost.
    let metrics = matches!(action, Action::Serve).then(eidos_telemetry::install_metrics);
    let metrics = match metrics.transpose() {
        Ok(metrics) => metrics,
        Err(error) => return fail(&error.into()),
    };
    let clock: SharedClock = Arc::new(SystemClock::default());
    let service = match Service::connect(definition, settings, clock).await {
        Ok(service) => service,
        Err(error) => return fail(&error),
    };
    let service = match metrics {
        Some(metrics) => service.with_metrics(metrics),
        None => service,
    };
    match action {
        Action::Serve => serve(service).await,
        Action::Run(args) => run(&service, args).await,
        Action::Jobs => say(&tables::jobs(&service)),
        Action::Ask(question) => ask(&service, question).await,
        // Answered before the settings were needed.
        Action::CheckConfig | Action::Completions(_) => ExitCode::SUCCESS,
    }
}

fn start_telemetry(
    name: &str,
    suite: &SuiteSettings,
) -> Result<TelemetryGuard, eidos_telemetry::TelemetryError> {
    let options = TelemetryOptions {
        service: name.to_owned(),
        version: suite.service.version.clone(),
        environment: suite.service.env.to_string(),
        log_level: suite.telemetry.log_level.clone(),
        log_format: match suite.telemetry.log_format {
            eidos_settings::LogFormat::Json => LogFormat::Json,
            eidos_settings::LogFormat::Text => LogFormat::Text,
        },
        otlp_endpoint: suite.telemetry.otlp_endpoint.clone(),
    };
    let traces = TraceOptions {
        sample_ratio: suite.telemetry.trace_sample_ratio,
        export_timeout: suite.telemetry.otlp_timeout,
    };
    eidos_telemetry::init_with(&options, traces)
}

async fn serve(service: Service) -> ExitCode {
    eidos_runtime::terminal::render_for_any();
    let started = async {
        let signals = Signals::listen()?;
        anyhow::Ok((service.serve().await?, signals))
    };
    let (mut serving, mut signals) = match started.await {
        Ok(started) => started,
        Err(error) => return fail(&error),
    };
    let failure = tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, "told to stop");
            None
        }
        error = serving.failed() => Some(error),
    };
    if let Some(error) = failure {
        return fail(&error);
    }
    match serving.shut_down().await {
        Drained::Clean => ExitCode::SUCCESS,
        Drained::Forced => ExitCode::FAILURE,
    }
}

/// The account of whoever runs the command, asked from the system and not from the environment.
fn operating_user() -> String {
    let uid = nix::unistd::getuid();
    match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => format!("cli:{}", user.name),
        _ => format!("cli:uid {uid}"),
    }
}

async fn ask(service: &Service, question: Question) -> ExitCode {
    match service.answer(&question.name, question.argument).await {
        Ok(answer) => match question.format {
            Format::Table => say(answer.text.trim_end()),
            Format::Json => say(&format!("{:#}", answer.value)),
        },
        Err(error) => fail(&error),
    }
}

async fn run(service: &Service, args: RunArgs) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(&error),
    };
    let params = match service.understood(&args.job, args.params, &args.typed) {
        Ok(params) => params,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let request = RunRequest {
        job: args.job,
        slot: args.slot,
        params,
        dry_run: args.dry_run,
        requested_by: Some(operating_user()),
    };
    let mut running = Box::pin(service.run_job(request));
    let mut progress = tokio::time::interval(PROGRESS_EVERY);
    let mut shown = None;
    let ended = loop {
        tokio::select! {
            ended = &mut running => break ended,
            _signal = signals.next() => service.interrupt(),
            _now = progress.tick() => {
                let latest = service.progress();
                if latest != shown && let Some(progress) = latest {
                    complain(&tables::progress(progress));
                }
                shown = latest;
            }
        }
    };
    match ended {
        Ok(Foreground::Success { report, rendered, .. }) => match args.format {
            Format::Table => say(&rendered),
            Format::Json => say(&format!("{report:#}")),
        },
        Ok(Foreground::Failed {
            execution,
            kind,
            message,
            report,
        }) => {
            if let Some((report, rendered)) = report {
                let _printed = match args.format {
                    Format::Table => say(&rendered),
                    Format::Json => say(&format!("{report:#}")),
                };
            }
            complain(&format!("execution {execution} failed ({kind}): {message}"));
            ExitCode::FAILURE
        }
        Ok(Foreground::Busy { remaining }) => {
            complain(&format!(
                "busy: another run holds the lease, for {} s unless it is renewed",
                remaining.as_secs()
            ));
            ExitCode::from(EXIT_BUSY)
        }
        Err(error) if error.is::<BadRunRequest>() => {
            complain(&error.to_string());
            ExitCode::from(EXIT_USAGE)
        }
        Err(error) => fail(&error),
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    complain(&eidos_runtime::chain(error.as_ref()));
    let core = error
        .downcast_ref::<CoreError>()
        .is_some_and(CoreError::is_setting);
    let lease = error
        .downcast_ref::<LeaseError>()
        .is_some_and(LeaseError::is_setting);
    if core || lease {
        ExitCode::from(eidos_settings::EXIT_CODE)
    } else {
        ExitCode::FAILURE
    }
}

/// To standard output; a reader that went away is not an error worth reporting.
fn say(text: &str) -> ExitCode {
    let _closed_pipe = writeln!(std::io::stdout(), "{text}");
    ExitCode::SUCCESS
}

/// To standard error.
fn complain(text: &str) {
    let _closed_pipe = writeln!(std::io::stderr(), "{text}");
}
