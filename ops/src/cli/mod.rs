//! The commands. Exit codes: 0 done, 1 failed, 2 the command line or the configuration is wrong.

mod admin;
mod args;
mod backup;
mod bulk;
mod commission;
mod doctor;
mod drain;
mod endpoints;
mod enqueue;
mod errors;
mod events;
mod jobs;
mod keys;
mod leads;
mod limits;
pub(crate) mod output;
mod plans;
mod portals;
mod portals_apply;
mod run;
mod setup;
mod steer;
mod workflows;

use crate::config::{Config, Needs, Overrides};
use crate::{Fault, logging};
use args::{Cli, Command, Global};
use clap::Parser;
use output::{Failure, Output};
use std::process::ExitCode;

/// The program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output { json: cli.global.json };
    // Two libraries bring a provider of cryptography; one must be chosen for the process.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(dispatch(cli, output));
            // What is left are connections that nobody waits for any more.
            runtime.shutdown_background();
            ended
        }
        Err(e) => Err(Fault::new("runtime", "the runtime cannot be started").caused_by(e).into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.failure(&failure),
    }
}

async fn dispatch(cli: Cli, output: Output) -> Result<(), Failure> {
    let global = cli.global;
    match cli.command {
        Command::Up(up) => run::up(&global, &up, output).await,
        Command::Api(listen) => run::api(&global, &listen).await,
        Command::Work(work) => run::work(&global, &work).await,
        Command::Schedule => run::schedule(&global).await,
        Command::Migrate(migrate) => setup::migrate(&global, &migrate, output).await,
        Command::Seed => setup::seed(&global, output).await,
        Command::Admin { command: args::Admin::Create(create) } => {
            admin::create(&global, &create, output).await
        }
        Command::Enqueue(enqueue) => enqueue::enqueue(&global, &enqueue, output).await,
        Command::Jobs { command } => jobs::run(&global, &command, output).await,
        Command::Endpoints { command } => endpoints::run(&global, &command, output).await,
        Command::Keys { command } => keys::run(&global, &command, output).await,
        Command::Workflows { command } => workflows::run(&global, &command, output).await,
        Command::Bulk { command } => bulk::run(&global, &command, output).await,
        Command::Queues { command } => steer::queues(&global, &command, output).await,
        Command::Limits { command } => limits::limits(&global, &command, output).await,
        Command::Kinds { command } => limits::kinds(&global, &command, output).await,
        Command::Workers { command } => steer::workers(&global, &command, output).await,
        Command::Portals { command } => portals::run(&global, &command, output).await,
        Command::Events { command } => events::run(&global, &command, output).await,
        Command::Leads { command } => leads::run(&global, &command, output).await,
        Command::Commission { command } => commission::run(&global, &command, output).await,
        Command::Plans { command } => plans::run(&global, &command, output).await,
        Command::Backup { command } => backup::run(&global, &command, output).await,
        Command::Restore(restore) => backup::restore(&global, &restore, output).await,
        Command::Release(release) => backup::release(&global, &release, output).await,
        Command::Doctor(doctor) => doctor::run(&global, &doctor, output).await,
        Command::Config => config(&global, output),
    }
}

/// Reads the configuration for a command and starts the log.
fn load(
    global: &Global,
    more: Vec<(&'static str, String, &'static str)>,
    needs: Needs,
) -> Result<Config, Failure> {
    let config = Config::load(&overrides(global, more), needs)?;
    logging::start(&config.log);
    Ok(config)
}

fn overrides(global: &Global, more: Vec<(&'static str, String, &'static str)>) -> Overrides {
    let mut settings = more;
    if let Some(folder) = &global.data_dir {
        settings.push(("data_dir", folder.display().to_string(), "--data-dir"));
    }
    Overrides { file: global.config.clone(), settings }
}

fn config(global: &Global, output: Output) -> Result<(), Failure> {
    let config = Config::load(&overrides(global, Vec::new()), Needs::default())?;
    let cells = |e: &crate::config::Entry| {
        vec![e.key.to_owned(), e.value.clone().unwrap_or_else(|| "-".to_owned()), e.from.clone()]
    };
    output.answer(&config.entries, || {
        let rows: Vec<_> = config.entries.iter().map(cells).collect();
        output::table(&["KEY", "VALUE", "FROM"], &rows)
    });
    Ok(())
}
