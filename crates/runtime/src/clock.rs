//! The only place that asks the machine what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

use dodona_model::Timestamp;

/// Now, on this machine's clock.
pub fn now() -> Timestamp {
    from_system(SystemTime::now())
}

/// A system time as a timestamp; moments before 1970 count as 1970.
pub fn from_system(time: SystemTime) -> Timestamp {
    let micros = time
        .duration_since(UNIX_EPOCH)
        .map(|d| d.as_micros())
        .unwrap_or(0);
    Timestamp(i64::try_from(micros).unwrap_or(i64::MAX))
}
