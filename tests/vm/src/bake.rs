//! `burnonce bake`, as on a workstation: the package's own program, and a user without any rights.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result};

use crate::bed::Bed;
use crate::host;
use crate::image::{Image, package};

/// Bakes a copy of `image` in a directory of the scenario, with these options. nobody does it, who has to be able to read what
/// the options name.
pub fn bake(bed: &Bed, image: &Image, options: &[OsString]) -> Result<Image> {
    let directory = bed.dir().join("workstation");
    host::run(Command::new("dpkg-deb").arg("-x").arg(package()?).arg(&directory))?;
    let baked = directory.join("baked.img");
    host::run(Command::new("chown").arg("nobody").arg(&directory))?;
    host::run(Command::new("chmod").arg("a+rx").arg(bed.dir()))?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--no-new-privs"]);
    command.arg(directory.join("usr/sbin/burnonce")).arg("bake").arg(&image.path).arg("-o").arg(&baked).args(options);
    let said =
        host::run(&mut command).context("baking as nobody, who must be able to reach the image and the packages")?;
    println!("vm: {}", said.trim_end());
    Ok(Image { path: baked })
}
