//! What bridges ask of the requests whose jobs use them: confirmations and a payment.

use alloy::primitives::U256;
use dodona_pipeline::Pipeline;
use dodona_store::bridges::{self, Bridge};
use dodona_store::{Conn, Result};

/// Bridges that ask for something.
#[derive(Debug, Default)]
pub(crate) struct Demands(Vec<Bridge>);

/// What those of one pipeline ask for together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// The most any of them asks for.
    pub(crate) confirmations: u32,
    /// The sum: each of them may cost its operator something.
    pub(crate) payment_juels: U256,
}

impl Demands {
    pub(crate) async fn read(conn: &mut Conn) -> Result<Self> {
        let mut all = bridges::demanding(conn).await?;
        all.retain(|it| {
            it.confirmations > 0 || it.min_payment_juels.is_some_and(|it| !it.is_zero())
        });
        Ok(Self(all))
    }

    /// What a job with this pipeline has to ask for at least. A bridge whose name is computed is known only
    /// when it is asked, and asks for nothing here.
    pub(crate) fn of(&self, dot: &str) -> Demand {
        // Most nodes have none, and most jobs use none: nothing is parsed for those.
        if self.0.is_empty() || !dot.to_ascii_lowercase().contains("bridge") {
            return Demand::default();
        }
        // A pipeline that cannot be read ends its run with the reason.
        let used = Pipeline::parse(dot).map(|pipeline| {
            let names = pipeline.bridges().into_iter();
            names.map(|name| name.to_lowercase()).collect::<Vec<_>>()
        });
        let used = used.unwrap_or_default();
        let asking = self.0.iter().filter(|bridge| used.contains(&bridge.name));
        asking.fold(Demand::default(), |all, bridge| Demand {
            confirmations: all.confirmations.max(bridge.confirmations),
            payment_juels: all
                .payment_juels
                .saturating_add(bridge.min_payment_juels.unwrap_or_default()),
        })
    }
}

#[cfg(test)]
mod tests {
    use dodona_model::Timestamp;

    use super::*;

    fn bridge(name: &str, confirmations: u32, payment: Option<u64>) -> Bridge {
        Bridge {
            name: name.to_owned(),
            url: "http://127.0.0.1:1/".to_owned(),
            confirmations,
            incoming_token_hash: String::new(),
            salt: String::new(),
            outgoing_token: String::new(),
            min_payment_juels: payment.map(U256::from),
            created_at: Timestamp(0),
        }
    }

    #[test]
    fn the_most_confirmations_and_all_payments_are_asked_for() {
        let all = Demands(vec![
            bridge("a", 3, Some(5)),
            bridge("b", 7, None),
            bridge("c", 90, Some(90)),
            bridge("d", 0, Some(2)),
        ]);
        let dot = "x [type=bridge name=A]; y [type=bridge name=b]; z [type=bridge name=d]; again [type=bridge name=a]; t [type=bridge name=\"$(x)\"]";
        let asked = Demand {
            confirmations: 7,
            payment_juels: U256::from(7),
        };
        assert_eq!(all.of(dot), asked);
        for dot in ["x [type=memo value=c]", "no pipeline at all ["] {
            assert_eq!(all.of(dot), Demand::default());
        }
        assert_eq!(Demands::default().of(dot), Demand::default());
    }
}
