//! The program `trainyard`: arguments in, exit code out.

fn main() {}
