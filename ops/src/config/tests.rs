//! What a configuration may say, and what is said about a bad one.

use super::*;
use figment::Figment;

fn load(variables: &[(&str, &str)], file: &str, needs: Needs) -> Result<Config, ConfigFaults> {
    use figment::providers::{Format, Toml};
    let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let figment = Figment::from(Toml::string(file));
    let figment = sources::environment(variables).over(figment);
    let mut reader = Reader::new(figment, Vec::new());
    let data_dir = reader.get("data_dir", PathBuf::from("nowhere"), "");
    read(reader, data_dir, needs)
}

fn faults(variables: &[(&str, &str)], file: &str) -> Vec<ConfigFault> {
    load(variables, file, Needs::default()).expect_err("faults").0
}

#[test]
fn nothing_set_is_a_good_configuration() {
    let config = load(&[], "", Needs::default()).expect("the defaults are good");
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert!(config.entries.iter().all(|e| e.from == "default"), "{:?}", config.entries);
    assert!(config.entries.len() > 40);
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
    let file = "[worker]\nconcurrency = 7\nclaim_batch = 9\nlease = \"45s\"";
    let config =
        load(&[("SWITCHYARD_WORKER__CONCURRENCY", "8")], file, Needs::default()).expect("good");
    assert_eq!((config.worker.concurrency, config.worker.claim_batch), (8, 9));
    assert_eq!(config.worker.lease, Duration::from_secs(45));
    let from = |key| config.entries.iter().find(|e| e.key == key).map(|e| e.from.clone());
    assert_eq!(
        from("worker.concurrency").as_deref(),
        Some("environment variable SWITCHYARD_WORKER__CONCURRENCY")
    );
}

#[test]
fn the_more_precise_name_wins() {
    let both = [
        ("SWITCHYARD_DATABASE__URL", "postgres://a@h/one"),
        ("DATABASE_URL", "postgres://a@h/two"),
    ];
    for variables in [both, [both[1], both[0]]] {
        let config = load(&variables, "", Needs::default()).expect("good");
        let shown = config.entries.iter().find(|e| e.key == "database.url");
        assert_eq!(shown.and_then(|e| e.value.as_deref()), Some("postgres://a@h/one"));
    }
}

#[test]
fn all_faults_come_at_once_with_key_source_and_remedy() {
    let found = faults(
        &[
            ("SWITCHYARD_WORKER__CONCURRENCY", "many"),
            ("SWITCHYARD_LISTEN", "8080"),
            ("DATABASE_URL", "mysql://root:hunter2@h/db"),
            ("SWITCHYARD_SECRET_KEY", "c2hvcnQ="),
            ("SWITCHYARD_LOG__FORMAT", "xml"),
            ("SWITCHYARD_WORKER__CONCURENCY", "3"),
        ],
        "[scheduler]\ntick = \"5 parsecs\"\nkeep_days = 0\n[ingst]\nbatch = 3",
    );
    let keys: Vec<&str> = found.iter().map(|f| f.key.as_str()).collect();
    for key in [
        "worker.concurrency",
        "listen",
        "database.url",
        "secret_key",
        "log.format",
        "worker.concurency",
        "scheduler.tick",
        "scheduler.keep_days",
        "ingst.batch",
    ] {
        assert!(keys.contains(&key), "{key} is missing in {keys:?}");
    }
    assert_eq!(found.len(), 9, "{found:#?}");
    let told = ConfigFaults(found.clone()).to_string();
    assert!(told.contains("did you mean `worker.concurrency`?"), "{told}");
    assert!(told.contains("did you mean `ingest.batch`?"), "{told}");
    assert!(told.contains("environment variable SWITCHYARD_LISTEN"), "{told}");
    assert!(!told.contains("hunter2") && !told.contains("c2hvcnQ"), "a secret is told: {told}");
    assert!(found.iter().all(|f| !f.remedy.is_empty()));
}

#[test]
fn what_a_command_needs_is_a_fault_when_it_is_missing() {
    let needs = Needs { database: true, secret_key: true, ..Needs::default() };
    let found = load(&[], "", needs).expect_err("faults").0;
    let keys: Vec<&str> = found.iter().map(|f| f.key.as_str()).collect();
    assert_eq!(keys, ["database.url", "secret_key"]);
}

#[test]
fn a_bad_value_is_told_once_even_if_it_is_needed() {
    let needs = Needs { database: true, ..Needs::default() };
    let found = load(&[("DATABASE_URL", "nonsense")], "", needs).expect_err("a fault").0;
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn text_that_looks_like_a_number_stays_text() {
    let config = load(
        &[
            ("SWITCHYARD_PROVIDERS__SMTP__USERNAME", "0123"),
            ("SWITCHYARD_PROVIDERS__SMTP__PASSWORD", "1e5"),
            ("SWITCHYARD_REDIS__PREFIX", "007"),
        ],
        "",
        Needs::default(),
    )
    .expect("good");
    assert_eq!(config.providers.smtp.username.as_deref(), Some("0123"));
    assert_eq!(config.redis_prefix, "007");
}

#[test]
fn a_chosen_provider_must_be_complete() {
    let found = faults(&[("SWITCHYARD_PROVIDERS__EMAIL", "smtp")], "");
    let keys: Vec<&str> = found.iter().map(|f| f.key.as_str()).collect();
    assert!(
        keys.contains(&"providers.smtp.host") && keys.contains(&"providers.smtp.from"),
        "{keys:?}"
    );
}

#[test]
fn a_section_given_as_text_is_a_fault_and_no_panic() {
    assert!(!faults(&[], "worker = \"fast\"").is_empty());
    assert!(!faults(&[("SWITCHYARD_LOG", "debug")], "").is_empty());
    assert!(!faults(&[], "[listen]\nhost = \"x\"").is_empty());
}

#[test]
fn passwords_are_never_shown() {
    let config = load(
        &[
            ("DATABASE_URL", "postgres://u:hunter2@h/db?sslpassword=hunter3"),
            ("SWITCHYARD_METRICS__TOKEN", "hunter4-hunter4-hunter4"),
        ],
        "",
        Needs::default(),
    )
    .expect("good");
    let shown = serde_json::to_string(&config.entries).expect("JSON");
    assert!(!shown.contains("hunter"), "{shown}");
    assert!(shown.contains("u:***@h/db"), "{shown}");
    assert!(!format!("{config:?}").contains("hunter"), "Debug shows a secret");
}

#[test]
fn variables_that_only_look_like_settings_are_left_alone() {
    let others = [("SWITCHYARD_TEST_DATABASE_URL", "x"), ("SWITCHYARD_CONFIG", "y"), ("PATH", "z")];
    assert!(load(&others, "", Needs::default()).is_ok());
}

#[test]
fn the_approval_limit_is_a_number_a_table_or_pairs() {
    use switchyard_domain::money::Currency;
    let limits = |variables: &[(&str, &str)], file: &str| {
        let config = load(variables, file, Needs::default()).expect("good");
        ["EUR", "JPY"]
            .map(|code| config.payouts.approval_limit.of(Currency::of(code).expect("a currency")))
    };
    let table = "[payouts.approval_limit]\nEUR = 100000\nJPY = 15_000";
    assert_eq!(limits(&[], "[payouts]\napproval_limit = 700"), [700, 700]);
    assert_eq!(limits(&[], table), [100_000, 15_000]);
    let pairs = [("SWITCHYARD_PAYOUTS__APPROVAL_LIMIT", "EUR=5")];
    assert_eq!(limits(&pairs, table), [5, 0]);
    let found = faults(&[], "[payouts.approval_limit]\nEURO = 1");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].key, "payouts.approval_limit");
}
