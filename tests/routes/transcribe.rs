//! `POST /transcribe`: the right words, in every form.

use crate::support::{LANGUAGES, Server, clip, samples, wav};
use reqwest::blocking::multipart::{Form, Part};
use serde_json::Value;

#[test]
fn each_of_the_eleven_languages_is_read_by_its_own_pack() {
    for lang in LANGUAGES {
        let (audio, text) = clip(lang);
        let answer = Server::demo().answer(&format!("lang={lang}"), &audio);
        assert_eq!((answer.text.as_str(), answer.lang.as_str()), (text.as_str(), lang));
        assert_eq!(
            (answer.pack.id.as_str(), answer.pack.generation, answer.pack.sha256.len()),
            (lang, 1, 64)
        );
        let words = answer.words.unwrap();
        let space = if lang == "zh_TW" { "" } else { " " };
        assert_eq!(words.iter().map(|w| w.word.as_str()).collect::<Vec<_>>().join(space), text);
        assert!(
            words.iter().all(|w| w.start < w.end && w.end <= answer.duration + 0.02 && w.confidence > 0.0)
        );
        let t = answer.timing;
        assert!(t.infer_ms > 0.0 && t.total_ms >= t.infer_ms + t.decode_ms && t.rtfx > 0.0, "{t:?}");
    }
}

#[test]
fn a_language_is_found_under_its_other_names() {
    for (name, id) in [("zh-Hant-TW", "zh_TW"), ("zh-tw", "zh_TW"), ("sv", "sv_SE"), ("sv-SE", "sv_SE")] {
        let (audio, text) = clip(id);
        let answer = Server::demo().answer(&format!("lang={name}"), &audio);
        assert_eq!((answer.lang.as_str(), answer.text), (id, text));
    }
}

#[test]
fn another_languages_mask_reads_the_same_audio_differently() {
    let (audio, text) = clip("tr");
    let other = Server::demo().answer("lang=ru", &audio);
    assert_ne!(other.text, text);
    assert_ne!(other.pack.sha256, Server::demo().answer("lang=tr", &audio).pack.sha256);
}

#[test]
fn a_form_and_a_bare_body_give_the_same_answer() {
    let (audio, text) = clip("es");
    let form = || Form::new().part("file", Part::bytes(audio.clone()).file_name("any.name"));
    let with_query = Server::demo().post("/transcribe?lang=es").multipart(form()).send().unwrap();
    let with_field = Server::demo().post("/transcribe").multipart(form().text("lang", "es")).send().unwrap();
    for response in [with_query, with_field] {
        assert_eq!(response.json::<Value>().unwrap()["text"], text);
    }
}

#[test]
fn what_the_client_calls_the_audio_does_not_matter() {
    let (audio, text) = clip("it");
    for kind in ["image/png", "application/x-www-form-urlencoded", "application/json"] {
        let request = Server::demo().post("/transcribe?lang=it").header("content-type", kind);
        let response = request.body(audio.clone()).send().unwrap();
        assert_eq!(response.json::<Value>().unwrap()["text"], text, "{kind}");
    }
}

#[test]
fn every_format_says_the_same_words_and_proves_its_pack() {
    let (audio, text) = clip("nl");
    let get = |format: &str| {
        let response = Server::demo().transcribe(&format!("lang=nl&format={format}"), &audio);
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert!(header("x-s3router-pack").starts_with("nl; generation=1; sha256="));
        assert!(header("server-timing").contains("infer;dur="));
        (header("content-type"), response.text().unwrap())
    };
    assert_eq!(get("text"), ("text/plain; charset=utf-8".into(), format!("{text}\n")));

    let (kind, json) = get("verbose_json");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((kind.as_str(), json["text"].as_str().unwrap()), ("application/json", text.as_str()));
    let segments: Vec<&str> =
        json["segments"].as_array().unwrap().iter().map(|s| s["text"].as_str().unwrap()).collect();
    assert_eq!(segments.join(" "), text);

    let (kind, srt) = get("srt");
    assert!(kind.starts_with("application/x-subrip") && srt.starts_with("1\n00:00:0"));
    let (kind, vtt) = get("vtt");
    assert!(kind.starts_with("text/vtt") && vtt.starts_with("WEBVTT\n\n00:00:0"));
    for subtitles in [srt, vtt] {
        let shown: Vec<&str> = subtitles
            .lines()
            .filter(|l| !l.is_empty() && !l.contains("-->") && *l != "WEBVTT" && l.parse::<u32>().is_err())
            .collect();
        assert_eq!(shown.join(" "), text);
    }
}

#[test]
fn words_and_alternatives_come_as_asked() {
    let (audio, text) = clip("ky");
    let bare: Value = Server::demo().transcribe("lang=ky&words=false", &audio).json().unwrap();
    assert!(bare.get("words").is_none() && bare.get("alternatives").is_none());
    let answer = Server::demo().answer("lang=ky&alternatives=1&decoder=greedy", &audio);
    let readings = answer.alternatives.unwrap();
    assert_eq!((readings.len(), readings[0].text.as_str()), (1, text.as_str()));
    assert!(readings[0].confidence > 0.0 && readings[0].confidence <= 1.0);
}

#[test]
fn headerless_pcm_is_read_as_the_query_says() {
    let (audio, text) = clip("tt");
    let raw: Vec<u8> = samples(&audio).iter().flat_map(|s| s.to_le_bytes()).collect();
    assert_eq!(Server::demo().answer("lang=tt&encoding=pcm_f32le&rate=16000", &raw).text, text);
    let stereo: Vec<u8> =
        samples(&audio).iter().flat_map(|s| [s.to_le_bytes(), s.to_le_bytes()].concat()).collect();
    let query = "lang=tt&encoding=pcm_f32le&rate=16000&channel_count=2";
    assert_eq!(Server::demo().answer(query, &stereo).text, text);
}

#[test]
fn split_channels_are_heard_one_by_one() {
    let (left, text) = clip("es");
    let (left, silence) = (samples(&left), vec![0.0f32; 16_000]);
    let answer = Server::demo().answer("lang=es&channels=split", &wav(&[&left, &silence]));
    let channels = answer.channels.unwrap();
    assert_eq!((channels.len(), channels[0].text.as_str()), (2, text.as_str()));
    assert!(answer.words.unwrap().iter().filter(|w| w.channel == Some(0)).count() > 1);
}

#[test]
fn audio_too_short_to_say_anything_is_an_empty_text() {
    for samples in [1, 100, 399] {
        let answer = Server::demo().answer("lang=en", &wav(&[&vec![0.0; samples]]));
        assert_eq!((answer.text.as_str(), answer.words.unwrap().len()), ("", 0));
    }
}

#[test]
fn a_request_keeps_the_name_its_caller_gave_it() {
    let (audio, _) = clip("en");
    let named = Server::demo().post("/transcribe?lang=en").header("x-request-id", "order-66");
    let response = named.body(audio).send().unwrap();
    assert_eq!(response.headers()["x-request-id"], "order-66");
    assert_eq!(response.json::<Value>().unwrap()["request_id"], "order-66");
}

#[test]
fn neighbours_in_a_mixed_batch_do_not_change_a_text() {
    std::thread::scope(|scope| {
        let asked: Vec<_> = LANGUAGES
            .iter()
            .chain(&LANGUAGES)
            .map(|lang| {
                scope.spawn(move || {
                    let (audio, text) = clip(lang);
                    (Server::demo().answer(&format!("lang={lang}"), &audio).text, text)
                })
            })
            .collect();
        for thread in asked {
            let (heard, text) = thread.join().unwrap();
            assert_eq!(heard, text);
        }
    });
}
