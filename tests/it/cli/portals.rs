//! Portals as files.

use super::{Desk, KEY};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use switchyard_domain::secrets::{
    MasterKey, PORTAL_ENRICH, PORTAL_SIGNING, api_key_matches, credential_matches,
};
use switchyard_store::Scope;
use switchyard_store::portals::{self, Portal};
use switchyard_tests::program::{open_folder, say};

pub(super) const FILE: &str = r#"
code: acme
name: Acme Homes
api_key: {in: header, name: X-Acme-Key}
delivery_id: {path: id}
defaults: {country: PL}
mapping:
  fields:
    external_id: id
    first_name: name
    email: mail
    country: land
secrets:
  api_key: acme-key-0001
samples:
  - name: a lead from Norway
    body: {id: "7", name: Ola, mail: OLA@example.com, land: NO}
    expect: {external_id: "7", email: ola@example.com, country: NO, phone: null}
  - body: {id: "8", name: Nobody}
    outcome: rejected
"#;

impl Desk {
    pub(super) fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.folder.path().join(name), text).unwrap();
        name.to_owned()
    }

    /// A command that must succeed, as JSON.
    pub(super) async fn told(&self, args: &[&str]) -> Value {
        let said = self.say(&[&["--json"], args].concat()).await;
        assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
        said.json()
    }

    pub(super) async fn portal(&self, code: &str) -> Portal {
        let mut tx = self.test.db.begin(Scope::Platform).await.unwrap();
        portals::by_code(&mut tx, code).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_file_becomes_a_portal_and_the_same_file_changes_nothing() {
    let desk = Desk::new().await;
    let file = desk.write("acme.yaml", FILE);
    let dry = desk.told(&["portals", "apply", &file, "--dry-run"]).await;
    assert_eq!(
        (&dry["created"], &dry["dry_run"], &dry["samples"]),
        (&json!(true), &json!(true), &json!(2))
    );
    assert_eq!(desk.told(&["portals", "list"]).await["portals"], json!([]));

    let made = desk.told(&["portals", "apply", &file]).await;
    assert_eq!((&made["created"], &made["version"]), (&json!(true), &json!(1)));
    assert!(made.get("api_key").is_none(), "the file's own key is not told");
    let portal = desk.portal("acme").await;
    let key = MasterKey::parse(KEY).unwrap();
    assert!(credential_matches(&key, portal.api_key_hash.as_deref().unwrap(), "acme-key-0001"));
    assert!(!portal.settings.to_string().contains("acme-key-0001"));

    let again = desk.told(&["portals", "apply", &file]).await;
    assert_eq!(
        (&again["created"], &again["changed"], &again["version"]),
        (&json!(false), &json!([]), &json!(1))
    );
    let people = desk.say(&["portals", "apply", &file]).await;
    assert!(people.out.contains("nothing changes"), "{people:?}");

    desk.write("acme.yaml", &FILE.replace("email: mail", "email: {from: [mail, e_mail]}"));
    let changed = desk.told(&["portals", "apply", &file]).await;
    assert_eq!((&changed["changed"], &changed["version"]), (&json!(["settings"]), &json!(2)));
    // JSON says the same as YAML.
    let shown = desk.told(&["portals", "show", "acme"]).await;
    let mut json = shown["settings"].clone();
    for (name, value) in [("code", "acme"), ("name", "Acme Homes")] {
        json[name] = value.into();
    }
    let file = desk.write("acme.json", &json.to_string());
    assert_eq!(desk.told(&["portals", "apply", &file]).await["changed"], json!([]));
}

#[tokio::test]
async fn every_fault_of_a_file_is_told_with_its_line_and_nothing_is_written() {
    let desk = Desk::new().await;
    let text = FILE
        .replace("code: acme\n", "code: Acme!\n")
        .replace("delivery_id: {path: id}\n", "delivery_id: {path: id}\ncolour: red\n")
        .replace("    email: mail\n", "    email: {from: mail, then: [fly]}\n");
    let file = desk.write("acme.yaml", &text);
    let said = desk.say(&["--json", "portals", "apply", &file]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let error = said.err_json()["error"].clone();
    assert_eq!(error["code"], "portal_file");
    let faults: Vec<_> = error["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["line"].as_u64().unwrap(), f["pointer"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(faults.len(), 3, "{error}");
    assert_eq!((faults[0].0, faults[0].1.as_str()), (2, "/code"));
    assert_eq!((faults[1].0, faults[1].1.as_str()), (6, "/colour"));
    assert_eq!(faults[2].0, 12);
    assert!(faults[2].1.starts_with("/mapping/fields/email"), "{faults:?}");
    let people = desk.say(&["portals", "apply", &file]).await;
    assert!(people.err.contains("line 6, /colour"), "{people:?}");

    // What a sample expects is checked before anything is saved.
    let file = desk.write("acme.yaml", &FILE.replace("country: NO, phone", "country: SE, phone"));
    let said = desk.say(&["--json", "portals", "apply", &file]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let fault = said.err_json()["error"]["faults"][0].clone();
    assert_eq!(fault["pointer"], "/samples/0/expect/country");
    assert!(fault["message"].as_str().unwrap().contains("SE"), "{fault}");
    assert_eq!(desk.told(&["portals", "list"]).await["portals"], json!([]));
}

#[tokio::test]
async fn secrets_come_from_elsewhere_and_are_sealed() {
    let desk = Desk::new().await;
    let text = FILE.replace(
        "secrets:\n  api_key: acme-key-0001\n",
        "signature: {scheme: hmac_sha256, header: X-Sig}\nsecrets:\n  api_key: [{file: key.txt}, acme-key-0000]\n  signing: {env: ACME_SIGNING}\n  enrich_token: token-for-graph\n",
    );
    desk.write("key.txt", "acme-key-0001\n");
    let file = desk.write("acme.yaml", &text);
    let said = desk.say(&["--json", "portals", "apply", &file]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("ACME_SIGNING is not set"), "{said:?}");

    let url = desk.test.url.expose_secret().to_owned();
    let environment = [
        ("DATABASE_URL", url.as_str()),
        ("SWITCHYARD_SECRET_KEY", KEY),
        ("ACME_SIGNING", "a-long-signing-secret"),
    ];
    let apply = || say(desk.folder.path(), &environment, ["--json", "portals", "apply", &file]);
    let said = apply().await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let portal = desk.portal("acme").await;
    let key = MasterKey::parse(KEY).unwrap();
    let opened = |purpose, sealed: &Option<Vec<u8>>| {
        String::from_utf8(key.open(purpose, sealed.as_ref().unwrap()).unwrap().to_vec()).unwrap()
    };
    assert_eq!(opened(PORTAL_SIGNING, &portal.signing_secret), "a-long-signing-secret");
    assert_eq!(opened(PORTAL_ENRICH, &portal.enrich_token), "token-for-graph");
    assert!(credential_matches(&key, portal.former_key_hash.as_deref().unwrap(), "acme-key-0000"));
    assert_eq!(apply().await.json()["changed"], json!([]), "sealed again it is the same");
    let shown = desk.say(&["--json", "portals", "show", "acme"]).await;
    for secret in ["acme-key", "token-for", "signing-secret"] {
        assert!(!shown.out.contains(secret), "{secret} is told: {}", shown.out);
    }
}

#[tokio::test]
async fn a_portal_without_a_key_gets_one_and_changes_it() {
    let desk = Desk::new().await;
    let file = desk.write("a.yaml", "code: a\nmapping: {fields: {email: mail}}\n");
    let made = desk.told(&["portals", "apply", &file]).await;
    let first = made["api_key"].as_str().unwrap().to_owned();
    assert!(first.starts_with("sk_"));
    let second = desk.told(&["portals", "rotate", "a", "--keep", "1h"]).await;
    let second = second["api_key"].as_str().unwrap();
    let portal = desk.portal("a").await;
    assert!(api_key_matches(portal.api_key_hash.as_deref().unwrap(), second));
    assert!(api_key_matches(portal.former_key_hash.as_deref().unwrap(), &first));
    // The time of the old one passes.
    let mut owner = desk.test.owner().await;
    sqlx::query("update switchyard.portals set former_key_until = now() - interval '1 second'")
        .execute(&mut owner)
        .await
        .unwrap();
    assert!(desk.portal("a").await.former_key_hash.is_none());

    let signed = "code: s\nsignature: {scheme: hmac_sha256, header: X-Sig}\nmapping: {fields: {email: mail}}\nsecrets: {signing: the-first-secret-of-all}\n";
    let file = desk.write("s.yaml", signed);
    desk.told(&["portals", "apply", &file]).await;
    let turned = desk.told(&["portals", "rotate", "s"]).await;
    let fresh = turned["signing_secret"].as_str().unwrap();
    let key = MasterKey::parse(KEY).unwrap();
    let now = |portal: Portal| {
        let sealed = portal.signing_secret.unwrap();
        String::from_utf8(key.open(PORTAL_SIGNING, &sealed).unwrap().to_vec()).unwrap()
    };
    assert_eq!(now(desk.portal("s").await), format!("{fresh}\nthe-first-secret-of-all"));
    sqlx::query("update switchyard.portals set signing_after_at = now() - interval '1 second' where code = 's'")
        .execute(&mut owner).await.unwrap();
    assert_eq!(now(desk.portal("s").await), fresh);
    let wrong = desk.say(&["--json", "portals", "rotate", "nobody"]).await;
    assert_eq!((wrong.code, &wrong.err_json()["error"]["code"]), (Some(1), &json!("not_found")));
}

#[tokio::test]
async fn what_a_portal_cannot_work_with_is_refused_before_it_stands() {
    let desk = Desk::new().await;
    let apply_to = async |code: &str, settings: &str, secrets: &str| {
        let text = format!(
            "code: {code}\nmapping: {{fields: {{email: mail}}}}\n{settings}\nsecrets: {{{secrets}}}\n"
        );
        let file = desk.write("s.yaml", &text);
        desk.say(&["--json", "portals", "apply", &file]).await
    };
    let apply = async |settings: &str, secrets: &str| apply_to("s", settings, secrets).await;
    let shaken = "handshake: {query: challenge, token: verify}";
    let said = apply(shaken, "").await;
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("needs `secrets.verify_token`"), "{said:?}");
    let said = apply(shaken, "verify_token: the-token-of-meta").await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(apply(shaken, "").await.code, Some(0), "it is stored");

    // A secret that was stored for another scheme is none of this one.
    let signed = |scheme: &str| format!("api_key: {{in: none}}\nsignature: {{scheme: {scheme}}}");
    let secret = "signing: the-first-secret-of-all";
    assert_eq!(apply(&signed("github"), secret).await.code, Some(0));
    let said = apply(&signed("sendgrid"), "").await;
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("does not fit this scheme"), "{said:?}");
    // The sender's public key, a block of several lines.
    let block = "-----BEGIN PUBLIC KEY-----\\n\
         MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1\\nflpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==\\n-----END PUBLIC KEY-----";
    let sendgrid = signed("sendgrid");
    let said = apply(&sendgrid, &format!("signing: \"{block}\"")).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = apply(&sendgrid, "signing: \"two\\nlines of words\"").await;
    assert!(said.code == Some(1) && said.err.contains("several lines"), "{said:?}");

    // Where a key is asked for beside the signature there is one.
    let both = "api_key: {in: header, name: X-Key}\nsignature: {scheme: github}";
    let said = apply_to("both", both, secret).await;
    assert!(said.json()["api_key"].as_str().is_some_and(|k| k.starts_with("sk_")), "{said:?}");
}

#[tokio::test]
async fn a_mapping_is_tried_without_a_database() {
    let folder = open_folder();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("acme.yaml", &FILE.replace("api_key: acme-key-0001", "api_key: {env: NOT_SET_HERE}"));
    write("raw.json", r#"{"id": "9", "name": "Eva", "mail": "eva@example.com"}"#);
    write("bad.json", r#"{"id": "9"}"#);
    write("recorded.json", &json!({
        "method": "POST", "url": "https://h.example/x?a=1", "headers": {"Content-Type": "application/json"},
        "sequence": [
            {"method": "POST", "url": "https://h.example/x", "headers": {}, "content_type": "application/json",
             "body": "{\"mail\": \"one@example.com\"}"},
            {"method": "POST", "url": "https://h.example/x", "headers": {},
             "body_base64": "eyJtYWlsIjogInR3b0BleGFtcGxlLmNvbSJ9"},
            {"method": "POST", "url": "https://h.example/x", "headers": {},
             "body_gen": {"prefix": "{\"mail\": \"", "fill": "x", "count": 3, "suffix": "@example.com\"}"}},
        ],
    }).to_string());
    let test = |args: &[&str]| {
        let args: Vec<String> = [&["--json", "portals", "test", "acme.yaml"], args]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect();
        let folder = folder.path().to_owned();
        async move { say(&folder, &[], args).await }
    };
    assert_eq!(test(&[]).await.json()["samples"], 2);
    let said = test(&["--event", "raw.json", "--header", "X-A: 1"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let outcome = said.json();
    assert_eq!(
        (&outcome["outcome"], &outcome["leads"][0]["lead"]["email"]),
        (&json!("leads"), &json!("eva@example.com"))
    );
    let said = test(&["--event", "bad.json"]).await;
    assert_eq!((said.code, &said.json()["outcome"]), (Some(1), &json!("rejected")));
    let all = test(&["--event", "recorded.json"]).await.json();
    let mails: Vec<_> = all["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["leads"][0]["lead"]["email"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(mails, ["one@example.com", "two@example.com", "xxx@example.com"]);
    assert_eq!(test(&["--event", "nowhere.json"]).await.code, Some(1));
    assert_eq!(test(&["--event", "raw.json", "--header", "nonsense"]).await.code, Some(2));
}

#[tokio::test]
async fn versions_are_kept_and_an_earlier_one_comes_back_as_a_new_one() {
    let desk = Desk::new().await;
    let file = desk.write("acme.yaml", FILE);
    desk.told(&["portals", "apply", &file]).await;
    desk.write("acme.yaml", &FILE.replace("first_name: name", "last_name: name"));
    desk.told(&["portals", "apply", &file]).await;
    let back = desk.told(&["portals", "rollback", "acme", "1"]).await;
    assert_eq!((&back["version"], &back["changed"]), (&json!(3), &json!(true)));
    let listed = desk.told(&["portals", "versions", "acme"]).await;
    let all = listed["versions"].as_array().unwrap();
    assert_eq!(all.len(), 3);
    assert_eq!(all[0]["settings"], all[2]["settings"]);
    assert_ne!(all[0]["settings"], all[1]["settings"]);
    assert!(all.iter().all(|v| v["changed_by"].as_str().unwrap().starts_with("cli:")), "{listed}");
    assert_eq!(desk.told(&["portals", "rollback", "acme", "3"]).await["changed"], json!(false));
    let none = desk.say(&["--json", "portals", "rollback", "acme", "9"]).await;
    assert_eq!((none.code, &none.err_json()["error"]["code"]), (Some(1), &json!("not_found")));
}

#[tokio::test]
async fn what_is_not_there_is_said_to_be_so() {
    let desk = Desk::new().await;
    let id = "01a20443-0000-7000-8000-000000000000";
    for args in [
        vec!["portals", "show", "nobody"],
        vec!["portals", "pause", "nobody"],
        vec!["leads", "show", id],
        vec!["leads", "list", "--portal", "nobody"],
        vec!["events", "show", id],
        vec!["events", "replay", id],
        vec!["events", "replay", id, "--dry-run"],
    ] {
        let said = desk.say(&[&["--json"], args.as_slice()].concat()).await;
        assert_eq!(said.code, Some(1), "{args:?}: {said:?}");
        assert_eq!(said.err_json()["error"]["code"], "not_found", "{args:?}");
    }
    for args in [
        vec!["events", "replay"],
        vec!["events", "list", "--since", "soon"],
        vec!["portals", "test", "x", "--url", "u"],
    ] {
        assert_eq!(desk.say(&args).await.code, Some(2), "{args:?}");
    }
}

/// The reference page's own example.
#[tokio::test]
async fn the_example_of_the_reference_works_when_pasted() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/portal-files.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, from) = page.split_once("```yaml\n").unwrap();
    let (example, _) = from.split_once("```").unwrap();
    let desk = Desk::new().await;
    let file = desk.write("acme.yaml", example);
    let tried = desk.say(&["--json", "portals", "test", &file]).await;
    assert_eq!((tried.code, &tried.json()["samples"]), (Some(0), &json!(2)), "{tried:?}");
    assert_eq!(desk.told(&["portals", "apply", &file]).await["created"], json!(true));
    assert_eq!(desk.told(&["portals", "apply", &file]).await["changed"], json!([]));
}
