//! The repository itself: what is said twice is said alike.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

type Names = BTreeSet<String>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files below a directory of the repository, without what was built.
fn files_below(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory that can be read") {
        let path = entry.expect("an entry that can be read").path();
        let built = path.file_name() == Some(".git".as_ref()) || path.join("CACHEDIR.TAG").exists();
        if path.is_dir() && !built && !path.ends_with("target") {
            files_below(&path, files);
        } else if path.is_file() {
            files.push(path);
        }
    }
}

/// Every text file, by its path from the root.
fn texts() -> Vec<(String, String)> {
    let mut files = Vec::new();
    files_below(root(), &mut files);
    let texts = files.into_iter().filter_map(|path| {
        let text = fs::read_to_string(&path).ok()?;
        let path = path.strip_prefix(root()).expect("a path below the root");
        Some((path.display().to_string(), text))
    });
    texts.collect()
}

/// The text between two others.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, text) = text
        .split_once(begin)
        .unwrap_or_else(|| panic!("there is no {begin:?}"));
    text.split_once(end).map_or(text, |(text, _)| text)
}

/// The code words that begin the rows of the table with that head.
fn rows(text: &str, head: &str) -> Names {
    let (_, table) = text
        .split_once(head)
        .unwrap_or_else(|| panic!("no table has {head:?}"));
    let lines = table
        .lines()
        .skip(1)
        .map(|line| line.trim_start_matches("/// "));
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.into())
        .collect()
}

fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> Names {
    names.into_iter().map(str::to_owned).collect()
}

fn version() -> String {
    between(&read("Cargo.toml"), "\nversion = \"", "\"").to_owned()
}

#[test]
fn the_three_crates_have_one_version() {
    let (version, workspace) = (version(), read("Cargo.toml"));
    for package in ["aiorun-core", "aiorun-macros"] {
        let pinned = format!("{package} = {{ path = \"{package}\", version = \"={version}\"");
        assert!(
            workspace.contains(&pinned),
            "the workspace does not pin {package} with ={version}"
        );
    }
    for manifest in [
        "Cargo.toml",
        "aiorun-core/Cargo.toml",
        "aiorun-macros/Cargo.toml",
    ] {
        let package = between(&read(manifest), "[package]", "\n[").to_owned();
        assert!(
            package.contains("version.workspace = true"),
            "{manifest} has a version of its own"
        );
    }
}

#[test]
fn the_three_crates_say_what_they_are() {
    for directory in ["", "aiorun-core/", "aiorun-macros/"] {
        let manifest = read(&format!("{directory}Cargo.toml"));
        let package = between(&manifest, "[package]", "\n\n[features]");
        let inherited = [
            "rust-version",
            "license",
            "keywords",
            "categories",
            "documentation",
        ];
        for field in inherited {
            let line = format!("\n{field}.workspace = true\n");
            assert!(package.contains(&line), "{directory}: {field}");
        }
        for field in ["description = \"", "readme = \"", "include = ["] {
            assert!(package.contains(field), "{directory}: {field}");
        }
        assert!(manifest.contains("[package.metadata.docs.rs]\nall-features = true\n"));
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            assert_eq!(read(&format!("{directory}{licence}")), read(licence));
        }
    }
}

#[test]
fn the_changelog_names_the_version() {
    let heading = format!("\n## [{}]", version());
    assert!(
        read("CHANGELOG.md").contains(&heading),
        "CHANGELOG.md has no{heading}"
    );
}

#[test]
fn the_readme_names_the_oldest_compiler() {
    let oldest = between(&read("Cargo.toml"), "rust-version = \"", "\"").to_owned();
    let sentence = format!("minimum supported Rust version is {oldest}.");
    assert!(
        read("README.md").contains(&sentence),
        "README.md does not say: {sentence}"
    );
}

#[test]
fn the_readme_begins_with_hello() {
    let shown = between(&read("README.md"), "```rust,no_run\n", "```").to_owned();
    let hello = read("examples/hello.rs");
    let code = hello
        .lines()
        .skip_while(|line| line.starts_with("//!") || line.is_empty());
    assert_eq!(shown.lines().collect::<Vec<_>>(), code.collect::<Vec<_>>());
}

#[test]
fn the_readme_has_the_two_commands() {
    let commands = between(&read("README.md"), "```sh\n", "```").to_owned();
    assert_eq!(commands, "cargo run --example echo_server\ncargo test\n");
    assert!(
        read(".ci/run").contains("    run cargo test\n"),
        "the gate runs another command"
    );
}

#[test]
fn every_example_is_named_and_driven() {
    let examples = fs::read_dir(root().join("examples")).expect("a directory of examples");
    let examples = examples.map(|entry| entry.expect("an example").path());
    let stem = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    let examples: Names = examples.filter_map(stem).collect();
    assert_eq!(
        examples,
        rows(&read("README.md"), "| example | shows |"),
        "examples, README.md"
    );
    let tests = texts()
        .into_iter()
        .filter(|(path, _)| path.starts_with("tests/process"));
    let tests: String = tests.map(|(_, text)| text).collect();
    for example in examples {
        assert!(
            tests.contains(&format!("\"{example}\"")),
            "tests/process does not drive {example}"
        );
    }
}

/// The methods that take a builder and give it back.
fn builder_options() -> Names {
    let builder = read("aiorun-core/src/builder.rs");
    let heads = builder
        .split("pub fn ")
        .skip(1)
        .filter_map(|method| method.split_once('{'));
    let options = heads
        .map(|(head, _)| head)
        .filter(|head| head.contains("-> &mut Self"));
    names(options.filter_map(|head| head.split(['(', '<']).next()))
}

/// What only the attributes have.
fn with_attributes_own(options: Names) -> Names {
    options
        .into_iter()
        .chain(names(["crate", "test_timeout"]))
        .collect()
}

const HEAD: &str = "| option | value | default |";

#[test]
fn every_option_of_the_readme_is_one_of_the_builder() {
    assert_eq!(
        rows(&read("README.md"), HEAD),
        with_attributes_own(builder_options())
    );
}

#[test]
fn every_option_of_the_attributes_is_documented() {
    let args = read("aiorun-macros/src/args.rs");
    let table = between(&args, "const OPTIONS", "];");
    let known = table
        .split("(\"")
        .skip(1)
        .filter_map(|row| row.split('"').next());
    assert_eq!(
        names(known),
        rows(&read("README.md"), HEAD),
        "args.rs, README.md"
    );
    let facade = read("src/lib.rs");
    let of_main = rows(&facade, HEAD).into_iter();
    let of_test = rows(&facade, "| option | default in a test |");
    assert_eq!(
        of_main.chain(of_test).collect::<Names>(),
        with_attributes_own(builder_options())
    );
}

#[test]
fn every_feature_is_in_the_tables() {
    let manifest = read("Cargo.toml");
    let features = between(&manifest, "[features]\n", "\n\n").lines();
    let features = features
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name);
    let features = names(features.filter(|name| *name != "default"));
    for file in ["README.md", "src/lib.rs"] {
        let text = read(file).replace("//! |", "|");
        assert_eq!(
            rows(&text, "| feature | default | brings |"),
            features,
            "{file}"
        );
    }
}

#[test]
fn every_page_of_the_guide_is_in_the_tables() {
    let pages = fs::read_dir(root().join("src/docs")).expect("a directory of pages");
    let pages = pages.map(|entry| entry.expect("a page").path());
    let pages: Names = pages
        .filter_map(|page| Some(page.file_stem()?.to_str()?.to_owned()))
        .collect();
    let module = read("src/docs.rs");
    let listed = module.split("\n//! - [`").skip(1);
    assert_eq!(
        names(listed.filter_map(|line| line.split('`').next())),
        pages
    );
    for page in pages {
        let row = format!("\n| [`{page}`](src/docs/{page}.md) | ");
        assert!(read("README.md").contains(&row), "README.md lacks {row}");
    }
}

#[test]
fn users_get_the_lints_that_hold_here() {
    let list = |file| between(&read(file), "disallowed-methods", "\n]").to_owned();
    assert_eq!(list("aiorun.clippy.toml"), list(".clippy.toml"));
}

#[test]
fn what_pages_show_of_programs_is_in_them() {
    const LANGUAGES: [&str; 5] = ["rust,ignore", "rust,no_run", "ini", "yaml", "dockerfile"];
    let places = ["tests/ecosystem/src/bin", "tests/it/testing.rs", "examples"];
    let programs = texts()
        .into_iter()
        .filter(|(path, _)| places.iter().any(|place| path.starts_with(place)));
    let programs: Vec<_> = programs.map(|(_, text)| text).collect();
    for (page, shown) in [
        ("servers", 6),
        ("databases", 2),
        ("deployment", 6),
        ("migrating", 2),
        ("quick_start", 1),
        ("testing", 8),
    ] {
        let page = format!("src/docs/{page}.md");
        let text = read(&page);
        let blocks = LANGUAGES.iter().flat_map(|language| {
            let begin = format!("\n```{language}\n");
            let blocks = text.split(begin.as_str()).skip(1);
            let blocks = blocks.filter_map(|rest| rest.split_once("```\n"));
            blocks.map(|(block, _)| block).collect::<Vec<_>>()
        });
        let blocks: Vec<_> = blocks.collect();
        assert_eq!(blocks.len(), shown, "{page}");
        for block in blocks {
            // A passage may be left out between two others.
            let passages: Vec<_> = block.split("// […]\n").map(str::trim_end).collect();
            let has_all = |program: &&String| passages.iter().all(|it| program.contains(it));
            assert!(programs.iter().any(|it| has_all(&it)), "{page}: {block}");
        }
    }
}

/// The number that follows a text.
fn number(text: &str, name: &str) -> u32 {
    let rest = between(text, name, "\n").trim_end_matches([',', ')', ']']);
    let number = rest.trim().parse();
    number.unwrap_or_else(|_| panic!("{name:?} is followed by {rest:?}"))
}

#[test]
fn managers_are_more_patient_than_their_programs() {
    let program = read("examples/kubernetes/main.rs");
    let manifest = read("examples/kubernetes/deployment.yaml");
    let budget = number(&program, "shutdown_timeout = ");
    assert!(number(&manifest, "terminationGracePeriodSeconds: ") >= budget + 5);
    let period = number(&manifest, "periodSeconds: ");
    let noes = number(&manifest, "failureThreshold: ");
    let delay = number(&program, "shutdown_delay = ");
    assert!(
        delay >= 2 * period * noes,
        "the delay is over before it is known"
    );
    let parts = ["timeout_task_shutdown = ", "timeout_executor_shutdown = "];
    let parts: u32 = parts.iter().map(|part| number(&program, part)).sum();
    assert!(budget >= delay + parts + 5, "nothing is left for hooks");
}

#[test]
fn containers_listen_where_they_are_asked() {
    let program = read("examples/kubernetes/main.rs");
    let manifest = read("examples/kubernetes/deployment.yaml");
    let port = between(&program, "0.0.0.0:", "\"").to_owned();
    let ports = ["containerPort: ", "            port: ", "targetPort: "];
    let ports = ports.map(|name| number(&manifest, name).to_string());
    let exposed = number(&read("examples/kubernetes/Dockerfile"), "EXPOSE ");
    assert_eq!(ports, [port.as_str(); 3]);
    assert_eq!(exposed.to_string(), port);
    let path = between(&manifest, "path: ", "\n").to_owned();
    assert!(program.contains(&format!(".route(\"{path}\"")), "{path}");
}

#[test]
fn rust_files_have_no_tabs() {
    let rust = texts()
        .into_iter()
        .filter(|(path, _)| Path::new(path).extension() == Some("rs".as_ref()));
    let tabbed: Vec<_> = rust
        .filter(|(_, text)| text.contains('\t'))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(tabbed, [""; 0]);
}

#[test]
fn no_file_depends_on_a_machine() {
    // In two parts, so that this file has none of them. Lock files name where packages are from.
    let words = [
        ("/ro", "ot/"),
        ("/wo", "rk/"),
        ("/ho", "me/"),
        ("crates", ".io"),
    ];
    let words = words.map(|(begin, end)| format!("{begin}{end}"));
    for (path, text) in texts()
        .into_iter()
        .filter(|(path, _)| !path.ends_with("Cargo.lock"))
    {
        for (number, line) in (1..).zip(text.lines()) {
            let found = words.iter().find(|word| line.contains(*word));
            assert!(found.is_none(), "{path}:{number} has {found:?}: {line}");
        }
    }
}

#[test]
fn every_test_that_is_called_a_proof_is_there() {
    let page = read("reliability/src/page.md");
    let table = between(&page, "| promise |", "\n\n");
    let words: Names = names(table.split('`').skip(1).step_by(2));
    let files = words.iter().filter(|word| word.contains('/'));
    for file in files {
        assert!(root().join(file).exists(), "there is no {file}");
    }
    let sources = texts()
        .into_iter()
        .filter(|(path, _)| Path::new(path).extension() == Some("rs".as_ref()));
    let sources: String = sources.map(|(_, text)| text).collect();
    for name in words.iter().filter(|word| word.contains('_')) {
        let (function, case) = (format!("fn {name}("), format!("\"{name}\""));
        let there = name.contains('/') || sources.contains(&function) || sources.contains(&case);
        assert!(there, "there is no {name}");
    }
}

#[test]
fn the_clock_of_the_wall_is_not_read() {
    let readers = texts().into_iter().filter(|(path, text)| {
        path.starts_with("aiorun-core/src") && text.contains(concat!("System", "Time"))
    });
    let readers: Vec<_> = readers.map(|(path, _)| path).collect();
    assert_eq!(readers, [""; 0]);
}
