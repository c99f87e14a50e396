use super::*;
use std::collections::BTreeSet;
use std::time::Instant;

/// What a mistake is answered with, without the file's name.
fn mistake(text: &str) -> String {
    match parse(text) {
        Ok(config) => panic!("{text:?} was accepted: {config:?}"),
        Err(error) => error.to_string().strip_prefix("/etc/burnonce.yaml:").unwrap().to_owned(),
    }
}

const TOP: &str = "allowed here: convert, partition, repartition, overlay, reset, diff, console, log";
const MIN: &str = "allowed: a size of at least 64 MiB, for example `2 GiB`";
const ALIGN: &str = "allowed: auto, or a power of two from `1 MiB` to `64 MiB`";
const LEVEL: &str = "allowed: error, warn, info, debug";
const CANNOT_START: &str = "not YAML: found character that cannot start any token, while scanning for the next token";
const NO_TAB: &str = "(YAML allows no tab here; use spaces)";

#[test]
fn every_mistake_has_its_place_and_what_is_allowed() {
    let cases: &[(&str, String)] = &[
        // Keys.
        ("convrt: true\n", format!("1:1: unknown key `convrt`; {TOP} (did you mean `convert`?)")),
        ("Convert: true\n", format!("1:1: unknown key `Convert`; {TOP} (did you mean `convert`?)")),
        ("colour: red\n", format!("1:1: unknown key `colour`; {TOP}")),
        (
            "# one\nconvert: true\npartition: {mim: 1G}\n",
            "3:13: unknown key `partition.mim`; allowed here: min, size, align (did you mean `min`?)".into(),
        ),
        (
            "partition:\n  aling: auto\n",
            "2:3: unknown key `partition.aling`; allowed here: min, size, align (did you mean `align`?)".into(),
        ),
        ("min: 1G\n", format!("1:1: unknown key `min`; {TOP} (`min` belongs under `partition:`)")),
        (
            "partition.min: 1G\n",
            format!(
                "1:1: unknown key `partition.min`; {TOP} (write `partition:` and, indented on the next line, `min:`)"
            ),
        ),
        (
            "log:\n  conf: x\n",
            "2:3: unknown key `log.conf`; allowed here: level (`conf` belongs under `overlay:`)".into(),
        ),
        ("1: 2\n", format!("1:1: unknown key `1`; {TOP}")),
        ("<<: {convert: true}\n", format!("1:1: unknown key `<<`; {TOP}")),
        ("überfluß: 1\n", format!("1:1: unknown key `überfluß`; {TOP}")),
        ("\u{feff}convrt: true\n", format!("1:2: unknown key `convrt`; {TOP} (did you mean `convert`?)")),
        ("~: x\n", format!("1:1: found nothing where a key belongs; {TOP}")),
        ("? [a]\n: b\n", format!("1:3: found a list where a key belongs; {TOP}")),
        ("? {a: b}\n: c\n", format!("1:3: found keys where a key belongs; {TOP}")),
        // Duplicates: where the second is.
        ("partition:\n  min: 1G\n  min: 2G\n", "3:3: key `partition.min` is here a second time; allowed: once".into()),
        (
            "partition:\n  min: 1G\nlog:\n  level: info\npartition:\n  align: auto\n",
            "5:1: key `partition` is here a second time; allowed: once".into(),
        ),
        // Values.
        ("convert: yes\n", "1:10: `convert`: `yes` is not allowed; allowed: true, false (did you mean `true`?)".into()),
        ("convert: no\n", "1:10: `convert`: `no` is not allowed; allowed: true, false (did you mean `false`?)".into()),
        ("convert: 1\n", "1:10: `convert`: `1` is not allowed; allowed: true, false (did you mean `true`?)".into()),
        ("convert: maybe\n", "1:10: `convert`: `maybe` is not allowed; allowed: true, false".into()),
        ("convert: [true]\n", "1:10: `convert`: found a list where one value belongs; allowed: true, false".into()),
        ("convert: {a: b}\n", "1:10: `convert`: found keys where one value belongs; allowed: true, false".into()),
        (
            "convert: !foo true\n",
            "1:10: `convert`: found a tag (`!`) where one value belongs; allowed: true, false".into(),
        ),
        ("partition:\n  min: 1 XiB\n", format!("2:8: `partition.min`: `1 XiB` is not a size; {MIN}")),
        ("partition:\n  min: -1\n", format!("2:8: `partition.min`: `-1` is not a size; {MIN}")),
        ("partition:\n  min: 1.5 GiB\n", format!("2:8: `partition.min`: `1.5 GiB` is not a size; {MIN}")),
        ("partition:\n  min: 63 MiB\n", format!("2:8: `partition.min`: `63 MiB` is too small; {MIN}")),
        ("partition:\n  min: 512\n", format!("2:8: `partition.min`: `512` is too small; {MIN}")),
        ("partition:\n  align: 3 MiB\n", format!("2:10: `partition.align`: `3 MiB` is not a power of two; {ALIGN}")),
        ("partition:\n  align: 128 MiB\n", format!("2:10: `partition.align`: `128 MiB` is too large; {ALIGN}")),
        ("partition:\n  align: 512\n", format!("2:10: `partition.align`: `512` is too small; {ALIGN}")),
        (
            "partition:\n  align: Auto\n",
            format!("2:10: `partition.align`: `Auto` is not allowed; {ALIGN} (did you mean `auto`?)"),
        ),
        (
            "overlay:\n  conf: /etc/overlay.conf\n",
            "2:9: `overlay.conf`: `/etc/overlay.conf` is not allowed; allowed: /etc/overlayroot.local.conf, \
             /etc/overlayroot.conf"
                .into(),
        ),
        (
            "console:\n  led: on\n",
            "2:8: `console.led`: `on` is not allowed; allowed: auto, off (did you mean `auto`?)".into(),
        ),
        (
            "console:\n  led: false\n",
            "2:8: `console.led`: `false` is not allowed; allowed: auto, off (did you mean `off`?)".into(),
        ),
        (
            "log:\n  level: warning\n",
            format!("2:10: `log.level`: `warning` is not allowed; {LEVEL} (did you mean `warn`?)"),
        ),
        ("convert: true\r\nlog:\r\n  level: x\r\n", format!("3:10: `log.level`: `x` is not allowed; {LEVEL}")),
        (
            "log:\n  level: a value that is too long to be shown whole\n",
            format!("2:10: `log.level`: `a value that is too long to be shown who...` is not allowed; {LEVEL}"),
        ),
        ("log:\n  level: \"a\\nb\"\n", format!("2:10: `log.level`: `a b` is not allowed; {LEVEL}")),
        // Shapes.
        ("- a\n- b\n", format!("1:1: found a list where keys belong; {TOP}")),
        ("convert true\n", format!("1:1: found `convert true` where keys belong; {TOP}")),
        (
            "convert:true\n",
            format!("1:1: found `convert:true` (a space belongs after the colon) where keys belong; {TOP}"),
        ),
        ("partition: 5\n", "1:12: `partition`: found `5` where keys belong; allowed here: min, size, align".into()),
        ("partition: []\n", "1:12: `partition`: found a list where keys belong; allowed here: min, size, align".into()),
        // The text.
        ("partition:\n\tmin: 1G\n", format!("2:1: {CANNOT_START} {NO_TAB}")),
        (
            "partition:\n  min: 1G\n\talign: auto\n",
            format!(
                "3:1: not YAML: found a tab character that violates indentation, while scanning a plain scalar at line 2 \
                 column 8 {NO_TAB}"
            ),
        ),
        ("convert: @x\n", format!("1:10: {CANNOT_START}")),
        (
            "convert: \"x\n",
            "2:1: not YAML: found unexpected end of stream, while scanning a quoted scalar at line 1 column 10".into(),
        ),
        (
            "partition:\n  min: 1G\n align: auto\n",
            "3:2: not YAML: did not find expected key, while parsing a block mapping".into(),
        ),
        ("convert: a\0b\n", "1:11: not text: a control character; remove it".into()),
        ("convert: true\n# \u{7}\n", "2:3: not text: a control character; remove it".into()),
        ("convert: true\n--- \nconvert: false\n", "2:1: a second YAML document begins here; allowed: one".into()),
        ("convert: true\n---\n", "2:1: a second YAML document begins here; allowed: one".into()),
        // Anchors and aliases.
        ("convert: *x\n", "1:10: not YAML: unknown anchor".into()),
        ("partition: &p\n  min: *p\n", format!("1:12: `partition.min`: found keys where one value belongs; {MIN}")),
        (
            "partition: &p\n  min: 1G\nlog: *p\n",
            "2:3: unknown key `log.min`; allowed here: level (`min` belongs under `partition:`)".into(),
        ),
        ("a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", format!("1:1: unknown key `a`; {TOP}")),
    ];
    for (text, expected) in cases {
        assert_eq!(&mistake(text), expected, "{text:?}");
    }
}

#[test]
fn nothing_said_is_the_default() {
    for text in [
        "",
        "\n",
        "# only a comment\n",
        "---\n",
        "---\n# nothing\n...\n",
        "~\n",
        "{}\n",
        "partition:\n",
        "partition: {}\n",
        "partition:\n  min:\n  align: ~\n",
        "convert:\nlog: # nothing\n",
    ] {
        assert_eq!(parse(text), Ok(Config::default()), "{text:?}");
    }
}

#[test]
fn what_is_said_is_understood() {
    let text = "\
%YAML 1.1
---
convert: False      # YAML's own words for a boolean
partition: {min: 2 GiB, size: 75 %, align: 8 MiB}
repartition:
  truncated: remake
overlay:
  conf: \"/etc/overlayroot.conf\"
  on_failure: stop
  hold: false
reset:
  keep:
    - /etc/ssh/ssh_host_*
    - /var/lib/rancher/
  on: [user-data]
  generations: 3
diff: {fold: [/var/log]}
console: &c
  led: off
log:
  level: |
    debug
...
# the end
";
    let expected = Config {
        convert: false,
        partition: PartitionConfig { min: Bytes(2 << 30), size: Size::Percent(75), align: Align::To(Bytes(8 * MIB)) },
        repartition: RepartitionConfig { truncated: Truncated::Remake },
        overlay: OverlayConfig {
            conf: PathBuf::from("/etc/overlayroot.conf"),
            on_failure: OnFailure::Stop,
            hold: false,
        },
        reset: ResetConfig {
            keep: vec!["/etc/ssh/ssh_host_*".to_owned(), "/var/lib/rancher".to_owned()],
            on: vec![ResetOn::UserData],
            generations: 3,
        },
        diff: DiffConfig { fold: vec!["/var/log".to_owned()] },
        console: ConsoleConfig { led: Led::Off },
        log: LogConfig { level: LevelFilter::Debug },
    };
    assert_eq!(parse(text), Ok(expected));
    for (size, bytes) in [("64 MiB", 64 * MIB), ("67108864", 64 * MIB), ("0x4000000", 64 * MIB), ("1GB", 1_000_000_000)]
    {
        let config = parse(&format!("partition: {{min: {size}}}")).unwrap();
        assert_eq!(config.partition.min, Bytes(bytes), "{size}");
    }
    for (size, meant) in [
        ("rest", Size::Rest),
        ("8 GiB", Size::Bytes(Bytes(8 << 30))),
        ("50 %", Size::Percent(50)),
        ("'100%'", Size::Percent(100)),
        ("1%", Size::Percent(1)),
    ] {
        assert_eq!(parse(&format!("partition: {{size: {size}}}")).unwrap().partition.size, meant, "{size}");
    }
    for size in ["0 %", "101 %", "50.5 %", "-1 %", "63 MiB", "half", "%"] {
        let error = mistake(&format!("partition:\n  size: '{size}'\n"));
        assert!(error.contains("`partition.size`") && error.contains("allowed: rest, a size"), "{error}");
    }
}

/// Every key is known to the parser, its default is the default, what it allows is accepted, and there is no other key.
#[test]
fn the_table_of_keys_and_the_parser_agree() {
    let mut names = BTreeSet::new();
    for key in KEYS {
        assert!(names.insert(key.name), "{} twice", key.name);
        let setting = |value: &str| match key.name.split_once('.') {
            Some((section, last)) => format!("{section}:\n  {last}: {value}\n"),
            None => format!("{}: {value}\n", key.name),
        };
        assert_eq!(parse(&setting(key.default)), Ok(Config::default()), "{}", key.name);
        let words: Vec<&str> = match key.name {
            "partition.min" => vec!["64 MiB", "2 GiB"],
            "partition.align" => vec!["auto", "1 MiB", "64 MiB"],
            "partition.size" => vec!["rest", "64 MiB", "8 GiB", "1 %", "100 %"],
            "reset.keep" => vec!["[]", "[/etc/ssh/ssh_host_*]", "[/a, /b/**]"],
            "diff.fold" => vec!["[]", "[/var/log]", key.default],
            "reset.generations" => vec!["0", "1", "9"],
            _ => key.allowed.split(", ").collect(),
        };
        let mut seen = Vec::new();
        for word in &words {
            let config = parse(&setting(word)).unwrap_or_else(|error| panic!("{}: {error}", setting(word)));
            assert!(!seen.contains(&config), "{} means the same as another value of {}", word, key.name);
            seen.push(config);
        }
        if !key.name.starts_with("partition.") {
            assert!(words.contains(&key.default), "{}", key.name);
        }
        let error = mistake(&setting("nonsense"));
        assert!(error.contains(&format!("`{}`", key.name)) && error.contains(key.allowed), "{error}");
        assert!(!key.meaning.is_empty() && key.meaning.is_ascii() && !key.meaning.ends_with('.'), "{}", key.name);
    }
    let mut config = Config::default();
    let error = super::value::set(&mut config, "no.key", "x").unwrap_err();
    assert!(error.contains("has no meaning"), "{error}");
}

#[test]
fn a_file_is_named_in_its_errors() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("burnonce.yaml");
    assert_eq!(load(&path).unwrap(), Config::default(), "a missing file");
    let shown = path.display();
    let accents = "é".repeat(16 * 1024);
    let cases: [(&[u8], String); 6] = [
        (b"convert: maybe\n", format!("{shown}:1:10: `convert`: `maybe` is not allowed; allowed: true, false")),
        (b"convert: true\n# caf\xe9\n", format!("{shown}:2:6: not UTF-8 text; save the file as UTF-8")),
        (b"convert: true\n\xff", format!("{shown}:2:1: not UTF-8 text; save the file as UTF-8")),
        (b"\xff\xfec\0o\0", format!("{shown}:1:1: not UTF-8 text; save the file as UTF-8")),
        (&[b'#'; 16 * 1024 + 1], format!("{shown}:1:1: longer than 16 KiB; no configuration needs that")),
        (accents.as_bytes(), format!("{shown}:1:1: longer than 16 KiB; no configuration needs that")),
    ];
    for (bytes, expected) in cases {
        std::fs::write(&path, bytes).unwrap();
        let error = load(&path).unwrap_err();
        assert_eq!(format!("{error:#}"), expected);
        assert!(error.downcast_ref::<ConfigError>().is_some());
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(format!("{:#}", load(&path).unwrap_err()), format!("reading {shown}: Is a directory (os error 21)"));
}

/// Texts made to exhaust a parser: as bad as they can be within the length that is read.
#[test]
fn hostile_texts_end_soon() {
    let begun = Instant::now();
    assert_eq!(mistake(&"[".repeat(LONGEST)), format!("1:1: found a list where keys belong; {TOP}"));
    assert_eq!(mistake(&"{".repeat(LONGEST)), format!("1:2: found keys where a key belongs; {TOP}"));
    assert!(mistake(&"- ".repeat(LONGEST / 2)).starts_with("1:1: found a list"));
    assert!(mistake(&"? ".repeat(LONGEST / 2)).starts_with("1:3: found keys where a key belongs"));
    let mut bomb = "log: &a0 {level: info}\n".to_owned();
    for level in 1..200 {
        let previous = level - 1;
        bomb += &format!("a{level}: &a{level} [*a{previous}, *a{previous}, *a{previous}]\n");
    }
    assert_eq!(mistake(&bomb), format!("2:1: unknown key `a1`; {TOP}"));
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}
