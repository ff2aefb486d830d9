//! What a transaction offers: pure decisions, no IO.
//!
//! Source of the rules: what the Chainlink node's operators configure (`[EVM.GasEstimator]`), with the
//! base fee of the newest block and the tips that recent blocks paid.

use dodona_model::U256;
use dodona_store::txs::Fee;

/// Where prices come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The configured price, whatever the market does.
    Fixed,
    /// What recent blocks paid.
    Market,
}

/// Prices of one chain, wei per unit of gas.
#[derive(Debug, Clone)]
pub struct FeeConfig {
    /// Where prices come from.
    pub mode: Mode,
    /// EIP-1559 (type 2) or legacy (type 0) transactions.
    pub dynamic: bool,
    /// Legacy price when there is no better.
    pub price_default: U256,
    /// Lower bound of a legacy price.
    pub price_min: U256,
    /// Upper bound of everything.
    pub price_max: U256,
    /// Fee cap in fixed mode.
    pub fee_cap_default: U256,
    /// Tip when there is no better.
    pub tip_cap_default: U256,
    /// Lower bound of a tip.
    pub tip_cap_min: U256,
    /// A replacement offers at least this many percent more; at least 10, or endpoints refuse it.
    pub bump_percent: u16,
    /// A replacement offers at least this much more.
    pub bump_min: U256,
    /// How many full blocks in a row (each +12.5 % base fee) the fee cap survives.
    pub buffer_blocks: u32,
    /// Blocks looked at.
    pub history_blocks: u64,
    /// Which percentile of what they paid, 0–100.
    pub percentile: u16,
    /// Whether replacements are made at all: without them the fee cap is the cap itself.
    pub bumps: bool,
}

/// What the chain says about prices now, wei per unit of gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Market {
    /// Base fee of the newest block, where the chain has one.
    pub base_fee: Option<U256>,
    /// Tip that got transactions into recent blocks.
    pub tip: Option<U256>,
    /// The endpoint's suggestion for legacy transactions.
    pub gas_price: Option<U256>,
}

/// Why a fee cannot be raised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotBump {
    /// The bound the operator set.
    #[error("a higher fee would exceed PriceMax ({cap} wei)")]
    AtCap {
        /// The bound, wei per gas.
        cap: U256,
    },
}

/// The fee of a first attempt, never above `cap`.
pub fn first(config: &FeeConfig, market: &Market, cap: U256) -> Fee {
    if !config.dynamic {
        let price = match config.mode {
            Mode::Fixed => config.price_default,
            Mode::Market => market.gas_price.unwrap_or(config.price_default),
        };
        return Fee::Legacy {
            gas_price: price.max(config.price_min).min(cap),
        };
    }
    let tip = match config.mode {
        Mode::Fixed => config.tip_cap_default,
        Mode::Market => market
            .tip
            .unwrap_or(config.tip_cap_default)
            .max(config.tip_cap_min),
    }
    .min(cap);
    let fee_cap = match (config.mode, config.bumps) {
        (_, false) => cap,
        (Mode::Fixed, true) => config.fee_cap_default,
        (Mode::Market, true) => fee_cap(
            market.base_fee.unwrap_or(config.fee_cap_default),
            tip,
            config.buffer_blocks,
        ),
    };
    Fee::Dynamic {
        fee_cap: fee_cap.max(tip).min(cap),
        tip_cap: tip,
    }
}

/// The least fee that replaces `old`, following the market up.
pub fn bump(config: &FeeConfig, market: &Market, old: &Fee, cap: U256) -> Result<Fee, CannotBump> {
    let at_cap = || CannotBump::AtCap { cap };
    match *old {
        Fee::Legacy { gas_price } => {
            let raised = raise(config, gas_price);
            let estimate = match first(
                &FeeConfig {
                    dynamic: false,
                    ..config.clone()
                },
                market,
                cap,
            ) {
                Fee::Legacy { gas_price } => gas_price,
                Fee::Dynamic { .. } => raised,
            };
            let price = raised.max(estimate);
            if raised > cap {
                Err(at_cap())
            } else {
                Ok(Fee::Legacy {
                    gas_price: price.min(cap),
                })
            }
        }
        Fee::Dynamic {
            fee_cap: old_cap,
            tip_cap: old_tip,
        } => {
            let tip = raise(config, old_tip.max(config.tip_cap_default));
            let least = raise(config, old_cap);
            if tip > cap || least > cap {
                return Err(at_cap());
            }
            let wanted = match market.base_fee {
                Some(base_fee) if base_fee <= cap => fee_cap(base_fee, tip, config.buffer_blocks),
                _ => least,
            };
            Ok(Fee::Dynamic {
                fee_cap: wanted.max(least).max(tip).min(cap),
                tip_cap: tip,
            })
        }
    }
}

/// Old plus percent or plus the minimum, whichever is more; rounded up so that 10 % stay 10 %.
fn raise(config: &FeeConfig, old: U256) -> U256 {
    let percent = U256::from(100 + u64::from(config.bump_percent.max(10)));
    let scaled = old.saturating_mul(percent).div_ceil(U256::from(100));
    scaled
        .max(old.saturating_add(config.bump_min))
        .max(old.saturating_add(U256::from(1)))
}

/// `base_fee × 1.125^blocks + tip`.
fn fee_cap(base_fee: U256, tip: U256, blocks: u32) -> U256 {
    let mut grown = base_fee;
    for _ in 0..blocks.min(100) {
        grown = grown.saturating_add(grown / U256::from(8));
    }
    grown.saturating_add(tip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gwei(amount: u64) -> U256 {
        U256::from(amount) * U256::from(1_000_000_000u64)
    }

    fn config(dynamic: bool, mode: Mode) -> FeeConfig {
        FeeConfig {
            mode,
            dynamic,
            price_default: gwei(20),
            price_min: gwei(1),
            price_max: gwei(500),
            fee_cap_default: gwei(100),
            tip_cap_default: U256::from(1),
            tip_cap_min: U256::from(1),
            bump_percent: 20,
            bump_min: gwei(5),
            buffer_blocks: 4,
            history_blocks: 8,
            percentile: 60,
            bumps: true,
        }
    }

    #[test]
    fn a_fixed_price_ignores_the_market() {
        let market = Market {
            gas_price: Some(gwei(300)),
            ..Market::default()
        };
        let fee = first(&config(false, Mode::Fixed), &market, gwei(500));
        assert_eq!(
            fee,
            Fee::Legacy {
                gas_price: gwei(20)
            }
        );
    }

    #[test]
    fn a_legacy_price_follows_the_market_between_its_bounds() {
        let with = |gas_price| Market {
            gas_price: Some(gas_price),
            ..Market::default()
        };
        let config = config(false, Mode::Market);
        assert_eq!(
            first(&config, &with(gwei(30)), gwei(500)),
            Fee::Legacy {
                gas_price: gwei(30)
            }
        );
        assert_eq!(
            first(&config, &with(U256::from(7)), gwei(500)),
            Fee::Legacy { gas_price: gwei(1) }
        );
        assert_eq!(
            first(&config, &with(gwei(900)), gwei(500)),
            Fee::Legacy {
                gas_price: gwei(500)
            }
        );
    }

    #[test]
    fn a_fee_cap_survives_the_buffer_of_full_blocks() {
        let market = Market {
            base_fee: Some(U256::from(8_000)),
            tip: Some(U256::from(10)),
            gas_price: None,
        };
        let fee = first(&config(true, Mode::Market), &market, gwei(500));
        // 8000 → 9000 → 10125 → 11390 → 12813
        assert_eq!(
            fee,
            Fee::Dynamic {
                fee_cap: U256::from(12_823),
                tip_cap: U256::from(10)
            }
        );
    }

    #[test]
    fn a_bump_raises_both_fields_by_at_least_ten_percent() {
        let config = FeeConfig {
            bump_percent: 10,
            bump_min: U256::ZERO,
            ..config(true, Mode::Market)
        };
        let old = Fee::Dynamic {
            fee_cap: U256::from(1_001),
            tip_cap: U256::from(11),
        };
        let Ok(Fee::Dynamic { fee_cap, tip_cap }) =
            bump(&config, &Market::default(), &old, gwei(500))
        else {
            panic!("a bump within the cap succeeds")
        };
        assert!(
            fee_cap * U256::from(100) >= U256::from(1_001 * 110),
            "{fee_cap}"
        );
        assert!(
            tip_cap * U256::from(100) >= U256::from(11 * 110),
            "{tip_cap}"
        );
    }

    #[test]
    fn a_bump_never_exceeds_the_cap() {
        let old = Fee::Legacy {
            gas_price: gwei(450),
        };
        let refused = bump(
            &config(false, Mode::Market),
            &Market::default(),
            &old,
            gwei(500),
        );
        assert_eq!(refused, Err(CannotBump::AtCap { cap: gwei(500) }));
    }

    #[test]
    fn no_fee_is_ever_above_the_cap_or_has_a_tip_above_its_fee_cap() {
        for base in [0u64, 1, 1_000, 1_000_000_000_000] {
            for cap in [1u64, 1_000, 500_000_000_000] {
                for mode in [Mode::Fixed, Mode::Market] {
                    let market = Market {
                        base_fee: Some(U256::from(base)),
                        tip: Some(gwei(2)),
                        gas_price: None,
                    };
                    let cap = U256::from(cap);
                    let Fee::Dynamic { fee_cap, tip_cap } =
                        first(&config(true, mode), &market, cap)
                    else {
                        panic!("dynamic")
                    };
                    assert!(
                        fee_cap <= cap && tip_cap <= fee_cap,
                        "{mode:?} {base} {cap}"
                    );
                }
            }
        }
    }
}
