//! The card's boot partition, as the owner of a card sees it in a reader; by mtools, for the kernel here may have no FAT.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::card::Card;
use crate::host;

impl Card {
    /// A file of the boot partition.
    pub fn read_boot(&self, name: &str) -> Result<Vec<u8>> {
        Ok(host::output(self.mtool("mcopy")?.args(["-n", &format!("::{name}"), "-"]))?.stdout)
    }

    /// The names of the files and directories at the top of the boot partition.
    pub fn boot_names(&self) -> Result<Vec<String>> {
        let listed = host::run(self.mtool("mdir")?.args(["-b", "::"]))?;
        Ok(listed.lines().map(|line| line.trim_start_matches("::/").trim_end_matches('/').to_owned()).collect())
    }

    /// A text file of the boot partition; None where there is no such file.
    pub fn boot_text(&self, name: &str) -> Result<Option<String>> {
        if !self.boot_names()?.iter().any(|listed| listed == name) {
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(&self.read_boot(name)?).into_owned()))
    }

    /// Puts a file on the boot partition.
    pub fn write_boot(&self, name: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let file = PathBuf::from(format!("{}.{name}", self.path.display()));
        std::fs::write(&file, content).with_context(|| format!("writing {}", file.display()))?;
        host::run(self.mtool("mcopy")?.arg("-o").arg(&file).arg(format!("::{name}")))?;
        std::fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))
    }

    /// Deletes a file of the boot partition, which has to be there.
    pub fn remove_boot(&self, name: &str) -> Result<()> {
        host::run(self.mtool("mdel")?.arg(format!("::{name}"))).map(drop)
    }

    fn mtool(&self, program: &str) -> Result<Command> {
        let offset = self.partition(1)?.offset();
        let mut command = Command::new(program);
        command.env("MTOOLS_SKIP_CHECK", "1").arg("-i").arg(format!("{}@@{offset}", self.path.display()));
        Ok(command)
    }
}
