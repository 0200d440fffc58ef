use super::*;
use crate::cli::Cli;
use clap::Parser;

/// The flags as a user gives them.
fn args(line: &str) -> BenchArgs {
    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: BenchArgs,
    }
    Program::parse_from(std::iter::once("bench").chain(line.split_whitespace())).args
}

fn report(line: &str) -> serde_json::Value {
    let args = args(line);
    let subject = Subject::load(&args).unwrap();
    let rounds = subject.time(args.seconds, args.batch, args.rounds).unwrap();
    serde_json::to_value(Report::new(&args, &subject, &rounds).unwrap()).unwrap()
}

#[test]
fn the_demo_is_measured_with_two_languages_and_the_contracts_keys() {
    let report = report("--seconds 0.5 --batch 3 --languages 2 --rounds 2 --precision f32");
    for key in ["rtfx", "best_rtfx", "p50_ms", "p95_ms", "load_ms", "pack_load_ms", "evict_ms", "switch_ms"] {
        assert!(report[key].as_f64().is_some_and(|v| v.is_finite() && v >= 0.0), "{key}: {report}");
    }
    assert_eq!((report["precision"].as_str(), report["batch"].as_u64()), (Some("f32"), Some(3)));
    assert_eq!((report["masked"].as_bool(), report["languages"].as_u64()), (Some(true), Some(2)));
    assert!(report["against_one_language"].as_f64().is_some_and(|ratio| ratio > 0.0), "{report}");
}

#[test]
fn open_gates_and_packs_of_a_folder_are_measured_too() {
    let open = report("--seconds 0.2 --rounds 1 --open");
    assert_eq!(open["masked"], false);
    assert!(open["against_one_language"].is_null(), "{open}");

    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display().to_string();
    Cli::try_parse_from(["s3router", "packs", "random", &at, "--languages", "2"]).unwrap().run().unwrap();
    let found = report(&format!("--seconds 0.2 --rounds 1 --languages 2 --batch 2 --packs {at}"));
    assert_eq!(found["languages"], 2);
    let error = Subject::load(&args(&format!("--languages 3 --packs {at}"))).unwrap_err().to_string();
    assert!(error.contains("has 2 packs") && error.contains('3'), "{error}");
}

#[test]
fn a_sweep_has_a_point_for_each_length_and_a_plot_with_them() {
    let args = args("--sweep 0.2,1 --rounds 1");
    let sweep = Sweep::new(&args, &Subject::load(&args).unwrap(), &args.sweep).unwrap();
    let svg = plot::svg(&sweep);
    assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
    assert!(!svg.contains("NaN") && svg.trim_end().ends_with("</svg>"));
    let json = serde_json::to_value(&sweep).unwrap();
    assert_eq!(json["points"][1]["seconds"], 1.0);
}
