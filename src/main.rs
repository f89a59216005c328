//! Parse, run one command.

fn main() {}
