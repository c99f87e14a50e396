use super::*;
use crate::state::Size;
use std::fs;

/// What a reset of an upper with these files (each a name and a length) would do.
fn survey(files: &[(&str, usize)], keep: &[&str]) -> Survey {
    let upper = tempfile::tempdir().unwrap();
    for (name, length) in files {
        let path = upper.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![1; *length]).unwrap();
    }
    let keep: Vec<String> = keep.iter().map(|text| (*text).to_owned()).collect();
    let mut survey = keep::survey(upper.path(), &keep).unwrap();
    // File systems differ in what a file takes.
    survey.kept.iter_mut().for_each(|(_, size)| size.bytes = size.files * 1024);
    survey.dropped_below.iter_mut().for_each(|(_, size)| size.bytes = size.files << 20);
    survey.dropped = Size { files: 3417, bytes: 1_288_490_189 };
    survey
}

fn question<'a>(survey: Survey, keep: &'a [String]) -> Question<'a> {
    Question { survey: Ok(survey), keep, began: 1_793_527_920, generations: 1, percent: 40, user_data: None }
}

#[test]
fn the_question_names_what_is_lost_and_what_is_kept() {
    let keep = ["/etc/ssh/*".to_owned(), "/nowhere".to_owned()];
    let files = [("etc/ssh/key", 10), ("etc/ssh/key.pub", 10), ("var/x", 10)];
    let first = question(survey(&files, &["/etc/ssh/*", "/nowhere"]), &keep);
    assert_eq!(
        first.text(),
        "\
This node goes back to the image as it was burned.
What is lost: 1.2 GiB in 3,417 files, written since 2026-11-01 10:12 UTC.
What is kept: 2 KiB in 2 files (/etc/ssh/*, /nowhere).
Nothing that was written matches /nowhere.
`burnonce undo` brings it back, as long as the generation is kept.
"
    );
    let bare = Question {
        began: 0,
        generations: 0,
        user_data: Some(Path::new("new.yaml")),
        ..question(survey(&files, &[]), &[])
    };
    assert_eq!(
        bare.text(),
        "\
This node goes back to the image as it was burned.
What is lost: 1.2 GiB in 3,417 files.
new.yaml becomes its user-data.
This cannot be undone: `reset.generations` is 0.
"
    );
    let full = Question { percent: 91, survey: Err(anyhow::anyhow!("no")), ..question(survey(&files, &[]), &[]) };
    assert_eq!(
        full.text(),
        "\
This node goes back to the image as it was burned.
What is lost: all that was written since 2026-11-01 10:12 UTC; it could not be counted: no.
`burnonce undo` brings it back, as long as the generation is kept; the upper is 91 % full, so that may not be long.
"
    );
}

#[test]
fn the_preview_lists_what_is_kept_and_sums_up_what_is_lost() {
    let survey = survey(&[("etc/ssh/key", 10), ("home/a/b", 10), ("var/x", 10)], &["/etc/ssh", "/nowhere"]);
    assert_eq!(
        preview::text(&survey, 0),
        "\
What is kept: 2 KiB in 2 files.
       2 KiB           2  /etc/ssh
Nothing that was written matches /nowhere.
What is lost: 1.2 GiB in 3,417 files.
       3 MiB           3  /home
       2 MiB           2  /var
"
    );
}

#[test]
fn a_long_preview_is_cut() {
    let names: Vec<String> = (0..20).map(|n| format!("top{n:02}/x")).collect();
    let files: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let text = preview::text(&survey(&files, &[]), 0);
    assert_eq!(text.lines().count(), 2 + 15, "{text}");
    assert!(text.starts_with("Nothing is kept.\n") && text.ends_with("12 MiB          12  6 more in /\n"), "{text}");
}

#[test]
fn patterns_of_both_places_count_once() {
    let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let all = patterns(&list(&["/etc/a"]), &list(&["/b/", "/etc/a", "/c"])).unwrap();
    assert_eq!(all, ["/etc/a", "/b", "/c"]);
    let error = patterns(&[], &list(&["etc"])).unwrap_err();
    assert_eq!(error.to_string(), "--keep: `etc` is no absolute path");
    assert!(error.is::<Refused>());
}
