//! The kit itself on real programs: what the other tests build on has to hold.

mod chain;
mod contracts;
mod source;
