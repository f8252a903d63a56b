//! The arrows between crates run one way, and nothing heavy is there twice.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use hyperslab_tests::root;
use serde_json::Value;

fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    // Without the platform, cargo would want the sources of every other system's dependencies too.
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8_lossy(&rustc.stdout).into_owned();
    let host = version.lines().find_map(|l| l.strip_prefix("host: ")).unwrap();
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What each crate may never reach, at any depth, apart from what its tests need.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("hyperslab-core", &["tokio", "datafusion", "memmap2", "hyperslab-store", "hyperslab-vector", "hyperslab-formats"]),
    ("hyperslab-store", &["tokio", "datafusion", "hyperslab-vector", "hyperslab-formats"]),
    ("hyperslab-vector", &["tokio", "datafusion", "hyperslab-store", "hyperslab-formats"]),
    ("hyperslab-formats", &["tokio", "datafusion", "hyperslab-store", "hyperslab-vector"]),
    ("hyperslab-datafusion", &["hyperslab", "hyperslab-cli", "clap", "rustyline"]),
    ("hyperslab", &["hyperslab-cli", "clap", "rustyline"]),
];

#[test]
fn dependency_arrows_run_one_way() {
    let metadata = metadata();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let name = |id: &str| {
        let packages = metadata["packages"].as_array().unwrap();
        packages.iter().find(|p| p["id"] == id).unwrap()["name"].as_str().unwrap().to_owned()
    };
    let names: BTreeMap<&str, String> =
        nodes.iter().map(|n| n["id"].as_str().unwrap()).map(|id| (id, name(id))).collect();
    let normal = |node: &Value| -> Vec<String> {
        let is_normal = |d: &&Value| d["dep_kinds"].as_array().unwrap().iter().any(|k| k["kind"].is_null());
        let deps = node["deps"].as_array().unwrap().iter().filter(is_normal);
        deps.map(|d| d["pkg"].as_str().unwrap().to_owned()).collect()
    };
    let edges: BTreeMap<&str, Vec<String>> = nodes.iter().map(|n| (n["id"].as_str().unwrap(), normal(n))).collect();
    for (from, forbidden) in FORBIDDEN {
        let start = names.iter().find(|(_, n)| n == from).unwrap_or_else(|| panic!("no crate {from}")).0;
        let (mut reached, mut queue) = (BTreeSet::new(), vec![(*start).to_owned()]);
        while let Some(id) = queue.pop() {
            if reached.insert(id.clone()) {
                queue.extend(edges[id.as_str()].iter().cloned());
            }
        }
        for id in reached {
            let name = &names[id.as_str()];
            assert!(!forbidden.contains(&name.as_str()), "{from} must not depend on {name}");
        }
    }
}

#[test]
fn one_major_version_of_what_must_agree() {
    let metadata = metadata();
    let mut majors: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let (name, version) = (package["name"].as_str().unwrap(), package["version"].as_str().unwrap());
        let shared = name.starts_with("arrow") || name.starts_with("datafusion");
        if shared || ["parquet", "object_store", "sqlparser", "half"].contains(&name) {
            let compatible = if version.starts_with("0.") {
                version.rsplit_once('.').unwrap().0
            } else {
                version.split('.').next().unwrap()
            };
            majors.entry(name).or_default().insert(compatible);
        }
    }
    for (name, majors) in majors {
        assert_eq!(majors.len(), 1, "{name} is there in several incompatible versions: {majors:?}");
    }
}
