//! Prompts of data sets that another program wrote (`fixtures/datasets/make.py`, synthetic).

use controller_core::rng::Pcg32;
use host_runner::dataset::convert::{ConvertError, Prompt, Wanted, convert};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/datasets").join(name)
}

fn prompt(text: &str, answer: Option<&str>) -> Prompt {
    Prompt { prompt: text.to_owned(), answer: answer.map(str::to_owned) }
}

const BRIDGE: &str = "who built the first bridge over the quiet river";
const HILL: &str = "what is the tallest hill of the island";

#[test]
fn every_format_gives_the_same_prompts() {
    for name in ["saved", "footer.arrow", "none.parquet", "snappy.parquet", "gzip.parquet"] {
        let converted = convert(&fixture(name), &Wanted::default()).unwrap();
        assert_eq!(converted.prompts, [prompt(BRIDGE, None), prompt(HILL, None)], "{name}");
        assert_eq!((converted.empty, converted.field.as_str()), (2, "question.text"), "{name}");
        let wanted = Wanted { answer: Some("answer".into()), limit: Some(1), ..Wanted::default() };
        let one = convert(&fixture(name), &wanted).unwrap();
        assert_eq!(one.prompts, [prompt(BRIDGE, Some("the millers"))], "{name}");
    }
}

#[test]
fn a_folder_of_splits_asks_for_one() {
    let with = |split: Option<&str>| {
        convert(&fixture("splits"), &Wanted { split: split.map(str::to_owned), ..Wanted::default() })
    };
    assert!(matches!(with(None), Err(ConvertError::Split { splits, .. }) if splits == "train, validation"));
    assert!(matches!(with(Some("test")), Err(ConvertError::Split { .. })));
    assert_eq!(with(Some("validation")).unwrap().prompts, [prompt(HILL, None)]);
}

#[test]
fn bad_input_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let take = |path: &Path| convert(path, &Wanted::default());
    assert!(matches!(take(Path::new("/nowhere")), Err(ConvertError::Read { .. })));
    assert!(matches!(take(folder.path()), Err(ConvertError::NotSaved(_))));
    assert!(matches!(take(&written("a.xyz", b"")), Err(ConvertError::Kind(_))));
    assert!(matches!(take(&written("a.arrow", b"no arrow at all")), Err(ConvertError::Damaged(_))));
    assert!(matches!(take(&written("a.parquet", b"no parquet")), Err(ConvertError::Parquet { .. })));
    assert!(matches!(
        take(&written("a.jsonl", b"{\"prompt\": \"x\"}\n[1]\n")),
        Err(ConvertError::Json { line: 2, .. })
    ));
    assert!(matches!(take(&written("b.jsonl", b"{\"title\": \"x\"}\n")), Err(ConvertError::Field { .. })));
    assert!(matches!(take(&written("a.txt", b"\n \n")), Err(ConvertError::Empty(_))));
    let message = take(&fixture("zstd.parquet")).unwrap_err().to_string();
    assert!(message.contains("Snappy or gzip"), "{message}");
    for (field, answer) in [("count", None), ("question", None), ("question.text", Some("nothing"))] {
        let wanted = Wanted { field: Some(field.to_owned()), answer: answer.map(str::to_owned), ..Wanted::default() };
        for name in ["saved", "snappy.parquet"] {
            let result = convert(&fixture(name), &wanted);
            assert!(matches!(result, Err(ConvertError::Field { .. })), "{name} {field}: {result:?}");
        }
    }
}

#[test]
fn a_cut_off_file_is_an_error_and_not_a_short_data_set() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["saved/data-00000-of-00001.arrow", "footer.arrow", "snappy.parquet"] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        let path = folder.path().join(Path::new(name).file_name().unwrap());
        for length in (0..bytes.len()).step_by(37) {
            std::fs::write(&path, &bytes[..length]).unwrap();
            // A stream that ends between two batches without its end mark is taken as far as it goes.
            if let Ok(converted) = convert(&path, &Wanted::default()) {
                assert!(name.starts_with("saved"), "{name} cut to {length} gave {converted:?}");
                assert_eq!(converted.prompts.first().map(|p| p.prompt.as_str()), Some(BRIDGE));
            }
        }
    }
}

const FORMATS: [&str; 5] =
    ["saved/data-00000-of-00001.arrow", "footer.arrow", "none.parquet", "snappy.parquet", "gzip.parquet"];

/// Any damage gives prompts or an error, and never ends the process. Each format has a process of its own, since an
/// allocation that is too large ends one. `ENERGYLLM_DAMAGED_DATASETS=100000` tries more than a test run has time for.
#[test]
fn damaged_files_are_errors() {
    for name in FORMATS {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "child_that_reads_damaged_files", "--ignored", "--nocapture"]).env("DATASET", name);
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {}, {said}", output.status);
        assert!(!said.contains("panicked"), "{name}: {said}");
    }
}

#[test]
#[ignore = "started by damaged_files_are_errors"]
fn child_that_reads_damaged_files() {
    let name = std::env::var("DATASET").expect("DATASET names a fixture");
    let cases: u32 = std::env::var("ENERGYLLM_DAMAGED_DATASETS").ok().and_then(|n| n.parse().ok()).unwrap_or(600);
    let whole = std::fs::read(fixture(&name)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(Path::new(&name).file_name().unwrap());
    let mut random = Pcg32::new(20_261_123);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..cases {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(3) {
            let place = random.below(u32::try_from(bytes.len()).unwrap()) as usize;
            match random.below(4) {
                0 => bytes[place] ^= 1 << random.below(8),
                1 => bytes[place] = 0xff,
                2 => bytes[place] = 0,
                // A length or an offset that is far too large.
                _ => bytes.iter_mut().skip(place).take(4).for_each(|byte| *byte = 0x7f),
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        let start = std::time::Instant::now();
        match convert(&path, &Wanted::default()) {
            Ok(_) => read += 1,
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
            }
        }
        assert!(start.elapsed().as_secs() < 60, "a damaged file hangs");
    }
    println!("{name}: {read} read, {refused} refused");
    assert!(read > 0 && refused > 0, "the damage is too little or too much: {read} read, {refused} refused");
}

#[test]
fn plain_text_and_json_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    std::fs::write(&path, "\u{feff}one\n\n two \n").unwrap();
    let converted = convert(&path, &Wanted::default()).unwrap();
    assert_eq!(converted.prompts, [prompt("one", None), prompt("two", None)]);
    let path = folder.path().join("a.jsonl");
    std::fs::write(&path, "{\"question\": {\"text\": \"one\"}, \"a\": [\"x\", \"y\"]}\n").unwrap();
    let wanted = Wanted { answer: Some("a".into()), ..Wanted::default() };
    assert_eq!(convert(&path, &wanted).unwrap().prompts, [prompt("one", Some("x"))]);
}

#[test]
fn a_way_leads_through_lists_of_structures() {
    let wanted = Wanted { answer: Some("annotations.short.text".into()), ..Wanted::default() };
    let expected = [prompt(BRIDGE, None), prompt(HILL, Some("mount grey"))];
    for name in ["nested.arrow", "nested.parquet"] {
        assert_eq!(convert(&fixture(name), &wanted).unwrap().prompts, expected, "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nested.jsonl");
    let rows = [
        serde_json::json!({"question": {"text": BRIDGE}, "annotations": []}),
        serde_json::json!({"question": {"text": HILL}, "annotations": [{"short": [{"text": ["mount grey", "grey"]}]}]}),
    ];
    std::fs::write(&path, format!("{}\n{}\n", rows[0], rows[1])).unwrap();
    assert_eq!(convert(&path, &wanted).unwrap().prompts, expected);
}

#[test]
fn a_line_without_the_field_is_a_row_without_a_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    std::fs::write(&path, "{\"other\": 1}\n{\"question\": \"one\"}\n{\"other\": 2}\n").unwrap();
    let converted = convert(&path, &Wanted::default()).unwrap();
    assert_eq!((converted.prompts.as_slice(), converted.empty), ([prompt("one", None)].as_slice(), 2));
    // A field that is there and never filled is no missing field.
    std::fs::write(&path, "{\"question\": null}\n").unwrap();
    assert!(matches!(convert(&path, &Wanted::default()), Err(ConvertError::Empty(_))));
}
