//! Checks that the bindings in the template for C match the contract, so that authors need no wit-bindgen.
//!
//! `UPDATE_GOLDEN=1 cargo test --package xtask --test bindings` updates them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use wit_bindgen_core::{Files, wit_parser::Resolve};
use xtask::workspace;

const WORLD: &str = "sink-plugin";

fn generated() -> BTreeMap<String, Vec<u8>> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_path(workspace::root().join("wit/plugin-0.1.0.wit"))
        .unwrap();
    let world = resolve.select_world(&[package], Some(WORLD)).unwrap();
    let mut files = Files::default();
    let mut generator = wit_bindgen_c::Opts::default().build();
    generator.generate(&mut resolve, world, &mut files).unwrap();
    files
        .iter()
        .map(|(name, content)| (name.to_owned(), content.to_owned()))
        .collect()
}

fn committed(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    };
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| read(entry.unwrap()))
        .collect()
}

#[test]
fn the_bindings_for_c_match_the_contract() {
    let folder = workspace::root().join("sdk/templates/c/bindings");
    let generated = generated();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::remove_dir_all(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        for (name, content) in &generated {
            fs::write(folder.join(name), content).unwrap();
        }
    }
    let committed = committed(&folder);
    assert_eq!(
        generated.keys().collect::<Vec<_>>(),
        committed.keys().collect::<Vec<_>>()
    );
    for (name, content) in &generated {
        assert!(
            committed[name] == *content,
            "{name} is not what the contract asks for; UPDATE_GOLDEN=1 writes it anew"
        );
    }
}
