//! Parses the command line, runs the command, turns the outcome into an exit code.

fn main() {}
