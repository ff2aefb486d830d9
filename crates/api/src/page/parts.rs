//! The pieces the first page is made of.

use std::time::Duration;

use dodona_model::{Address, U256};
use dodona_store::keys::KeyState;
use maud::{Markup, html};

use crate::facts::JobFacts;
use crate::written::{ether, spoken};

/// Digits shown after the point of a balance.
const SHOWN_DIGITS: usize = 6;

pub(super) fn section(title: &str, content: Markup) -> Markup {
    html! {
        section.card {
            h2 { (title) }
            (content)
        }
    }
}

/// `kind`: good, bad, idle.
pub(super) fn badge(kind: &str, text: &str) -> Markup {
    html! { span class={ "badge " (kind) } { (text) } }
}

pub(super) fn tile(title: &str, number: &str, kind: &str, hint: &str) -> Markup {
    html! {
        div class={ "tile " (kind) } {
            h3 { (title) }
            p.number { (number) }
            p.quiet { (hint) }
        }
    }
}

/// Shares of a whole as one bar with its legend. Widths are SVG attributes: the page's policy allows
/// no inline styles.
pub(super) fn bar(title: &str, parts: &[(&str, u64)]) -> Markup {
    let total: u64 = parts.iter().map(|(_, n)| n).sum();
    let mut at = 0u64;
    html! {
        section.card.shares {
            h2 { (title) }
            @if total == 0 {
                p.empty { "No request yet." }
            } @else {
                svg viewBox="0 0 1000 12" preserveAspectRatio="none" role="img" aria-label=(title) {
                    @for (name, n) in parts.iter().filter(|(_, n)| *n > 0) {
                        @let left = at.saturating_mul(1000) / total;
                        @let right = (at + n).saturating_mul(1000) / total;
                        rect class={ "share " (name) } x=(left) y="0" width=(right.saturating_sub(left).max(3)) height="12" {}
                        ({ at += n; "" })
                    }
                }
                ul.legend {
                    @for (name, n) in parts.iter().filter(|(_, n)| *n > 0) {
                        li { span class={ "share " (name) } {} (name) " " b { (count(*n)) } }
                    }
                }
            }
        }
    }
}

/// 12 345 678: thin spaces between thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

pub(super) fn ago(age: Duration) -> String {
    if age < Duration::from_secs(1) {
        return "just now".to_owned();
    }
    format!("{} ago", spoken(age))
}

/// An address a person can compare and, from its title, copy.
fn address(address: Address) -> Markup {
    let text = address.to_string();
    html! {
        code.address title=(text) {
            span.long { (text) }
            span.short { (text[..8]) "…" (text[text.len() - 6..]) }
        }
    }
}

/// Where there is no value.
pub(super) fn nothing() -> String {
    "–".to_owned()
}

fn amount(smallest: Option<U256>) -> String {
    let Some(smallest) = smallest else {
        return nothing();
    };
    let text = ether(smallest);
    let shown = &text[..text.len() - (18 - SHOWN_DIGITS)];
    // Nearly nothing is not nothing: somebody may wonder why a key can still pay a little.
    if !smallest.is_zero() && shown.bytes().all(|b| matches!(b, b'0' | b'.')) {
        return "< 0.000001".to_owned();
    }
    shown.to_owned()
}

pub(super) fn keys(keys: &[KeyState]) -> Markup {
    html! {
        @if keys.is_empty() {
            p.empty { "No key yet: answers cannot be sent. " code { "dodona keys eth create" } " makes one." }
        } @else {
            div.scroll { table {
                thead { tr { th { "Address" } th.n { "Chain" } th.n { "Balance" } th.n { "LINK" } th.n { "Next nonce" } th { "State" } } }
                tbody {
                    @for key in keys {
                        tr {
                            td.wide { (address(key.address)) }
                            td.n data-label="Chain" { (key.chain_id) }
                            td.n data-label="Balance" { (amount(key.balance_wei)) }
                            td.n data-label="LINK" { (amount(key.link_juels)) }
                            td.n data-label="Next nonce" { (key.next_nonce) }
                            td.wide {
                                @if key.disabled { (badge("idle", "disabled")) }
                                @else if key.reason.is_empty() { (badge("good", "moving")) }
                                @else { (badge("bad", "stuck")) p.reason { (key.reason) } }
                            }
                        }
                    }
                }
            } }
        }
    }
}

pub(super) fn jobs(jobs: &[JobFacts]) -> Markup {
    html! {
        @if jobs.is_empty() {
            p.empty { "No job yet. " code { "dodona jobs create job.toml" } " creates one." }
        } @else {
            div.scroll { table {
                thead { tr { th.n { "Job" } th { "Name" } th { "Type" } th { "Contract" } th.n { "Chain" } th.n { "Runs" } th.n { "Errored" } } }
                tbody {
                    @for facts in jobs {
                        @let spec = &facts.job.spec;
                        tr {
                            td.n data-label="Job" { (facts.job.id) }
                            td.wide {
                                b { (if spec.name.is_empty() { "unnamed" } else { &spec.name }) }
                                p.quiet { code { (spec.external_job_id) } }
                            }
                            td data-label="Type" { (spec.kind) }
                            td data-label="Contract" { @if let Some(contract) = spec.contract_address { (address(contract)) } }
                            td.n data-label="Chain" { (spec.chain_id.map(|id| id.to_string()).unwrap_or_default()) }
                            td.n data-label="Runs" { (count(facts.runs)) }
                            td class=(if facts.errored > 0 { "n alarming" } else { "n" }) data-label="Errored" { (count(facts.errored)) }
                        }
                    }
                }
            } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_amounts_cut() {
        assert_eq!(count(7), "7");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(
            amount(Some(U256::from(1_500_000_000_000_000_001u128))),
            "1.500000"
        );
        assert_eq!(amount(Some(U256::from(5))), "< 0.000001");
        assert_eq!(amount(Some(U256::ZERO)), "0.000000");
        assert_eq!(amount(None), "–");
    }
}
