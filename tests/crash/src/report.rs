//! Writes docs/reliability.md.

use std::fmt::Write;

use serde_json::Value;

use crate::figures;
use crate::matrix::Counts;
use crate::proof::{Outcome, Row};

const HEAD: &str = "\
# How burnonce is shown to survive power cuts

*This page is written by `make crash`, which does what it says here. Do not edit it; the text is in `tests/crash/src/report.rs`.*

## The promise

Whenever the power goes, at any write to the card, the next boot plans from what it finds and brings the card to where it would be
without the cut. The image stays as it was burned but for the one configuration file. A generation of what a node has written is there
whole or not at all: a reset, an undo or the deletion of an old generation loses no file of another one. Nobody has to do anything.

## How it is tested

Everything that is written to a card is recorded, each write with its bytes and each flush in its place (QEMU's `blklogwrites`). A
*recording* is made in one of two ways:

* by the kernel of the machine that runs the tests: the agent and the guard of the image run in a chroot, the card is a loop device
  over `qemu-storage-daemon`;
* by an emulated node (names that begin with `node-`), from power-on to the moment that counts: firmware files, initramfs, systemd, agent.

From a recording each card is made that a power cut could have left:

* **every prefix**: all writes up to one, for each of them;
* **subsets**: a card may write what has not been flushed in any order. For each stretch between two flushes, some of its writes, by
  chance, behind all of those before the stretch. Of every other such subset the last write is torn, too;
* **torn writes**: of one more write only the first sectors of 512 bytes have arrived.

Each of these cards is then looked at, by programs that are not burnonce's where there are any:

1. burnonce and `sfdisk` read the same table; the entries of the image's two partitions, the boot code and the disk signature are
   untouched.
2. The boot partition is untouched or `fsck.vfat -n` finds nothing. The kernel replays the journal of root; then `e2fsck -fn` finds
   nothing, and every file is what it was (type, mode, owner, content, attributes), but for the configuration.
3. The card alone says what is to be done: an upper in the table or not, a configuration or not, sealed or not, how long card,
   partition and file system are. `burnonce plan --json` has to say the same, step by step.
4. It is carried out, and so is the next boot, by this machine's kernel: guard, overlay, agent. The end has to be the one without a cut:
   the same table, byte by byte, a sealed image, the complete configuration, an upper in which `e2fsck -fn` finds nothing, the same
   files in it, the same state.json (but for attempts and times), nothing left over, and nothing more to do. The files of
   each generation are compared one by one with what they were before.

Some cards, by chance, are booted by an emulated node besides: the whole system, up to a login; `burnonce status` has to be healthy.
";

const NOT_COVERED: &str = "\
## What is not covered

* **A card that lies about flushes**: one that says that it has written what it has not, and then loses it though something later
  arrived. burnonce's order of steps, ext4's journal and every other file system rely on flushes.
* **Worn or broken flash**: bit rot, blocks that change though nobody writes to them (a controller that loses others when the power goes
  in the middle of an erase block), cards that become read-only. What can be seen of that is checked at each boot and said; it
  cannot be repaired here.
* **A superblock torn in itself.** An ext4 superblock has two sectors of 512 bytes in one block and a checksum over both. The kernel writes it
  in place whenever any ext4 is mounted for writing or unmounted. A card that stores the one sector and not the other leaves a
  file system that is not mounted before `e2fsck -b 32768` has been run by hand: the root of any image, with or without burnonce.
  Torn writes are therefore tried at every other place, but not in the middle of a superblock. Flash is written in pages of 4 KiB and more.
* **A primary GPT torn in itself**, for the same reason: its header has a checksum over the entries behind it. burnonce writes both as one
  write within 4 KiB, the backup being sound by then; a card that stores the header alone leaves a table that Linux does not read before
  `gdisk` has taken the backup. An MBR, which images for Pis have, is one sector.
* **Writes of a node at work.** Between the boots, the upper is an ext4 like any other: what a program has not flushed when the power
  goes may be lost, as on every system. The guard has it checked.
* **The boot partition of a running node** is a FAT, which has no journal. burnonce writes to it only where the owner asks for
  something there.
* The kernel of these tests is not that of a Raspberry Pi, and its card is a file.
";

const AGAIN: &str = "
## Again

`make crash` does all of this anew, with another seed. `BURNONCE_SEED={seed} make crash` throws the same dice; a recording may differ a little
from the last one. `make test` runs a shortened form of it. A cut that does harm is told with its recording, which is kept in
`target/crash/`, the writes that had arrived, and the command that tries this one cut alone (it needs root, as all of this):

    BURNONCE_CUT=0-56,58,60+3 cargo run -p burnonce-crash -- target/crash/conversion

Here writes 0 to 56 and 58 had arrived, and three sectors of write 60.
";

/// What the page is made of.
pub struct Report<'a> {
    pub outcome: &'a Outcome,
    pub seed: u64,
    pub version: &'a str,
    pub date: &'a str,
    pub seconds: u64,
    /// Lines of other parts: fail-stop injection.
    pub figures: &'a [Value],
    /// The same of fuzzing.
    pub fuzzing: &'a [Value],
}

impl Report<'_> {
    /// The page.
    pub fn text(&self) -> String {
        let Report { seed, version, date, seconds, .. } = self;
        let mut text = format!("{HEAD}\n## What came of it\n\n");
        let minutes = seconds / 60;
        _ = writeln!(text, "burnonce {version}, {date}, seed {seed}, {minutes} min {} s in all.\n", seconds % 60);
        text += &self.table();
        let boots: usize = self.outcome.rows.iter().map(|row| row.boots).sum();
        _ = writeln!(
            text,
            "\nThe {boots} boots took {} s. Two recordings or boots are tried at a time, so all these seconds overlap.\n",
            self.outcome.boots_took.as_secs()
        );
        text += "## When a call fails\n\n";
        text += &section(
            figures::table(self.figures, &["what", "calls", "injections", "failures", "seconds"]),
            "Each call that writes to the card is made to fail, one after the other, and the program goes on or stops; the next boot has \
             to bring\nthe card to its end all the same.",
            "Fail-stop injection was not run with this page.",
        );
        text += "## When the input is nonsense\n\n";
        text += &section(
            figures::table(self.fuzzing, &["what", "executions", "seconds", "crashes"]),
            "What is read from a card is fuzzed (`make fuzz`): tables, superblocks, configurations, state files.",
            "Fuzzing was not run before this page was written; `make fuzz` runs it.",
        );
        text += NOT_COVERED;
        text += &AGAIN.replace("{seed}", &seed.to_string());
        text
    }

    fn table(&self) -> String {
        let mut text = String::from(
            "| recording | writes | flushes | prefixes | subsets | torn | boots | failures | seconds |\n\
             | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        );
        let mut row = |name: &str, writes: usize, flushes: usize, counts: &Counts, boots: usize| {
            let Counts { prefixes, subsets, torn, took } = counts;
            // A run with a failure writes no page.
            let cells = [name.to_owned(), writes.to_string(), flushes.to_string(), prefixes.to_string()];
            let more =
                [subsets.to_string(), torn.to_string(), boots.to_string(), "0".to_owned(), took.as_secs().to_string()];
            _ = writeln!(text, "| {} | {} |", cells.join(" | "), more.join(" | "));
        };
        let mut sums = (0, 0, 0);
        for Row { name, writes, flushes, counts, boots } in &self.outcome.rows {
            row(name, *writes, *flushes, counts, *boots);
            sums = (sums.0 + writes, sums.1 + flushes, sums.2 + boots);
        }
        row("all", sums.0, sums.1, &self.outcome.total(), sums.2);
        text
    }
}

fn section(table: Option<String>, what: &str, otherwise: &str) -> String {
    match table {
        Some(table) => format!("{what}\n\n{table}\n"),
        None => format!("{otherwise}\n\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn the_page_has_every_recording_and_says_what_was_not_run() {
        let counts = Counts { prefixes: 8, subsets: 3, torn: 2, took: Duration::from_secs(61) };
        let row =
            |name: &str, boots| Row { name: name.to_owned(), writes: 7, flushes: 4, counts: counts.clone(), boots };
        let outcome =
            Outcome { rows: vec![row("conversion", 2), row("reset", 1)], boots_took: Duration::from_secs(90) };
        let figures = [json!({"what": "reset", "calls": 5, "injections": 6, "failures": 0, "seconds": 1})];
        let report = Report {
            outcome: &outcome,
            seed: 17,
            version: "1.2",
            date: "2026-01-02",
            seconds: 125,
            figures: &figures,
            fuzzing: &[],
        };
        let text = report.text();
        for part in [
            "burnonce 1.2, 2026-01-02, seed 17, 2 min 5 s in all.",
            "| conversion | 7 | 4 | 8 | 3 | 2 | 2 | 0 | 61 |\n| reset | 7 | 4 | 8 | 3 | 2 | 1 | 0 | 61 |\n| all | 14 | 8 | 16 | 6 | 4 | 3 | 0 | 122 |",
            "| reset | 5 | 6 | 0 | 1 |",
            "Fuzzing was not run",
            "BURNONCE_SEED=17 make crash",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(text.lines().all(|line| line.len() < 300) && !text.contains("not run with this page"), "{text}");
    }
}
