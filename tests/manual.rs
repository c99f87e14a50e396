//! The man pages and the completions against the command line and the keys of the configuration.

use std::collections::BTreeSet;

use burnonce::cli::Cli;
use burnonce::config::KEYS;
use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};

const BURNONCE: &str = include_str!("../man/burnonce.8");
const BURNONCE_YAML: &str = include_str!("../man/burnonce.yaml.5");

/// The words after each `macro` of an mdoc page: `.Fl -json` and `.Op Fl -json` both give `-json` for `Fl`.
fn words_after<'a>(page: &'a str, called: &str) -> BTreeSet<&'a str> {
    let lines = page.lines().filter(|line| line.starts_with('.'));
    lines
        .flat_map(|line| {
            let mut words = line.trim_start_matches('.').split_whitespace();
            let mut found = Vec::new();
            while let Some(word) = words.next() {
                if word == called {
                    // Its arguments, up to the next macro.
                    found.extend(words.clone().take_while(|w| !is_macro(w)));
                }
            }
            found
        })
        .filter(|word| !matches!(*word, "," | "." | "|" | ":"))
        .collect()
}

/// mdoc's macros have two letters, the first of them a capital.
fn is_macro(word: &str) -> bool {
    matches!(word.as_bytes(), [first, second] if first.is_ascii_uppercase() && second.is_ascii_lowercase())
}

/// Names of the commands and of all options, as `--name` and `-n`, without those that are hidden.
fn on_the_command_line() -> (BTreeSet<String>, BTreeSet<String>) {
    let mut cli = Cli::command();
    cli.build();
    let shown = |command: &Command| {
        let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
        let names = arguments.flat_map(|a| {
            let long = a.get_long().map(|long| format!("--{long}"));
            long.into_iter().chain(a.get_short().map(|short| format!("-{short}")))
        });
        names.collect::<Vec<_>>()
    };
    let commands: Vec<&Command> =
        cli.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help").collect();
    let options = commands.iter().flat_map(|c| shown(c)).chain(shown(&cli)).collect();
    (commands.iter().map(|c| c.get_name().to_owned()).collect(), options)
}

#[test]
fn the_manual_has_each_command_and_each_option_and_no_other() {
    let (commands, options) = on_the_command_line();

    let documented: BTreeSet<String> = words_after(BURNONCE, "Fl").iter().map(|flag| format!("-{flag}")).collect();
    assert_eq!(documented, options);

    let section = BURNONCE.split(".Sh COMMANDS").nth(1).unwrap().split("\n.Sh ").next().unwrap();
    let described: BTreeSet<String> = section
        .lines()
        .filter_map(|l| l.strip_prefix(".It Cm ")?.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    assert_eq!(described, commands);
    let synopsis = BURNONCE.split(".Sh DESCRIPTION").next().unwrap();
    let named: BTreeSet<String> = words_after(synopsis, "Cm").iter().map(|&word| word.to_owned()).collect();
    assert_eq!(named, commands);
}

#[test]
fn the_manual_has_each_exit_code() {
    let section = BURNONCE.split(".Sh EXIT STATUS").nth(1).unwrap().split("\n.Sh ").next().unwrap();
    let codes: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix(".It ")).collect();
    assert_eq!(codes, ["0", "1", "2", "3", "4", "5"]);
    assert!(include_str!("../systemd/burnonce.service").contains("\nSuccessExitStatus=3\n"));
}

#[test]
fn the_manual_has_each_key_with_its_default_and_no_other() {
    let items = BURNONCE_YAML.split("\n.It Cm ").skip(1);
    let documented: Vec<(String, String)> = items
        .map(|item| {
            let name = item.split_whitespace().next().unwrap().to_owned();
            let default = item.split("\nDefault:\n").nth(1).unwrap().lines().next().unwrap();
            // `.Ql 512 MiB .` gives `512 MiB`.
            let default = default.split_once(' ').unwrap().1.trim_end_matches(" .").to_owned();
            (name, default)
        })
        .collect();
    let keys: Vec<(String, String)> = KEYS.iter().map(|key| (key.name.to_owned(), key.default.to_owned())).collect();
    assert_eq!(documented, keys);
}

#[test]
fn the_example_in_the_manual_is_the_default_configuration() {
    let example = BURNONCE_YAML.split(".Bd -literal -offset indent\n").nth(1).unwrap().split("\n.Ed").next().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), example).unwrap();
    assert_eq!(burnonce::config::load(file.path()).unwrap(), burnonce::config::Config::default());
}

#[test]
fn the_completions_offer_each_command_and_each_option() {
    let (commands, options) = on_the_command_line();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut script = Vec::new();
        generate(shell, &mut Cli::command(), "burnonce", &mut script);
        let script = String::from_utf8(script).unwrap();
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell}: {command}");
        }
        for option in options.iter().filter(|option| option.starts_with("--")) {
            assert!(script.contains(option.trim_start_matches('-')), "{shell}: {option}");
        }
    }
}
