//! The recipes of the book's page on marking work as described, on an old kernel and on a new one: `ipft` sees the
//! packets that they mark. The page's own comment explains the convention.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ipft_e2e::book::{Block, blocks};
use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::{Kind, Recording};
use xtask::kernel::Kernel;
use xtask::workspace;

/// Functions that only packets of one family and direction enter, late on transmit and early on receive.
const SENT: [&str; 2] = ["ip_finish_output2", "ip6_finish_output2"];
const RECEIVED: [&str; 2] = ["ip_local_deliver", "ip6_input"];

/// All packets passed to the driver: marks set on egress come after the other functions.
const SENT_ANY: &str = "dev_hard_start_xmit";

const KERNELS: [Kernel; 2] = [Kernel::V5_10, Kernel::V6_12];

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/marking.md");
    fs::read_to_string(path).unwrap()
}

fn recipes(page: &str) -> Vec<Block> {
    let mut blocks = blocks(page);
    blocks.retain(|block| block.has("sh") && block.has("guest"));
    blocks
}

/// Writes the recipes into a folder, and compiles their objects like the page.
fn write_recipes(folder: &Path) {
    let page = page();
    if folder.exists() {
        fs::remove_dir_all(folder).unwrap();
    }
    fs::create_dir_all(folder).unwrap();
    for (recipe, number) in recipes(&page).iter().zip(1..) {
        fs::write(folder.join(format!("{number:02}.sh")), &recipe.text).unwrap();
    }
    for block in blocks(&page) {
        let Some(name) = block.tags.iter().find_map(|tag| tag.strip_prefix("file=")) else {
            continue;
        };
        fs::write(folder.join(name), &block.text).unwrap();
        let command = page
            .split('`')
            .find(|text| text.starts_with("clang ") && text.contains(name));
        let command = command.unwrap_or_else(|| panic!("the page does not say how to compile {name}"));
        let compiled = Command::new("sh")
            .args(["-ec", command])
            .current_dir(folder)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{command}: {said}");
    }
}

fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 2] = [const { Shared::new() }; 2];
    let run = KERNELS.iter().position(|each| *each == kernel);
    RUNS[run.expect("one of the kernels")].left(|| {
        let name = format!("marking-{}", kernel.series());
        let folder: PathBuf = workspace::target().join("e2e-files").join(&name).join("recipes");
        write_recipes(&folder);
        let functions = [&SENT[..], &RECEIVED[..], &[SENT_ANY]].concat().join("|");
        let script = format!(
            "FUNCTIONS='^({functions})$'\n{}",
            include_str!("../../../guest/marking.sh")
        );
        guest::run(&name, kernel, &[&folder], &script)
    })
}

/// The time of a recipe, in nanoseconds of uptime, and the number of IPv4 packets received meanwhile.
struct Window {
    start: u64,
    end: u64,
    received: usize,
}

fn window(kernel: Kernel, recipe: usize) -> Window {
    let windows = left(kernel).text("windows");
    let line = windows.lines().nth(recipe).expect("the recipe was run");
    let [name, start, end, received] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("windows: {line}");
    };
    assert_eq!(name, format!("{:02}", recipe + 1));
    let nanoseconds = |seconds: &str| (seconds.parse::<f64>().unwrap() * 1e9) as u64;
    Window {
        start: nanoseconds(start),
        end: nanoseconds(end),
        received: received.parse().unwrap(),
    }
}

/// Compares the result of a recipe with the info string of its block. The error says what is wrong.
fn check(kernel: Kernel, number: usize, recipe: &Block, traces: &[Recording; 2]) -> Result<(), String> {
    let left = left(kernel);
    let name = format!("{:02}", number + 1);
    let (code, said) = (left.exit(&name), left.text(&format!("{name}.err")));
    if code != 0 {
        return Err(format!("it failed with {code}: {said}"));
    }
    // Some recipes set one bit; the others must set the whole mark.
    let one_bit = recipe.text.contains("0x10000000");
    let window = window(kernel, number);
    let packets = |function: &str| -> BTreeSet<u64> {
        let events = traces[usize::from(one_bit)].events.iter();
        events
            .filter(|event| event.kind == Kind::Entry && event.function == function)
            .filter(|event| (window.start..=window.end).contains(&event.timestamp))
            .map(|event| event.packet)
            .collect()
    };
    let both = |functions: [&str; 2]| functions.map(packets);
    let directions = [
        ("sent", both(SENT), packets(SENT_ANY)),
        ("received", both(RECEIVED), BTreeSet::new()),
    ];
    for (direction, [ipv4, ipv6], any) in directions {
        let seen = format!("{} IPv4, {} IPv6, {} late", ipv4.len(), ipv6.len(), any.len());
        let marked = if recipe.has("ipv4") {
            !ipv4.is_empty()
        } else if recipe.has("ipv6") {
            !ipv6.is_empty()
        } else {
            !(ipv4.is_empty() && ipv6.is_empty() && any.is_empty())
        };
        if marked != recipe.has(direction) {
            return Err(format!("{direction}: {seen}"));
        }
        if recipe.has("sampled") && recipe.has(direction) && ipv4.len() >= window.received {
            return Err(format!(
                "{direction}: {seen} of {}, which is no sample",
                window.received
            ));
        }
    }
    Ok(())
}

fn every_recipe_marks_what_the_page_says(kernel: Kernel) {
    let traces = ["mark", "bit"].map(|name| {
        let recording = Recording::read(&left(kernel).path(&format!("{name}.out"))).unwrap();
        // Interrupts may cost an event: a recipe's ten packets pass more than one function.
        let lost = recording.summary.lost;
        assert!(
            lost == recording.lost("recursion") && lost * 100 <= recording.summary.events,
            "{:?}",
            recording.lost
        );
        recording
    });
    let page = page();
    let recipes = recipes(&page);
    assert!(recipes.len() >= 20, "{} recipes", recipes.len());
    let wrong: Vec<String> = recipes
        .iter()
        .enumerate()
        .filter_map(|(number, recipe)| {
            let wrong = check(kernel, number, recipe, &traces).err()?;
            Some(format!("[{}] {}{wrong}\n", recipe.tags.join(","), recipe.text))
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_recipe_marks_what_the_page_says_on_5_10() {
    every_recipe_marks_what_the_page_says(Kernel::V5_10);
}

#[test]
fn every_recipe_marks_what_the_page_says_on_6_12() {
    every_recipe_marks_what_the_page_says(Kernel::V6_12);
}

#[test]
fn a_recipe_in_a_page_is_found_with_its_tags() {
    let page = "text\n```sh,guest,sent\none\ntwo\n```\n```c,file=x.bpf.c\nint x;\n```\n```sh\nnot run\n```\n";
    let found = recipes(page);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].text, "one\ntwo\n");
    assert!(found[0].has("sent") && !found[0].has("received"));
}
