//! When a `cron` job runs: `CRON_TZ=<zone> <six fields>`, `@every <duration>`, `@hourly` and the like.
//!
//! The grammar is that of the Go library which operators' schedules were written for: seconds first,
//! `*`, `?`, lists, ranges, steps, names of months and days. Where clocks are put forward a time that
//! is skipped counts right after the gap; where they are put back a fixed time counts once.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::duration::parse_duration;
use crate::error::excerpt;

/// Says where the clock hangs.
const ZONE: &str = "CRON_TZ=";
/// Longest schedule that is read, in bytes.
const MAX_BYTES: usize = 500;

/// Why a schedule was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Fields without a time zone mean something else on every machine.
    #[error(
        "it must say its time zone: write \"CRON_TZ=UTC {0}\" (or another zone, such as Europe/Zurich), or use \"@every 1h30m\""
    )]
    NoZone(String),
    /// No such zone.
    #[error("{0:?} is not a time zone; write a name such as UTC or America/New_York")]
    UnknownZone(String),
    /// `@every` with something that is no duration.
    #[error("@every: {0}")]
    Every(String),
    /// No such descriptor.
    #[error(
        "{0:?} is not known; there are @every <duration>, @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually"
    )]
    Descriptor(String),
    /// Neither six nor five fields.
    #[error(
        "expected 6 fields (second minute hour day-of-month month day-of-week), found {found}: {text:?}"
    )]
    Fields {
        /// How many there are.
        found: usize,
        /// As given, without the zone.
        text: String,
    },
    /// A field that cannot be read.
    #[error("{text:?} cannot be read: {cause}")]
    Field {
        /// As given, without the zone.
        text: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A date such as 30 February.
    #[error("{0:?} names a moment that never comes")]
    Never(String),
}

/// When a job runs.
#[derive(Debug, Clone)]
pub struct Schedule {
    text: String,
    when: When,
}

#[derive(Debug, Clone)]
enum When {
    Every(Duration),
    At(Box<croner::Cron>, TimeZone),
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Schedule {}

impl Schedule {
    /// Reads a schedule. The second part is a sentence about something that is allowed and unusual.
    pub fn parse(text: &str) -> Result<(Self, Option<String>), ScheduleError> {
        let trimmed = text.trim();
        let shown = |text: &str| excerpt(text, 80);
        if trimmed.len() > MAX_BYTES {
            return Err(ScheduleError::Field {
                text: shown(trimmed),
                cause: format!("it is longer than {MAX_BYTES} bytes"),
            });
        }
        let (zone, rest) = match trimmed.strip_prefix(ZONE) {
            None => (None, trimmed),
            Some(rest) => {
                let (name, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                let zone = TimeZone::get(name)
                    .map_err(|_| ScheduleError::UnknownZone(excerpt(name, 60)))?;
                (Some(zone), rest.trim())
            }
        };
        let mut warning = None;
        let when = if let Some(descriptor) = rest.strip_prefix('@') {
            match descriptor.split_once(char::is_whitespace) {
                Some(("every", every)) => When::Every(interval(every.trim())?),
                _ => {
                    let fields = described(descriptor)
                        .ok_or_else(|| ScheduleError::Descriptor(shown(rest)))?;
                    When::At(Box::new(fields_of(fields)?), zone.unwrap_or(TimeZone::UTC))
                }
            }
        } else {
            let zone = zone.ok_or_else(|| ScheduleError::NoZone(shown(rest)))?;
            let fields = match rest.split_whitespace().count() {
                6 => rest.to_owned(),
                5 => {
                    warning = Some(format!(
                        "five fields are read as minute hour day-of-month month day-of-week, at second 0; to say so write \"0 {}\" (other nodes accept five fields and then never run the job)",
                        shown(rest)
                    ));
                    format!("0 {rest}")
                }
                found => {
                    return Err(ScheduleError::Fields {
                        found,
                        text: shown(rest),
                    });
                }
            };
            When::At(Box::new(fields_of(&fields)?), zone)
        };
        let schedule = Self {
            text: trimmed.to_owned(),
            when,
        };
        // Any moment will do: what does not come within centuries does not come.
        match schedule.next(SystemTime::UNIX_EPOCH) {
            Some(_) => Ok((schedule, warning)),
            None => Err(ScheduleError::Never(shown(rest))),
        }
    }

    /// As the operator wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first moment after `after`; `None` where there is none.
    ///
    /// `@every` counts from `after`, in whole seconds; everything else from its clock.
    pub fn next(&self, after: SystemTime) -> Option<SystemTime> {
        match &self.when {
            When::Every(every) => {
                let since = after.duration_since(SystemTime::UNIX_EPOCH).ok()?;
                SystemTime::UNIX_EPOCH
                    .checked_add(Duration::from_secs(since.as_secs()).checked_add(*every)?)
            }
            When::At(cron, zone) => {
                let after = Timestamp::try_from(after).ok()?.to_zoned(zone.clone());
                let next = cron.find_next_occurrence(&after, false).ok()?;
                Some(next.timestamp().into())
            }
        }
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        Self::parse(text).map(|(schedule, _)| schedule)
    }
}

/// Whole seconds, at least one.
fn interval(text: &str) -> Result<Duration, ScheduleError> {
    let every = parse_duration(text).map_err(|error| ScheduleError::Every(error.to_string()))?;
    Ok(Duration::from_secs(every.as_secs().max(1)))
}

fn described(name: &str) -> Option<&'static str> {
    Some(match name.trim() {
        "yearly" | "annually" => "0 0 0 1 1 *",
        "monthly" => "0 0 0 1 * *",
        "weekly" => "0 0 0 * * 0",
        "daily" | "midnight" => "0 0 0 * * *",
        "hourly" => "0 0 * * * *",
        _ => return None,
    })
}

fn fields_of(fields: &str) -> Result<croner::Cron, ScheduleError> {
    let unreadable = |cause: String| ScheduleError::Field {
        text: excerpt(fields, 80),
        cause,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "*?/,- \t".contains(c);
    if let Some(odd) = fields.chars().find(|c| !plain(*c)) {
        return Err(unreadable(format!("{odd:?} has no meaning here")));
    }
    let as_croner: Vec<String> = fields
        .split_whitespace()
        .enumerate()
        .map(|(place, field)| one_field(field, place == 5))
        .collect();
    CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Disallowed)
        // `5/15` means from 5 on, every 15.
        .sloppy_ranges(true)
        .build()
        .parse(&as_croner.join(" "))
        .map_err(|error| unreadable(wrong_field(fields).unwrap_or_else(|| error.to_string())))
}

/// The fields with what may stand in them.
const FIELDS: [(&str, u32, u32); 6] = [
    ("second", 0, 59),
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 6),
];
const MONTHS: &str = "jan feb mar apr may jun jul aug sep oct nov dec";
const DAYS: &str = "sun mon tue wed thu fri sat";

/// Which field of a schedule that was refused is wrong, in words; nothing where it is not plain to see.
fn wrong_field(fields: &str) -> Option<String> {
    let mut found = None;
    for (field, (name, least, most)) in fields.split_whitespace().zip(FIELDS) {
        let number = |text: &str| -> Result<u32, String> {
            let names = match name {
                "month" => MONTHS,
                "day of week" => DAYS,
                _ => "",
            };
            let lower = text.to_ascii_lowercase();
            if let Some(n) = names.split_whitespace().position(|word| word == lower) {
                return Ok(n as u32 + least);
            }
            match text.parse::<u32>() {
                Ok(n) if (least..=most).contains(&n) => Ok(n),
                Ok(n) => Err(format!("{name}: {n} is not between {least} and {most}")),
                Err(_) if names.is_empty() => Err(format!("{name}: {text:?} is not a number")),
                Err(_) => Err(format!(
                    "{name}: {text:?} is neither a number nor one of {names}"
                )),
            }
        };
        for item in field.split(',') {
            let (range, step) = item.split_once('/').unwrap_or((item, "1"));
            if step.parse::<u32>().is_ok_and(|n| n == 0) {
                found = Some(format!("{name}: a step must be 1 or more"));
            }
            let ends = match range.split_once('-') {
                _ if matches!(range, "*" | "?") => continue,
                None => number(range).map(|n| (n, n)),
                Some((from, to)) => number(from).and_then(|from| Ok((from, number(to)?))),
            };
            match ends {
                Err(why) => found = Some(why),
                Ok((from, to)) if from > to => {
                    found = Some(format!("{name}: the range {range} runs backwards"));
                }
                Ok(_) => {}
            }
        }
        if found.is_some() {
            break;
        }
    }
    found
}

/// A field in the words of the library we read it with.
fn one_field(field: &str, is_day_of_week: bool) -> String {
    let items: Vec<String> = field
        .split(',')
        .map(|item| match item.replace('?', "*").split_once('/') {
            Some(("*", "1")) => "*".to_owned(),
            // The library's week has an eighth day, a second Sunday.
            Some((from, step)) if is_day_of_week && from != "*" && !from.contains('-') => {
                format!("{from}-6/{step}")
            }
            _ => item.replace('?', "*"),
        })
        .collect();
    match items.iter().any(|item| item == "*") {
        true => "*".to_owned(),
        false => items.join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SystemTime {
        text.parse::<Timestamp>().unwrap().into()
    }

    fn times(schedule: &str, after: &str, count: usize) -> Vec<String> {
        let schedule: Schedule = schedule.parse().unwrap();
        let mut now = at(after);
        (0..count)
            .map(|_| {
                now = schedule.next(now).unwrap();
                Timestamp::try_from(now).unwrap().to_string()
            })
            .collect()
    }

    fn refused(text: &str) -> String {
        Schedule::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn six_fields_begin_with_the_second() {
        assert_eq!(
            times("CRON_TZ=UTC 30 */20 * * * *", "2026-01-01T00:00:00Z", 3),
            [
                "2026-01-01T00:00:30Z",
                "2026-01-01T00:20:30Z",
                "2026-01-01T00:40:30Z"
            ]
        );
        assert_eq!(
            times("CRON_TZ=UTC */15 * * * * *", "2026-01-01T00:00:15.5Z", 2),
            ["2026-01-01T00:00:30Z", "2026-01-01T00:00:45Z"]
        );
    }

    #[test]
    fn five_fields_are_second_zero_and_pointed_out() {
        let (schedule, warning) = Schedule::parse("CRON_TZ=UTC 5 4 * * *").unwrap();
        assert_eq!(
            schedule.next(at("2026-01-01T00:00:00Z")),
            Some(at("2026-01-01T04:05:00Z"))
        );
        assert!(warning.unwrap().contains("\"0 5 4 * * *\""));
        assert_eq!(Schedule::parse("CRON_TZ=UTC 0 5 4 * * *").unwrap().1, None);
    }

    #[test]
    fn lists_ranges_steps_names_and_question_marks_are_understood() {
        for (fields, first) in [
            ("0 0 9-17/4 * * *", "2026-01-01T09:00:00Z"),
            ("0 5/30 * * * *", "2026-01-01T00:05:00Z"),
            ("0 0 12 ? * MON,wed", "2026-01-05T12:00:00Z"),
            ("0 0 0 * FEB-mar ?", "2026-02-01T00:00:00Z"),
            ("0 0 0 29 2 *", "2028-02-29T00:00:00Z"),
            ("? ? ? ? ? ?", "2026-01-01T00:00:01Z"),
            // Day of month or day of week, where both are said.
            ("0 0 0 13 * FRI", "2026-01-02T00:00:00Z"),
            ("0 0 0 13 * */1", "2026-01-13T00:00:00Z"),
            // From Friday on in the week: not Sunday.
            ("0 0 0 * * 5/1", "2026-01-02T00:00:00Z"),
        ] {
            let schedule = format!("CRON_TZ=UTC {fields}");
            assert_eq!(
                times(&schedule, "2026-01-01T00:00:00Z", 1),
                [first],
                "{fields}"
            );
        }
        assert_eq!(
            times("CRON_TZ=UTC 0 0 0 * * 5/1", "2026-01-03T00:00:00Z", 1),
            ["2026-01-09T00:00:00Z"]
        );
    }

    #[test]
    fn a_clock_hangs_in_its_zone_and_follows_its_summer() {
        assert_eq!(
            times(
                "CRON_TZ=Europe/Zurich 0 0 9 * * *",
                "2026-03-27T12:00:00Z",
                3
            ),
            [
                "2026-03-28T08:00:00Z",
                "2026-03-29T07:00:00Z",
                "2026-03-30T07:00:00Z"
            ]
        );
        // 02:30 does not exist that night, and exists twice in October.
        assert_eq!(
            times(
                "CRON_TZ=Europe/Zurich 0 30 2 * * *",
                "2026-03-28T12:00:00Z",
                2
            ),
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
        assert_eq!(
            times(
                "CRON_TZ=Europe/Zurich 0 30 2 * * *",
                "2026-10-24T12:00:00Z",
                2
            ),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
    }

    #[test]
    fn every_counts_from_where_it_began_in_whole_seconds() {
        assert_eq!(
            times("@every 1h30m", "2026-01-01T00:10:07.9Z", 2),
            ["2026-01-01T01:40:07Z", "2026-01-01T03:10:07Z"]
        );
        assert_eq!(
            times("@every 10ms", "2026-01-01T00:00:00Z", 1),
            ["2026-01-01T00:00:01Z"]
        );
    }

    #[test]
    fn descriptors_stand_for_fields() {
        for (text, first) in [
            ("@hourly", "2026-01-01T13:00:00Z"),
            ("@daily", "2026-01-02T00:00:00Z"),
            ("@midnight", "2026-01-02T00:00:00Z"),
            ("@weekly", "2026-01-04T00:00:00Z"),
            ("@monthly", "2026-02-01T00:00:00Z"),
            ("@yearly", "2027-01-01T00:00:00Z"),
            ("CRON_TZ=Asia/Tokyo @daily", "2026-01-01T15:00:00Z"),
        ] {
            assert_eq!(times(text, "2026-01-01T12:34:56Z", 1), [first], "{text}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_what_to_write_instead() {
        for (text, words) in [
            ("0 * * * * *", "CRON_TZ=UTC 0 * * * * *"),
            ("", "CRON_TZ"),
            ("CRON_TZ=Mars/Base 0 * * * * *", "Mars/Base"),
            ("CRON_TZ=UTC 0 * * *", "found 4"),
            ("CRON_TZ=UTC 0 * * * * * *", "found 7"),
            (
                "CRON_TZ=UTC 60 * * * * *",
                "second: 60 is not between 0 and 59",
            ),
            (
                "CRON_TZ=UTC 0 0 24 * * *",
                "hour: 24 is not between 0 and 23",
            ),
            (
                "CRON_TZ=UTC 0 10-5 * * * *",
                "minute: the range 10-5 runs backwards",
            ),
            (
                "CRON_TZ=UTC 0 0 0 * * FRI-MON",
                "day of week: the range FRI-MON runs backwards",
            ),
            (
                "CRON_TZ=UTC 0 */0 * * * *",
                "minute: a step must be 1 or more",
            ),
            (
                "CRON_TZ=UTC 0 0 0 1 january ?",
                "month: \"january\" is neither",
            ),
            ("CRON_TZ=UTC 0 * * * * 5#2", "'#'"),
            ("CRON_TZ=UTC 0 0 0 30 2 *", "never"),
            ("@every", "@every <duration>"),
            ("@every soon", "@every"),
            ("@fortnightly", "@fortnightly"),
        ] {
            let said = refused(text);
            assert!(said.contains(words), "{text}: {said}");
        }
    }
}
