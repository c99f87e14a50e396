use super::*;
use crate::table::{Partition, Scheme};

/// An MBR card of `sectors` sectors with these partitions: number, start, length in sectors.
fn mbr(sectors: u64, partitions: &[(u32, u64, u64)]) -> (u64, Table) {
    let last_usable = Lba(sectors.min(1 << 32) - 1);
    let scheme = Scheme::Mbr { signature: 0x1234_5678 };
    let partitions = partitions.iter().map(|&(number, start, length)| entry(number, start, length, "83")).collect();
    (sectors, Table { scheme, sector_size: 512, first_usable: Lba(1), last_usable, slots: 4, partitions })
}

fn gpt(sectors: u64, sector_size: u32, partitions: &[(u32, u64, u64)]) -> (u64, Table) {
    let guid = "00000000-0000-0000-0000-000000000000".to_owned();
    let scheme = Scheme::Gpt { disk_guid: guid.clone(), primary_sound: true, backup_sound: true, backup_at_end: true };
    let array = 16384 / u64::from(sector_size);
    let (first_usable, last_usable) = (Lba(2 + array), Lba(sectors - 2 - array));
    let partitions = partitions.iter().map(|&(number, start, length)| entry(number, start, length, &guid)).collect();
    (sectors, Table { scheme, sector_size, first_usable, last_usable, slots: 128, partitions })
}

fn entry(number: u32, start: u64, length: u64, kind: &str) -> Partition {
    Partition { number, start: Lba(start), sectors: Sectors(length), kind: kind.to_owned(), name: None }
}

/// The usual card: boot, root, upper; others are foreign.
fn card((sectors, table): (u64, Table)) -> Card {
    Card::from_table("/dev/mmcblk0", sectors, &table, |number| {
        let (label, kind) = match number {
            1 => ("vfat system-boot", SegmentKind::Boot),
            2 => ("ext4 writable", SegmentKind::Root),
            3 => ("ext4 burnonce", SegmentKind::Upper),
            _ => ("xfs Fotos \u{1b}[31m f\u{fc}r \u{201e}Oma\u{201c}", SegmentKind::Foreign),
        };
        (format!("/dev/mmcblk0p{number}"), label.to_owned(), kind)
    })
}

/// A picture and the file that it must be equal to; `BLESS=1` writes the file instead.
fn golden(name: &str, picture: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/picture").join(format!("{name}.txt"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, picture).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(picture, expected, "differs from {}:\n{picture}", path.display());
}

/// 8 GB as cards of that name have it.
const CARD_8: u64 = 15_523_840;
const CARD_64: u64 = 124_735_488;
const STOCK: [(u32, u64, u64); 2] = [(1, 2048, 524_288), (2, 526_336, 5_000_000)];

fn samples() -> Vec<(&'static str, Card)> {
    let with = |more: &[(u32, u64, u64)]| [&STOCK, more].concat();
    let upper = |card: u64| (3, 5_529_600, card - 5_529_600);
    let many: Vec<(u32, u64, u64)> = (1..=18).map(|n| (n, u64::from(n) * 400_000, 400_000)).collect();
    let crowd: Vec<(u32, u64, u64)> = (1..=45).map(|n| (n, u64::from(n) * 20_000, 20_000)).collect();
    vec![
        ("8-stock", card(mbr(CARD_8, &STOCK))),
        ("8-converted", card(mbr(CARD_8, &with(&[upper(CARD_8)])))),
        ("64-stock", card(mbr(CARD_64, &STOCK))),
        ("64-converted", card(mbr(CARD_64, &with(&[upper(CARD_64)])))),
        ("full", card(mbr(CARD_8, &[STOCK[0], (2, 526_336, CARD_8 - 526_336)]))),
        ("foreign", card(mbr(CARD_64, &with(&[(4, 60_000_000, 20_000_000)])))),
        ("tiny", card(mbr(CARD_64, &[(1, 63, 1), (2, 64, 2048), (3, 8192, 20_480), (4, CARD_64 - 8, 8)]))),
        ("empty", card(mbr(CARD_8, &[]))),
        ("three-tib-mbr", card(mbr(3 << 31, &STOCK))),
        ("gpt-many", card(gpt(CARD_8, 512, &many))),
        ("gpt-crowd", card(gpt(CARD_8, 512, &crowd))),
        ("gpt-4k", card(gpt(CARD_64 / 8, 4096, &[(1, 256, 65_536), (2, 65_792, 1_000_000)]))),
    ]
}

#[test]
fn pictures_look_as_they_did() {
    for (name, card) in samples() {
        golden(&format!("{name}-80"), &draw(&card, 80));
        golden(&format!("{name}-40"), &draw(&card, 40));
    }
    let of = |wanted: &str| samples().into_iter().find(|(name, _)| *name == wanted).unwrap().1;
    golden("before-after-68", &before_after(&of("64-stock"), &of("64-converted"), 68));
    golden("nothing-changes-68", &before_after(&of("full"), &of("full"), 68));
}

#[test]
fn pictures_are_ascii_and_never_too_wide() {
    for (name, card) in samples() {
        for width in 0..200 {
            let picture = before_after(&card, &Card { segments: Vec::new(), ..card.clone() }, width);
            assert!(picture.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{name}: {picture}");
            if width >= 8 {
                let widest = picture.lines().map(str::len).max().unwrap();
                assert!(widest <= width, "{name} in {width}:\n{picture}");
            }
        }
    }
}

#[test]
fn columns_are_shared_in_proportion_and_none_gets_too_little() {
    for (sizes, least, inside, expected) in [
        (vec![1, 1], vec![1, 1], 10, vec![5, 5]),
        (vec![1, 3], vec![1, 1], 40, vec![10, 30]),
        (vec![1, 1_000_000], vec![3, 3], 40, vec![3, 37]),
        (vec![1, 1, 1_000_000], vec![3, 3, 3], 9, vec![3, 3, 3]),
        (vec![0, 0], vec![2, 2], 10, vec![2, 8]),
        (vec![u64::MAX / 2, u64::MAX / 2], vec![1, 1], 3, vec![1, 2]),
        (vec![], vec![], 10, vec![]),
    ] {
        assert_eq!(proportion(&sizes, &least, inside), expected, "{sizes:?} in {inside}");
    }
}

/// As a copy onto a smaller card leaves it.
#[test]
fn what_lies_past_the_end_of_the_card_is_not_drawn() {
    let (_, table) =
        mbr(CARD_64, &[STOCK[0], STOCK[1], (3, 5_529_600, CARD_64 - 5_529_600 - 4096), (4, CARD_64 - 4096, 4096)]);
    let card = card((CARD_8, table));
    let drawn: Vec<_> = card.segments.iter().filter_map(|s| Some((s.number?, s.sectors.0))).collect();
    assert_eq!(drawn, [(1, STOCK[0].2), (2, STOCK[1].2), (3, CARD_8 - 5_529_600)]);
    assert!(draw(&card, 80).contains("cut short: ext4 burnonce"), "{}", draw(&card, 80));
}

/// A saved observation can name a table that no disk has.
#[test]
fn partitions_that_are_more_than_64_bits_hold_are_drawn() {
    let (sectors, mut table) = mbr(8 << 21, &[(1, 1, u64::MAX), (2, 2, u64::MAX)]);
    table.last_usable = Lba(u64::MAX);
    let picture = draw(&card((sectors, table)), 80);
    assert!(picture.lines().all(|line| line.len() <= 80), "{picture}");
}

#[test]
fn offsets_have_the_decimals_they_need() {
    for (bytes, text) in
        [(0, "0"), (MIB, "1"), (63 * 512, "0.03"), (MIB / 2, "0.5"), (10 * MIB + 1, "10"), (100 * MIB, "100")]
    {
        assert_eq!(mebibytes(bytes), text);
    }
}
