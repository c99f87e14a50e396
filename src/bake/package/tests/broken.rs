//! What is no package, or none that can be used: an error that names the file, and no panic.

use super::*;
use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

/// Opens and reads all of a .deb that has this content.
fn read(content: &[u8]) -> Result<Vec<String>> {
    let file = tempfile::Builder::new().suffix(".deb").tempfile().unwrap();
    fs::write(file.path(), content).unwrap();
    let listed = Package::open(file.path()).and_then(|package| listing(&package));
    listed.inspect_err(|error| {
        let text = format!("{error:#}");
        assert!(text.starts_with(&format!("the package {}: ", file.path().display())), "{text}");
    })
}

/// The files of a .deb that has this content.
fn contents(deb: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let file = tempfile::Builder::new().suffix(".deb").tempfile().unwrap();
    fs::write(file.path(), deb).unwrap();
    let mut found = Vec::new();
    Package::open(file.path())?.files(|Entry { path, kind, .. }| {
        let Kind::File { content, .. } = kind else { bail!("{path} is no file; fetch it again") };
        let mut all = Vec::new();
        content.read_to_end(&mut all)?;
        found.push((path, all));
        Ok(())
    })?;
    Ok(found)
}

fn refused(content: &[u8]) -> String {
    format!("{:#}", read(content).unwrap_err())
}

fn small(packing: &str) -> Vec<u8> {
    let work = TempDir::new().unwrap();
    let (tree, path) = (work.path().join("tree"), work.path().join("small.deb"));
    fs::create_dir_all(tree.join("usr")).unwrap();
    // Digits that cannot be packed well, so that the data are a few pieces long.
    let digits: String = (1..600u64).map(|n| (n * n * n * 7919 % 104_729).to_string()).collect();
    fs::write(tree.join("usr/digits"), digits).unwrap();
    build(&tree, &control("small", "1", "all", ""), packing, &path);
    fs::read(path).unwrap()
}

#[test]
fn one_that_was_cut_short_is_told_at_every_place() {
    for packing in ["-Zxz", "-Zgzip", "-Zzstd", "-Znone"] {
        let whole = small(packing);
        assert_eq!(read(&whole).unwrap().len(), 2, "{packing}");
        let ends = (0..whole.len() - 1).step_by(512).chain(0..200).chain(whole.len() - 20..whole.len() - 1);
        for length in ends {
            let text = refused(&whole[..length]);
            let no_package = "it is no Debian package";
            assert!(
                text.contains("fetch it again") || (length < 8 && text.contains(no_package)),
                "{packing}, {length}: {text}"
            );
        }
    }
}

/// The packed data cut short, and the sizes right: the decoder has to tell.
#[test]
fn data_that_were_cut_short_are_told() {
    let control = tar(&[("control", control("a", "1", "all", "").as_bytes())]);
    let data = tar(&[("a", &[7; 3000])]);
    let packed = [
        ("data.tar.xz", liblzma::encode_all(&data[..], 6).unwrap()),
        ("data.tar.zst", zstd::encode_all(&data[..], 3).unwrap()),
        ("data.tar", data[..3000].to_vec()),
    ];
    for (name, packed) in packed {
        for length in [packed.len() / 2, packed.len() - 1] {
            let content = ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), (name, &packed[..length])]);
            let text = refused(&content);
            assert!(text.contains("fetch it again"), "{name}, {length}: {text}");
        }
    }
}

#[test]
fn what_is_no_package_is_told() {
    let (good, data) = (control("a", "1", "all", ""), tar(&[]));
    let archive = tar(&[("control", good.as_bytes())]);
    let with = |members: &[(&str, &[u8])]| ar(members);
    let format = ("debian-binary", &b"2.0\n"[..]);
    let twice = tar(&[("control", good.as_bytes()), ("./control", good.as_bytes())]);
    let large = tar(&[("control", &vec![b'a'; (1 << 20) + 1])]);
    for (content, reason) in [
        (Vec::new(), "it is empty"),
        (b"PK\x03\x04 and so on".to_vec(), "it is no Debian package"),
        (b"!<arch>\n".to_vec(), "first member is not debian-binary"),
        (with(&[("control.tar", &archive)]), "first member is not debian-binary"),
        (with(&[("debian-binary", b"3.0\n"), ("control.tar", &archive)]), "of format 3.0"),
        (with(&[("debian-binary", b"x\n")]), "says no format"),
        (with(&[format]), "ends before control.tar"),
        (with(&[format, ("control.tar", &archive)]), "ends before data.tar"),
        (with(&[format, ("data.tar", &data), ("control.tar", &archive)]), "where control.tar should be"),
        (with(&[format, ("control.tar", &archive), ("data.tar.bz2", b"BZh")]), "does not unpack `data.tar.bz2`"),
        (with(&[format, ("control.tar", &archive), ("data.tar.xz", b"no xz")]), "fetch it again"),
        (with(&[format, ("control.tar", &archive), ("data.tar", &[7; 1024])]), "fetch it again"),
        (with(&[format, ("control.tar", &data), ("data.tar", &data)]), "has no file control"),
        (with(&[format, ("control.tar", &twice), ("data.tar", &data)]), "two files control"),
        (with(&[format, ("control.tar", &large), ("data.tar", &data)]), "no such package is taken"),
        (
            with(&[format, ("_1", b"")].iter().chain(&[("_x", &b""[..]); 20]).copied().collect::<Vec<_>>()),
            "among its first",
        ),
        (deb("Package: a\nVersion: 1\n", &data), "no field architecture"),
        (deb("Package: a\nArchitecture: all\n", &data), "no field version"),
        (deb("Version: 1\nArchitecture: all\n", &data), "no field package"),
        (deb(&(good.clone() + "version: 2\n"), &data), "the field version twice"),
        (deb(&(good.clone() + "\nPackage: b\n"), &data), "is no field"),
        (deb(" a\n", &data), "belongs to no field"),
        (deb(&control("../a", "1", "all", ""), &data), "so no package is called"),
        (deb(&control("a", "1/2", "all", ""), &data), "is no version"),
        (deb(&control("a", "1", "a/b", ""), &data), "so no architecture is called"),
        (deb(&control("a", "1", "all", "Depends: a b\n"), &data), "its field depends"),
        (deb(&control(&"a".repeat(250), "1", "all", ""), &data), "too long"),
    ] {
        let text = refused(&content);
        assert!(text.contains(reason), "{reason}: {text}");
    }
    let missing = Package::open(Path::new("/nowhere/a.deb")).unwrap_err();
    assert!(format!("{missing:#}").starts_with("the package /nowhere/a.deb: No such file"), "{missing:#}");
    assert!(format!("{:#}", Package::open(Path::new("/")).unwrap_err()).contains("it is no file"));
}

/// An archive with one entry, as `change` makes it.
fn odd(kind: EntryType, change: impl FnOnce(&mut Header), content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    owned_by_root(&mut header);
    header.as_old_mut().name[..1].copy_from_slice(b"a");
    change(&mut header);
    header.set_cksum();
    let mut archive = Builder::new(Vec::new());
    archive.append(&header, content).unwrap();
    archive.into_inner().unwrap()
}

fn named(name: &[u8]) -> impl FnOnce(&mut Header) {
    move |header| header.as_old_mut().name[..name.len()].copy_from_slice(name)
}

#[test]
fn files_that_no_package_should_have_are_refused() {
    let good = control("a", "1", "all", "");
    let target = |header: &mut Header| header.as_old_mut().linkname[..4].copy_from_slice(b"/../");
    let large = |header: &mut Header| header.set_size((256 << 20) + 1);
    let huge = |header: &mut Header| header.set_size(u64::MAX);
    for (data, reason) in [
        (odd(EntryType::Regular, named(b"/etc/x"), b""), "the absolute path `/etc/x`"),
        (odd(EntryType::Regular, named(b"./a/../../x"), b""), "leads out of the root"),
        (odd(EntryType::Directory, named(b".."), b""), "leads out of the root"),
        (odd(EntryType::Regular, named(b"\xff"), b""), "no text: `\\xff`"),
        (odd(EntryType::Link, target, b""), "the absolute path"),
        (odd(EntryType::Link, |_| {}, b""), "a link to nothing"),
        (odd(EntryType::Symlink, |_| {}, b""), "the target of the link"),
        (odd(EntryType::Block, |_| {}, b""), "a device or a pipe"),
        (odd(EntryType::Fifo, |_| {}, b""), "a device or a pipe"),
        (odd(EntryType::XHeader, |_| {}, b"13 path=/etc\n"), "a pax header"),
        (odd(EntryType::GNUSparse, |_| {}, b""), "it is sparse"),
        (odd(EntryType::new(b'?'), |_| {}, b""), "unknown kind, '?'"),
        (odd(EntryType::Regular, large, b""), "more than 256 MiB"),
        (odd(EntryType::Regular, huge, b""), "fetch it again"),
        (odd(EntryType::Regular, |header| header.set_uid(1 << 40), b""), "a number that is too large"),
        (odd(EntryType::Regular, |header| header.set_size(9999), b"short"), "ends"),
        (odd(EntryType::GNULongName, |_| {}, &[b'a'; 5000]), "a path of 5000 bytes"),
        (odd(EntryType::GNULongName, |_| {}, b"name\0"), "ends after a name"),
        (tar(&[(&"a".repeat(256), b"")]), "a name of more than 255 bytes"),
    ] {
        let text = refused(&deb(&good, &data));
        assert!(text.contains(reason), "{reason}: {text}");
    }
    let root = odd(EntryType::Directory, named(b"./"), b"");
    assert_eq!(read(&deb(&good, &root)).unwrap(), [""; 0]);
    let old = odd(EntryType::Regular, named(b"./usr/"), b"");
    assert_eq!(read(&deb(&good, &old)).unwrap(), ["usr 644 directory"]);
}

/// So small a file unpacks to more than any package has.
#[test]
fn what_unpacks_to_too_much_is_refused() {
    let bomb = zstd::encode_all(io::repeat(0).take(64 << 20), 1).unwrap();
    assert!(bomb.len() < 64 << 10);
    let data = tar(&[]);
    let content = ar(&[("debian-binary", b"2.0\n"), ("control.tar.zst", &bomb), ("data.tar", &data)]);
    assert!(refused(&content).contains("larger than any package"), "{}", refused(&content));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bytes_do_not_stop_it(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..6),
        which in 0usize..4,
    ) {
        static WHOLE: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
        let whole = WHOLE.get_or_init(|| ["-Zxz", "-Zgzip", "-Zzstd", "-Znone"].map(small).to_vec());
        let mut content = whole[which].clone();
        for (at, by) in flips {
            let at = at.index(content.len());
            content[at] ^= by;
        }
        // Where it can be read all the same, it is in what has no checksum.
        if let Ok(lines) = read(&content) {
            prop_assert!(lines.len() <= 3, "{:?}", lines);
        }
    }

    #[test]
    fn flipped_bytes_change_no_file(at in any::<prop::sample::Index>(), by in 1u8.., which in 0usize..3) {
        let content = tar(&[("a", &[7; 3000]), ("b", b"x")]);
        let (name, packed) = match which {
            0 => ("data.tar.xz", liblzma::encode_all(&content[..], 6).unwrap()),
            1 => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                io::copy(&mut &content[..], &mut gzip).unwrap();
                ("data.tar.gz", gzip.finish().unwrap())
            }
            _ => {
                let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
                zstd.include_checksum(true).unwrap();
                io::copy(&mut &content[..], &mut zstd).unwrap();
                ("data.tar.zst", zstd.finish().unwrap())
            }
        };
        let mut packed = packed;
        // gzip's header has no checksum, nor is it part of what is packed.
        let at = 10 + at.index(packed.len() - 10);
        packed[at] ^= by;
        let control = tar(&[("control", control("a", "1", "all", "").as_bytes())]);
        let damaged = ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), (name, &packed)]);
        let error = match contents(&damaged) {
            // gzip can say the same in another way, and says in some bits nothing.
            Ok(found) => {
                prop_assert_eq!(found, [("a".to_owned(), vec![7; 3000]), ("b".to_owned(), b"x".to_vec())]);
                return Ok(());
            }
            Err(error) => error,
        };
        let text = format!("{error:#}");
        prop_assert!(text.contains("fetch it again") || text.contains("larger than"), "{}", text);
    }
}
