//! Configurations from files: what is left out has its default, and nothing that a builder refuses comes in by a file.
#![cfg(feature = "serde")]

use std::{fmt::Debug, time::Duration};

use seawall_load_shedder::{
    AimdConfig, Gradient2Config, LimitRange, LoadShedderConfig, LoadShedderError, Marks, NewestFirst, QueueDiscipline,
    QueueingShedderConfig, Sampling, ThrottleConfig, VegasConfig, WindowSize,
};
use serde::{Serialize, de::DeserializeOwned};

/// Reads what it has written, in which these fields stand.
fn comes_back<C: Serialize + DeserializeOwned + PartialEq + Debug>(config: &C, written: &str) {
    let text = serde_json::to_string(config).expect("it can be written");

    assert_eq!(text, written);
    assert_eq!(&serde_json::from_str::<C>(&text).expect("it can be read"), config);
}

/// An empty file is the default; a misspelt field is refused, and each of these with such a text.
fn refuses<C: DeserializeOwned + Default + PartialEq + Debug>(nonsense: &[(&str, &str)]) {
    assert_eq!(serde_json::from_str::<C>("{}").expect("it can be read"), C::default());
    for (file, text) in [(r#"{"misspelt": 1}"#, "unknown field `misspelt`")].iter().chain(nonsense) {
        let refused = serde_json::from_str::<C>(file).expect_err(file).to_string();
        assert!(refused.contains(text), "{file}: {refused}");
    }
}

const LIMITS: (&str, &str) = (r#"{"min_limit": 0}"#, "limits are min 0");

fn range() -> Result<LimitRange, LoadShedderError> {
    LimitRange::new(2, 30, 400)
}

#[test]
fn every_configuration_comes_back_from_its_file() -> Result<(), LoadShedderError> {
    let shedder = LoadShedderConfig::default().with_range(range()?).with_retry_after(Duration::from_millis(1_500))?;
    comes_back(&shedder, r#"{"min_limit":2,"initial_limit":30,"max_limit":400,"retry_after":"1s 500ms"}"#);
    let queueing = QueueingShedderConfig::new(shedder)
        .with_delay(Duration::from_millis(7), Duration::from_millis(70))?
        .with_max_queued(77)?
        .with_discipline(QueueDiscipline::CoDel)
        .with_newest_first(NewestFirst::Never)
        .with_tenant_patience(5)?;
    comes_back(
        &queueing,
        r#"{"min_limit":2,"initial_limit":30,"max_limit":400,"retry_after":"1s 500ms","target":"7ms","interval":"70ms","max_queued":77,"discipline":"codel","newest_first":"never","tenant_patience":5}"#,
    );
    let window = WindowSize { full: 50_000, enough: 20, at_most: Duration::from_secs(2) };
    let sampling =
        Sampling::default().with_quantile(0.9)?.with_window(window)?.with_least_latency(Duration::from_micros(100))?;
    let written = r#"{"quantile":0.9,"least_latency":"100us","full":50000,"enough":20,"at_most":"2s"}"#;
    comes_back(&sampling, written);
    let limits = r#""min_limit":2,"initial_limit":30,"max_limit":400"#;
    comes_back(
        &AimdConfig::default()
            .with_range(range()?)
            .with_backoff_ratio(0.5)?
            .with_timeout(Duration::from_secs(3))?
            .with_sampling(sampling),
        &format!(r#"{{{limits},"backoff_ratio":0.5,"timeout":"3s","sampling":{written}}}"#),
    );
    comes_back(
        &VegasConfig::default()
            .with_range(range()?)
            .with_smoothing(0.25)?
            .with_probe_multiplier(40)?
            .with_sampling(sampling),
        &format!(r#"{{{limits},"smoothing":0.25,"probe_multiplier":40,"sampling":{written}}}"#),
    );
    comes_back(
        &Gradient2Config::default()
            .with_range(range()?)
            .with_smoothing(0.25)?
            .with_tolerance(2.5)?
            .with_long_window(60)?
            .with_queue_size(6)?
            .with_sampling(sampling),
        &format!(
            r#"{{{limits},"smoothing":0.25,"tolerance":2.5,"long_window":60,"queue_size":6,"sampling":{written}}}"#
        ),
    );
    comes_back(
        &ThrottleConfig::default().with_k(1.5)?.with_span(Duration::from_secs(30))?.with_padding(3),
        r#"{"k":1.5,"span":"30s","padding":3}"#,
    );
    comes_back(&Marks::new([0.25, 0.5, 0.75])?, "[0.25,0.5,0.75]");
    let for_ever = Sampling::default().with_window(WindowSize { at_most: Duration::MAX, ..window })?;
    assert_eq!(serde_json::from_str::<Sampling>(&serde_json::to_string(&for_ever).unwrap()).unwrap(), for_ever);
    comes_back(&Sampling::default(), r#"{"least_latency":"0s","full":1000,"enough":10,"at_most":"1s"}"#);
    Ok(())
}

#[test]
fn what_a_builder_refuses_is_refused_from_a_file() {
    refuses::<LoadShedderConfig>(&[LIMITS, (r#"{"retry_after": "2h"}"#, "retry_after is 7200s")]);
    refuses::<QueueingShedderConfig>(&[
        LIMITS,
        (r#"{"retry_after": "2h"}"#, "retry_after is 7200s"),
        (r#"{"target": "1s"}"#, "target is 1s"),
        (r#"{"max_queued": 0}"#, "max_queued is 0"),
        (r#"{"tenant_patience": 101}"#, "tenant_patience is 101"),
        (r#"{"discipline": "fifo"}"#, "unknown variant `fifo`"),
        (r#"{"newest_first": "sometimes"}"#, "unknown variant `sometimes`"),
    ]);
    refuses::<Sampling>(&[
        (r#"{"quantile": 90}"#, "quantile is 90"),
        (r#"{"enough": 2000}"#, "enough 2000"),
        (r#"{"least_latency": "2s"}"#, "least_latency is 2s"),
    ]);
    let in_sampling = (r#"{"sampling": {"quantile": 90}}"#, "quantile is 90");
    let smoothing = (r#"{"smoothing": 0}"#, "smoothing is 0");
    refuses::<AimdConfig>(&[
        LIMITS,
        in_sampling,
        (r#"{"backoff_ratio": 1}"#, "backoff_ratio is 1"),
        (r#"{"timeout": "0s"}"#, "timeout is 0s"),
    ]);
    refuses::<VegasConfig>(&[LIMITS, in_sampling, smoothing, (r#"{"probe_multiplier": 0}"#, "probe_multiplier is 0")]);
    refuses::<Gradient2Config>(&[
        LIMITS,
        in_sampling,
        smoothing,
        (r#"{"tolerance": 0.5}"#, "tolerance is 0.5"),
        (r#"{"long_window": 9}"#, "long_window is 9"),
        (r#"{"queue_size": 0}"#, "queue_size is 0"),
    ]);
    refuses::<ThrottleConfig>(&[(r#"{"k": 0.5}"#, "k is 0.5"), (r#"{"span": "10ms"}"#, "span is 10ms")]);
    for marks in ["[0.5,0.4,0.9]", "[0,1,2]"] {
        let refused = serde_json::from_str::<Marks>(marks).expect_err(marks).to_string();
        assert!(refused.contains("marks are"), "{refused}");
    }
}
