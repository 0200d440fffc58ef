use super::*;
use proptest::prelude::*;

const TOY: &str = include_str!("../../../tests/lm/toy.arpa");

fn toy() -> Lm {
    Lm::read(TOY.as_bytes()).unwrap()
}

fn error(arpa: &str) -> String {
    Lm::read(arpa.as_bytes()).unwrap_err().to_string()
}

#[test]
fn sentences_score_as_in_kenlm() {
    let lm = toy();
    for line in include_str!("../../../tests/lm/toy.scores").lines() {
        let (sentence, log10) = line.split_once('\t').unwrap();
        let expected = log10.parse::<f64>().unwrap() * std::f64::consts::LN_10;
        assert!((lm.sentence(sentence) - expected).abs() < 1e-4, "`{sentence}`: {}", lm.sentence(sentence));
    }
}

#[test]
fn a_missing_trigram_pays_the_backoff_of_its_context() {
    let lm = toy();
    let context = ["the", "cat"].iter().fold(lm.start(), |c, w| lm.score(&c, lm.word(w)).1);
    // p(the | the cat) = backoff(the cat) · backoff(cat) · p(the)
    let (ln_p, _) = lm.score(&context, lm.word("the"));
    assert!((ln_p - (-0.2041 - 0.2553 - 0.8239) * std::f32::consts::LN_10).abs() < 1e-5);
    assert_eq!((lm.order(), lm.words()), (3, 8));
}

#[test]
fn spelling_narrows_the_words_letter_by_letter() {
    let lm = toy();
    let c = lm.narrow(&lm.candidates(), "c");
    assert!(!c.is_unknown() && lm.complete(&c).is_none());
    assert_eq!(lm.complete(&lm.narrow(&c, "at")), lm.word("cat"));
    assert!(lm.word("cat").is_some());
    assert!(lm.narrow(&c, "o").is_unknown());
    assert_eq!(lm.word("ca"), None);
    assert_eq!(lm.word(""), None);
}

#[test]
fn without_an_unknown_word_the_least_likely_word_stands_in() {
    let lm =
        Lm::read("\\data\\\nngram 1=3\n\\1-grams:\n-99 <s>\n-0.2 a\n-0.7 b\n\\end\\".as_bytes()).unwrap();
    let (ln_p, _) = lm.score(&lm.start(), None);
    assert!((ln_p + 0.7 * std::f32::consts::LN_10).abs() < 1e-6);
}

#[test]
fn errors_name_the_line_and_the_cure() {
    assert!(error("").contains("give ARPA text"));
    assert!(error("\\data\\\nngram 2=4\n").contains("line 2: expected `ngram 1=COUNT`"));
    assert!(
        error(&TOY.replace("-0.8239", "0.8239")).contains("line 11: log10 probability 0.8239 is above 0")
    );
    assert!(error(&TOY.replace("-0.8239", "much")).contains("line 11: `much` is no log10 probability"));
    assert!(error(&TOY.replace("ngram 2=9", "ngram 2=8")).contains("more 2-grams than the 8"));
    assert!(
        error(&TOY.replace("ngram 2=9", "ngram 2=10")).contains("9 2-grams where `\\data\\` announces 10")
    );
    assert!(error(&TOY.replace("the sat", "a sat")).contains("`a` is no 1-gram"));
    assert!(error(&TOY.replace("the cat sat", "sat cat the")).contains("begins a 3-gram and is no 2-gram"));
    assert!(error(&TOY.replace("<s> cat", "<s> the")).contains("listed twice"));
    assert!(error(&TOY.replace("\\end\\", "")).contains("cut short"));
    assert!(error(&TOY.replace("<s> the cat", "<s> the cat -0.1 x")).contains("`x` after a 3-gram"));
    let binary = Lm::read(&b"mmap lm http://kheafield.com/code\0\xff\xfe"[..]).unwrap_err().to_string();
    assert!(binary.contains("not KenLM's binary"), "{binary}");
}

proptest! {
    #[test]
    fn a_damaged_file_is_refused_or_read_but_never_panics(
        cuts in proptest::collection::vec((0usize..900, 0usize..12, "[ \\t\\n0-9a-z.<>=\\\\-]{0,6}"), 1..5)
    ) {
        let mut text = TOY.to_owned();
        for (at, take, put) in cuts {
            let start = text.floor_char_boundary(at.min(text.len()));
            let end = text.floor_char_boundary((start + take).min(text.len()));
            text.replace_range(start..end.max(start), &put);
        }
        if let Ok(lm) = Lm::read(text.as_bytes()) {
            prop_assert!(!lm.sentence("the cat dog sat the кошка 是").is_nan());
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read_but_never_panic(bytes: Vec<u8>) {
        let _ = Lm::read(&bytes[..]);
        let _ = Lm::read(&[b"\\data\\\nngram 1=1\n\\1-grams:\n", &bytes[..]].concat()[..]);
    }
}
