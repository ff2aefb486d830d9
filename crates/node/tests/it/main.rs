//! The door of the node, tried from outside: settings, commands, what people see.

mod config;
