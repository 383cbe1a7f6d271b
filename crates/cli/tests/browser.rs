//! Sign-in and consent as a person with a browser meets them.

mod common;

#[cfg(test)]
mod browser {
    use crate::common::chromium::Chromium;
    use crate::common::pages::Native;
    use crate::common::{Demo, Serving, http, portcullis, run};
    use fantoccini::Locator;
    use fantoccini::key::Key;

    fn user(demo: &Demo) -> (String, String) {
        let text = |name: &str| demo.facts["user"][name].as_str().unwrap().to_owned();
        (text("username"), text("password"))
    }

    /// The name that the server's metadata gives to people.
    fn title(demo: &Demo, server: &str) -> String {
        let place = format!("{}/.well-known/oauth-protected-resource/mcp/{server}", demo.issuer());
        let metadata = http::get(&place).unwrap().json();
        metadata["resource_name"].as_str().unwrap().to_owned()
    }

    async fn nothing_to_complain(chromium: &Chromium) {
        let complaints = chromium.complaints().await;
        assert!(complaints.is_empty(), "{complaints:#?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn browser_pc_10_sign_in_consent_and_a_code_that_works() {
        let demo = Demo::start();
        let native = Native::register(&demo, "Notebook <b>&amp; Co");
        let chromium = Chromium::start().await;
        let address = native.authorize(&demo, "notes", "notes:read notes:write");
        chromium.client.goto(&address).await.unwrap();
        chromium.until_shown("input[name=username]").await;
        chromium.picture("sign-in").await;
        nothing_to_complain(&chromium).await;

        let (username, password) = user(&demo);
        chromium.sign_in(&username, &password).await;
        chromium.until_shown("button[value=approve]").await;
        chromium.picture("consent").await;
        let words = chromium.words().await;
        // AS-CONS-01: who asks, for which server, for what, and where the answer goes.
        for shown in [
            "Notebook <b>&amp; Co",
            "127.0.0.1",
            &title(&demo, "notes"),
            "notes:read",
            "notes:write",
            &username,
        ] {
            assert!(words.contains(shown), "{shown} is not on the page");
        }
        nothing_to_complain(&chromium).await;

        // With the keyboard: both answers can be reached, and neither is given by accident.
        assert_eq!(chromium.focused().await, "BODY");
        chromium.press(Key::Tab).await;
        assert_eq!(chromium.focused().await, "decision=deny");
        chromium.press(Key::Tab).await;
        assert_eq!(chromium.focused().await, "decision=approve");
        chromium.press(Key::Enter).await;

        let answer = native.callback.wait();
        assert_eq!(answer["state"], "state-of-the-client");
        assert_eq!(answer["iss"], demo.issuer()); // RFC 9207
        assert!(!answer.contains_key("error"));
        chromium.until_shown("#back").await;
        nothing_to_complain(&chromium).await;
        chromium.close().await;

        let tokens = native.redeem(&demo, "notes", &answer["code"]);
        assert!(tokens["refresh_token"].is_string());
        let called = run(portcullis()
            .args(["call", demo.server("notes"), "list_notes", "--token-env", "TOKEN_OF_A_PERSON"])
            .env("TOKEN_OF_A_PERSON", tokens["access_token"].as_str().unwrap()));
        assert_eq!(called.code(), 0, "{called:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn browser_a_person_who_denies_gives_nothing() {
        let demo = Demo::start();
        let native = Native::register(&demo, "Notebook");
        let chromium = Chromium::start().await;
        let address = native.authorize(&demo, "notes", "notes:read");
        chromium.client.goto(&address).await.unwrap();
        let (username, password) = user(&demo);
        chromium.sign_in(&username, &password).await;
        chromium.until_shown("button[value=deny]").await;
        let deny = chromium.client.find(Locator::Css("button[value=deny]")).await.unwrap();
        deny.click().await.unwrap();

        let answer = native.callback.wait();
        assert_eq!(answer["error"], "access_denied");
        assert_eq!(answer["state"], "state-of-the-client");
        assert_eq!(answer["iss"], demo.issuer());
        assert!(!answer.contains_key("code"));
        nothing_to_complain(&chromium).await;
        chromium.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn browser_ui_11_a_wrong_password_says_nothing_about_the_name() {
        let demo = Demo::start();
        let native = Native::register(&demo, "Notebook");
        let chromium = Chromium::start().await;
        let address = native.authorize(&demo, "notes", "notes:read");
        let (username, password) = user(&demo);
        let mut notices = Vec::new();
        for name in [username.as_str(), "nobody-here"] {
            chromium.client.goto(&address).await.unwrap();
            chromium.sign_in(name, "not the password").await;
            chromium.until_shown("[role=alert]").await;
            let notice = chromium.client.find(Locator::Css("[role=alert]")).await.unwrap();
            notices.push(notice.text().await.unwrap());
        }
        assert_eq!(notices[0], notices[1]);
        chromium.picture("sign-in-wrong").await;
        assert!(native.callback.nothing_came());

        // The owner is not locked out by it.
        chromium.sign_in(&username, &password).await;
        chromium.until_shown("button[value=approve]").await;
        chromium.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn browser_redir_a_wrong_way_back_is_shown_and_not_taken() {
        let demo = Demo::start();
        let native = Native::register(&demo, "Notebook");
        let chromium = Chromium::start().await;
        let good = native.authorize(&demo, "notes", "notes:read");
        let address = good.replace("callback", "elsewhere");
        assert_ne!(good, address);
        chromium.client.goto(&address).await.unwrap();
        chromium.until_shown("h1").await;
        chromium.picture("error").await;
        assert!(chromium.client.find_all(Locator::Css("form")).await.unwrap().is_empty());
        assert!(!chromium.words().await.contains("elsewhere"), "nothing of the request is echoed");
        let stayed = chromium.client.current_url().await.unwrap();
        assert!(stayed.as_str().starts_with(demo.issuer()));
        assert!(native.callback.nothing_came());
        chromium.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn browser_the_first_administrator_must_choose_a_password() {
        let serving = Serving::start(&[], &[]);
        let printed = serving.printed("good until you choose your own");
        let once = printed.lines().last().unwrap().trim();
        let chromium = Chromium::start().await;
        chromium.client.goto(&format!("{}/login", serving.origin)).await.unwrap();
        chromium.sign_in("admin", once).await;

        chromium.until_shown("input[name=new_password]").await;
        chromium.picture("password").await;
        let chosen = "correct horse battery staple";
        for (name, value) in [("password", once), ("new_password", chosen), ("again", chosen)] {
            let field = format!("input[name={name}]");
            let field = chromium.client.find(Locator::Css(&field)).await.unwrap();
            field.send_keys(value).await.unwrap();
        }
        chromium.press(Key::Enter).await;
        chromium.until_shown("form[action$='/logout']").await;
        chromium.picture("account").await;
        assert!(chromium.words().await.contains("admin"));
        nothing_to_complain(&chromium).await;

        // The one-time password is spent, and the chosen one counts.
        let out = chromium.client.find(Locator::Css("form[action$='/logout'] button")).await.unwrap();
        out.click().await.unwrap();
        for (password, shown) in [(once, "[role=alert]"), (chosen, "form[action$='/logout']")] {
            chromium.client.goto(&format!("{}/login", serving.origin)).await.unwrap();
            chromium.sign_in("admin", password).await;
            chromium.until_shown(shown).await;
        }
        chromium.close().await;
    }
}
