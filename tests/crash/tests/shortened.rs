//! A shortened proof, which `make test` runs: fewer random cuts and boots, and no recordings of emulated nodes. `make crash` is the whole.

use anyhow::ensure;
use burnonce_crash::cut::Amount;
use burnonce_crash::proof::{self, Extent};
use burnonce_vm::{Recipe, scenario, writes};

#[test]
fn shortened() {
    scenario("crash-shortened", |bed| {
        let (image, gpt) = (Recipe::stock().make()?, Recipe::stock().gpt().make()?);
        let seed = writes::seed("crash-shortened")?;
        let extent = Extent { amount: Amount { subsets: 2, torn: 0 }, boots: 5 };
        let outcome = proof::run(bed, &proof::native(&image, &gpt), extent, seed)?;
        let total = outcome.total();
        println!(
            "crash: {} prefixes, {} subsets, {} torn writes, {} boots: no failure",
            total.prefixes, total.subsets, total.torn, extent.boots
        );
        ensure!(total.prefixes >= 500, "only {total:?}");
        Ok(())
    });
}
