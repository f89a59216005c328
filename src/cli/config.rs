//! `notilog config check|show`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::print;
use super::{Exit, Failure, Global, Output};
use crate::ops::doctor::fallback_warning;

/// Checks the configuration, or shows what is in effect
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  notilog config check --config notilog.toml\n  notilog config show --origins")]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Lists everything that is wrong with the configuration, with file and line
    #[command(after_help = "Example:\n  notilog config check --config notilog.toml")]
    Check,
    /// Prints the effective configuration as TOML; secrets are shown as ***
    #[command(after_help = "Example:\n  notilog config show --origins")]
    Show {
        /// Says where each value came from
        #[arg(long)]
        origins: bool,
    },
}

pub(super) fn run(global: &Global, args: &ConfigArgs) -> Result<Exit, Failure> {
    let loaded = global.loaded()?;
    match args.command {
        ConfigCommand::Check => {
            crate::channel::build(&loaded.config.channels).map_err(|errors| Failure::Usage(errors.to_string()))?;
            let file = loaded.file.as_ref().map(|file| file.display().to_string());
            let text = || match &file {
                Some(file) => format!("{file} is a valid configuration"),
                None => "there is no file; the defaults and the environment are a valid configuration".to_owned(),
            };
            // Policies have problems of their own, which `doctor` and the roles tell.
            let policy = crate::policy::load(&loaded.config.policies.dir).ok();
            let warning = policy.and_then(|policy| fallback_warning(&loaded.config, &policy));
            if let Some(warning) = &warning {
                global.output.note(&format!("warning: {warning}"));
            }
            global.output.value(&json!({ "valid": true, "file": file, "warnings": Vec::from_iter(warning) }), text);
        }
        ConfigCommand::Show { origins } => match global.output {
            Output::Table => print(loaded.to_toml(origins).trim_end()),
            output => {
                let value: toml::Table = toml::from_str(&loaded.to_toml(false))?;
                output.value(&value, String::new);
            }
        },
    }
    Ok(Exit::Done)
}
