//! Looks at a deployment and says what is wrong with it.
//!
//! A check has a name, looks at one thing and says what good looks like and what to do otherwise.
//! Today there is one; the audit and the monitor of later versions run many more of them.

mod oracle_owner;

pub use oracle_owner::OracleOwner;
