//! Makes a seed of an image, on standard output: `seed table|gpt|publish|superblock|owner|fat IMAGE`. For the other targets the file itself
//! is one.

use burnonce_fuzz::disk::Disk;
use burnonce_fuzz::superblock::owner_seed;
use std::io::Write;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, image] = arguments.as_slice() else { panic!("two arguments: the target and the image") };
    let image = std::fs::read(image).unwrap_or_else(|error| panic!("reading {image}: {error}"));
    let seed = match target.as_str() {
        "table" | "gpt" | "publish" => disk(&image),
        "superblock" => image.get(1024..2048).expect("an image of 2 KiB or more").to_vec(),
        "owner" | "fat" => owner_seed(&image),
        other => panic!("{other}: for this target the file itself is the seed"),
    };
    std::io::stdout().write_all(&seed).expect("writing to standard output");
}

/// The sectors at both ends that a table can be in, zeroes left out. Sectors of 4096 bytes where a GPT's header shows it.
fn disk(image: &[u8]) -> Vec<u8> {
    const GRAIN: usize = 16;
    const FAR: usize = 34 * 512;
    let large = image.get(4096..4104) == Some(b"EFI PART");
    let sectors = image.len() / if large { 4096 } else { 512 };
    let mut pieces: Vec<(usize, usize)> = Vec::new();
    for at in (0..image.len()).step_by(GRAIN).filter(|at| *at < FAR || at + FAR >= image.len()) {
        if image[at..image.len().min(at + GRAIN)].iter().all(|byte| *byte == 0) {
            continue;
        }
        match pieces.last_mut() {
            Some((start, length)) if *start + *length == at => *length += GRAIN,
            _ => pieces.push((at, GRAIN)),
        }
    }
    let pieces: Vec<(u64, &[u8])> =
        pieces.iter().map(|&(at, length)| (at as u64, &image[at..image.len().min(at + length)])).collect();
    Disk::to_bytes(u8::from(large), sectors as u64, &pieces)
}
