//! The frame around every page, and the small pages.

use dodona_runtime::Check;
use maud::{DOCTYPE, Markup, html};

/// How often the first page loads itself anew.
const REFRESH_SECONDS: u32 = 10;

/// A whole document. `refresh`: it loads itself anew.
pub(super) fn document(title: &str, refresh: bool, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                @if refresh {
                    meta http-equiv="refresh" content=(REFRESH_SECONDS);
                }
                title { (title) }
                link rel="icon" href="data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'><circle cx='16' cy='16' r='14' fill='%232f6b4f'/><circle cx='16' cy='16' r='5' fill='%23f4efe3'/></svg>";
                link rel="stylesheet" href="/assets/dodona.css";
            }
            body { (body) }
        }
    }
}

fn brand() -> Markup {
    html! {
        a.brand href="/" {
            span.mark aria-hidden="true" {}
            span { "Dodona" }
        }
    }
}

/// The bar on top: the brand, facts about this process, and the way out.
pub(super) fn top_bar(facts: &Markup, email: &str) -> Markup {
    html! {
        header.bar {
            (brand())
            div.facts { (facts) }
            form.out method="post" action="/logout" {
                span.who { (email) }
                button type="submit" { "Log out" }
            }
        }
    }
}

pub(super) fn log_in(fault: Option<&str>) -> Markup {
    let body = html! {
        main.door {
            form.card method="post" action="/login" {
                (brand())
                p.hint { "Log in to see what this node is doing." }
                @if let Some(fault) = fault {
                    p.fault role="alert" { (fault) }
                }
                label {
                    "E-mail"
                    input type="email" name="email" autocomplete="username" required autofocus;
                }
                label {
                    "Password"
                    input type="password" name="password" autocomplete="current-password" required;
                }
                button.primary type="submit" { "Log in" }
            }
        }
    };
    document("Dodona · Log in", false, &body)
}

/// One sentence on a page of its own.
pub(super) fn message(headline: &str, text: &str) -> Markup {
    let body = html! {
        main.door {
            div.card {
                (brand())
                h1 { (headline) }
                p { (text) }
                p { a href="/" { "To the first page" } }
            }
        }
    };
    document(headline, false, &body)
}

/// The health checks for a browser: open to everybody, so without a way into the rest.
pub(super) fn health(checks: &[Check]) -> Markup {
    let body = html! {
        main.narrow {
            h1 { "Health" }
            @if checks.is_empty() { p.empty { "No checks." } }
            @for check in checks {
                details.check open[!check.passing] {
                    summary {
                        span class=(if check.passing { "dot good" } else { "dot bad" }) {}
                        (check.name)
                    }
                    @if check.output.is_empty() {
                        p.quiet { "passing" }
                    } @else {
                        pre { (check.output) }
                    }
                }
            }
        }
    };
    document("Health", false, &body)
}
