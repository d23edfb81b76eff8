//! Who gets in, and what a foreign page cannot do.

use super::support::{EMAIL, Ops, PASSWORD, Session};
use reqwest::Method;
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use switchyard_api::dashboard;
use switchyard_domain::AgencyId;
use switchyard_queue::{JobState, Options};
use uuid::Uuid;

/// A declared path with something in place of its parameters.
fn filled(path: &str) -> String {
    let id = Uuid::nil().to_string();
    let path = path.replace("{id}", &id).replace("{verb}", "retry").replace("{queue}", "leads");
    let path = path.replace("{kind}", "lead.distribute").replace("{message}", &id);
    let path = path.replace("{fingerprint}", "9f86d081884c7d65");
    let path = path.replace("{code}", "demo").replace("{name}", "ops.css");
    if path == "/" { "/ops".to_owned() } else { format!("/ops{path}") }
}

/// Paths that anybody may ask for.
fn is_open(path: &str) -> bool {
    path == "/login" || path.starts_with("/static/")
}

async fn refused_everywhere(ops: &Ops, cookie: &str) {
    for declared in dashboard::paths().into_iter().filter(|p| !is_open(p)) {
        let path = filled(declared);
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
            let request = ops.request(method.clone(), &path).header(COOKIE, cookie);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 303, "{method} {path} with `{cookie}`");
            let to = answer.headers()[LOCATION].to_str().unwrap();
            assert!(to.starts_with("/ops/login?next=/ops"), "{method} {path} led to {to}");
        }
    }
}

#[tokio::test]
async fn every_screen_and_action_wants_a_sign_in() {
    let ops = Ops::new().await;
    assert!(dashboard::paths().len() > 20, "the list of routes is the router's own");
    refused_everywhere(&ops, "a=b").await;
    let now = ops.api.clock.now();
    let life = ops.api.config.admin_token_life;
    let (agency, _) = ops.api.tokens.agency(AgencyId::new(), now, life).unwrap();
    refused_everywhere(&ops, &format!("switchyard_ops={agency}")).await;
    let (stranger, _) = ops.api.tokens.administrator(Uuid::now_v7(), now, life).unwrap();
    refused_everywhere(&ops, &format!("switchyard_ops={stranger}")).await;
    let unknown = ops.request(Method::GET, "/ops/no/such/screen").send().await.unwrap();
    assert_eq!(unknown.status(), 303, "not even what exists is told");
}

#[tokio::test]
async fn signing_in_leads_back_to_where_one_wanted_to_go() {
    let ops = Ops::new().await;
    let asked = ops.request(Method::GET, "/ops/jobs?state=running").send().await.unwrap();
    let to = asked.headers()[LOCATION].to_str().unwrap();
    assert_eq!(to, "/ops/login?next=/ops/jobs%3Fstate%3Drunning");
    let form = ops.request(Method::GET, to).send().await.unwrap().text().await.unwrap();
    assert!(form.contains(r#"name="next" value="/ops/jobs?state=running""#), "{form}");

    let fields = |password, next| [("email", EMAIL), ("password", password), ("next", next)];
    let post = |fields: [(&'static str, &'static str); 3]| {
        ops.request(Method::POST, "/ops/login").form(&fields).send()
    };
    let wrong = post(fields("wrong wrong wrong", "/ops")).await.unwrap();
    assert_eq!(wrong.status(), 401);
    assert!(wrong.headers().get(SET_COOKIE).is_none());
    assert!(wrong.text().await.unwrap().contains(r#"role="alert""#));

    let right = post(fields(PASSWORD, "/ops/jobs?state=running")).await.unwrap();
    assert_eq!(right.status(), 303);
    assert_eq!(right.headers()[LOCATION], "/ops/jobs?state=running");
    let cookie = right.headers()[SET_COOKIE].to_str().unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/ops", "Max-Age="] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "over http a browser would drop it: {cookie}");

    let open = post(fields(PASSWORD, "https://evil.example/")).await.unwrap();
    assert_eq!(open.headers()[LOCATION], "/ops", "no open redirect");
    let tls = ops.request(Method::POST, "/ops/login").header("x-forwarded-proto", "https");
    let tls = tls.form(&fields(PASSWORD, "/ops")).send().await.unwrap();
    assert!(tls.headers()[SET_COOKIE].to_str().unwrap().contains("Secure"));
}

#[tokio::test]
async fn signing_out_ends_the_session() {
    let ops = Ops::new().await;
    let mut session = ops.sign_in().await;
    assert!(session.page("/ops").await.contains("Olga Operator"));
    let out = session.request(Method::POST, "/ops/logout").send().await.unwrap();
    assert_eq!(out.headers()[LOCATION], "/ops/login");
    session.take(out.headers());
    assert_eq!(session.get("/ops").await.0, 303);
}

#[tokio::test]
async fn a_page_of_another_site_can_do_nothing() {
    let ops = Ops::new().await;
    let session = ops.sign_in().await;
    let id = ops.job("leads.rescan_unassigned", Options::new()).await;
    let path = format!("/ops/jobs/{id}/cancel");
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        let answer = session.request(Method::POST, &path).header(name, value).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{name}: {value}");
        assert_eq!(ops.state(id).await, JobState::Available, "{name}: {value}");
    }
    let ours = session.request(Method::POST, &path).header("sec-fetch-site", "same-origin");
    let ours = ours.header("origin", &ops.base).send().await.unwrap();
    assert_eq!(ours.status(), 303);
    assert_eq!(ops.state(id).await, JobState::Cancelled);
}

#[tokio::test]
async fn a_link_on_another_site_does_not_end_at_the_sign_in_form() {
    let ops = Ops::new().await;
    let link = |path| ops.request(Method::GET, path).header("sec-fetch-site", "cross-site");
    let hop = link("/ops/jobs?state=running").send().await.unwrap();
    assert_eq!(hop.status(), 200);
    let page = hop.text().await.unwrap();
    assert!(page.contains(r#"content="0; url=/ops/jobs?state=running""#), "{page}");
    let evil = link("/ops/%22%3E%3Cscript%3E").send().await.unwrap().text().await.unwrap();
    assert!(!evil.contains("<script>"), "{evil}");
}

#[tokio::test]
async fn static_files_are_kept_for_good_and_revalidated() {
    let ops = Ops::new().await;
    let page = ops.request(Method::GET, "/ops/login").send().await.unwrap().text().await.unwrap();
    let css = page.split('"').find(|s| s.starts_with("/ops/static/ops.css")).unwrap();
    let versioned = ops.request(Method::GET, css).send().await.unwrap();
    assert_eq!(versioned.status(), 200);
    assert!(versioned.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    let etag = versioned.headers()["etag"].clone();
    let again = ops.request(Method::GET, "/ops/static/ops.css").header("if-none-match", etag);
    let again = again.send().await.unwrap();
    assert_eq!(again.status(), 304);
    assert_eq!(again.headers()["cache-control"], "no-cache");
    for other in ["nothing.css", "..%2fCargo.toml"] {
        let path = format!("/ops/static/{other}");
        assert_eq!(ops.request(Method::GET, &path).send().await.unwrap().status(), 404);
    }
}

/// Signed in, but with a notice of one's own making in the cookie: it is text, not markup.
#[tokio::test]
async fn a_forged_notice_is_text() {
    let ops = Ops::new().await;
    let mut session: Session<'_> = ops.sign_in().await;
    let mut headers = reqwest::header::HeaderMap::new();
    let hex: String = "+<b id=x>".bytes().map(|b| format!("{b:02x}")).collect();
    headers.insert(SET_COOKIE, format!("switchyard_ops_notice={hex}").parse().unwrap());
    session.take(&headers);
    let page = session.page("/ops").await;
    assert!(page.contains("&#60;b id=x&#62;") && !page.contains("<b id=x>"));
    assert!(!session.page("/ops").await.contains("b id=x"), "it is shown once");
}
