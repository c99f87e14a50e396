//! What `burnonce plan` is to say of a card.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::boot::{Boot, said};

/// A purpose and the steps that change a card.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    purpose: &'static str,
    steps: &'static [&'static str],
}

pub const NOTHING: Expected = Expected { purpose: "nothing", steps: &[] };
pub const SEAL: Expected = Expected { purpose: "seal", steps: &["seal"] };
/// Of a card without an upper.
pub const CONVERT: Expected = Expected {
    purpose: "convert",
    steps: &[
        "record-attempt",
        "add-kernel-partition",
        "make-filesystem",
        "publish-table",
        "keep-boot-files",
        "write-configuration",
        "seal",
        "keep-log",
        "reboot",
    ],
};
/// Of a card with an upper that is whole, and which nothing points at yet.
pub const CONFIGURE: Expected = Expected {
    purpose: "convert",
    steps: &["record-attempt", "keep-boot-files", "write-configuration", "seal", "keep-log", "reboot"],
};
/// Of a converted card without an upper.
pub const REMAKE: Expected = Expected {
    purpose: "remake",
    steps: &["add-kernel-partition", "make-filesystem", "publish-table", "keep-boot-files", "keep-log", "reboot"],
};
/// Of a card that is longer than the one that the upper was made for.
pub const GROW: Expected =
    Expected { purpose: "grow", steps: &["grow-kernel-partition", "publish-table", "grow-filesystem"] };
/// Of one whose table knows that already.
pub const GROW_FILESYSTEM: Expected = Expected { purpose: "grow", steps: &["grow-filesystem"] };

/// The plan of this boot is the one that is right.
pub fn check(boot: &Boot, expected: Expected) -> Result<()> {
    is_right(&read(boot)?, expected)
}

/// The same of a card whose upper has a journal to be replayed, and may not be read before that: then the plan, which changes nothing, says
/// so, and the boot has the upper checked.
pub fn check_before_replay(boot: &Boot, expected: Expected) -> Result<()> {
    let json = read(boot)?;
    if json["refusal"]["reason"]["kind"] == "unusable-upper" { Ok(()) } else { is_right(&json, expected) }
}

/// What the agent plans, or why it refuses to.
fn read(boot: &Boot) -> Result<Value> {
    const REFUSED: i32 = 3;
    let output = boot.burnonce(&["plan", "--json"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(matches!(output.status.code(), Some(0 | REFUSED)), "burnonce plan: {}: {}", output.status, said(&output));
    serde_json::from_str(&text).with_context(|| format!("the plan is {text:?}"))
}

fn is_right(json: &Value, expected: Expected) -> Result<()> {
    let refusal = &json["refusal"]["message"];
    ensure!(refusal.is_null(), "what is on the card asks for {expected:?}, and is refused: {refusal}");
    let plan = &json["plan"];
    let steps: Vec<_> =
        plan["steps"].as_array().into_iter().flatten().map(|s| s["step"].as_str().unwrap_or("?")).collect();
    ensure!(
        plan["purpose"] == expected.purpose && steps == expected.steps,
        "what is on the card asks for {expected:?}, and the plan is {plan:#}"
    );
    Ok(())
}
