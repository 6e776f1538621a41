//! What cannot be done as asked: one clear line on standard error and exit code 2.

use std::net::TcpListener;
use std::process::{Command, Output};

fn four_plane(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_four-plane"));
    command.env_remove("FOUR_PLANE_DATABASE_URL").env_remove("FOUR_PLANE_REDIS_URL");
    command.args(arguments).output().expect("the binary was built for this test")
}

/// The one line that was said, if the exit code is 2 and nothing else was said.
fn mistake(arguments: &[&str]) -> String {
    let output = four_plane(arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
    assert_eq!(text.lines().count(), 1, "{arguments:?}: {text}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{arguments:?}");
    text.trim_end().to_owned()
}

/// An address where nobody listens: taken, and given back.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound listener has an address").to_string()
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();

    let text = mistake(&["run", "--listen", &address, "--state", "embedded"]);

    assert!(text.starts_with(&format!("four-plane: listen {address}: Address already in use")), "{text}");
}

#[test]
fn a_control_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();

    let text = mistake(&["--listen", "127.0.0.1:0", "--control", &address]);

    assert!(text.starts_with(&format!("four-plane: control {address}: Address already in use")), "{text}");
}

#[test]
fn a_bad_flag_or_value_is_named() {
    for (arguments, expected) in [
        (
            &["--lisen", "x"] as &[&str],
            "four-plane: run: unknown flag --lisen; `four-plane help` lists what is allowed",
        ),
        (&["fly"], "four-plane: command is \"fly\"; allowed are run, load, chaos, drill, score, verify, help, version"),
        (&["--load", "-5"], "four-plane: load is \"-5\"; allowed is 0 to 100000 requests per second"),
        (&["--api-keys", "/nowhere/x"], "four-plane: api_keys /nowhere/x: No such file or directory (os error 2)"),
        (&["--state", "none"], "four-plane: state is \"none\"; allowed is auto or embedded"),
        (
            &["--listen"],
            "four-plane: run: missing argument for option '--listen'; `four-plane help` lists what is allowed",
        ),
        (&["run", "extra"], "four-plane: run: unexpected argument \"extra\"; `four-plane help` lists what is allowed"),
        (&["load"], "four-plane: load: --url is missing; allowed is the edge, http://HOST:PORT"),
        (&["load", "--url", "ftp://x"], "four-plane: --url is \"ftp://x\"; allowed is http://HOST:PORT"),
        (&["load", "--url", "http://x", "--seconds", "0"], "four-plane: --seconds is \"0\"; allowed is 1 to 86400"),
        (&["chaos"], "four-plane: chaos: --all is missing; allowed is either --all or --fault NAME"),
        (&["score", "--bad"], "four-plane: score: unknown flag --bad; `four-plane help` lists what is allowed"),
        (&["verify", "--bad"], "four-plane: verify: unknown flag --bad; `four-plane help` lists what is allowed"),
        (
            &["verify", "--output", "/nowhere/x"],
            "four-plane: --output /nowhere/x: No such file or directory (os error 2)",
        ),
    ] {
        assert_eq!(mistake(arguments), expected);
    }
}

#[test]
fn what_an_instance_cannot_do_is_also_told_to_who_started_it() {
    let output = four_plane(&["instance", "--role", "cdn"]);

    let cause = "--role is \"cdn\"; allowed is edge, gateway, catalog, recommendation or state";
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&output.stderr), format!("four-plane: {cause}\n"));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    assert_eq!(told["failed"]["cause"], cause);
}

#[test]
fn a_broken_configuration_file_is_named_with_what_is_wrong() {
    let folder = std::env::temp_dir().join(format!("four-plane-mistakes-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("config.json");
    let path = file.to_str().unwrap();
    for (text, expected) in [
        ("{\"lisen\": \"127.0.0.1:1\"}", "unknown field \"lisen\"; allowed are listen, control, data"),
        ("{\"load\": \"many\"}", "load is \"many\"; allowed is 0 to 100000 requests per second"),
        ("{\"load\": ", "not a JSON object: EOF while parsing"),
    ] {
        std::fs::write(&file, text).unwrap();

        let said = mistake(&["--config", path]);

        assert!(said.starts_with(&format!("four-plane: config file {path}: {expected}")), "{said}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let missing = mistake(&["--config", path]);
    assert_eq!(missing, format!("four-plane: config {path}: No such file or directory (os error 2)"));
}

#[test]
fn an_unreachable_url_is_named() {
    let address = nobody();
    for (flag, url) in [
        ("--database-url", format!("postgresql://me:secret@{address}/cities")),
        ("--redis-url", format!("redis://{address}")),
    ] {
        let text = mistake(&["--listen", "127.0.0.1:0", flag, &url]);

        let field = flag.trim_start_matches('-').replace('-', "_");
        let expected = format!("four-plane: {field}: nothing answers at {address}: Connection refused");
        assert!(text.starts_with(&expected), "{text}");
    }

    let text = mistake(&["load", "--url", &format!("http://{address}")]);

    assert!(text.starts_with(&format!("four-plane: --url: nothing answers at {address}")), "{text}");
}

#[test]
fn a_server_that_is_something_else_is_named() {
    use std::io::{Read as _, Write as _};
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = web.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in web.incoming() {
            let mut stream = stream.unwrap();
            let _heard = stream.read(&mut [0; 1024]).unwrap();
            stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").unwrap();
        }
    });

    for (part, flag, url) in [
        ("database", "--database-url", format!("postgresql://me:secret@{address}/cities")),
        ("cache", "--redis-url", format!("redis://:secret@{address}")),
    ] {
        let text = mistake(&["--listen", "127.0.0.1:0", flag, &url]);

        assert!(text.starts_with(&format!("four-plane: the {part} at {address} cannot be used: ")), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let text = mistake(&["--listen", "127.0.0.1:0", "--data", "/proc/nowhere"]);

    assert_eq!(text, "four-plane: data /proc/nowhere: No such file or directory (os error 2)");
}

#[test]
fn an_unknown_fault_is_named() {
    let text = mistake(&["chaos", "--fault", "meteor"]);

    assert!(text.starts_with("four-plane: --fault is \"meteor\"; allowed is instance-termination, "), "{text}");
}

#[test]
fn a_ready_file_that_cannot_be_written_is_named() {
    let text = mistake(&["--listen", "127.0.0.1:0", "--ready-file", "/nowhere/at/all.json"]);

    assert_eq!(text, "four-plane: ready_file /nowhere/at/all.json: No such file or directory (os error 2)");
}

#[test]
fn help_and_version_are_no_mistakes() {
    for (arguments, expected) in
        [(["help"], "four-plane [run]"), (["--help"], "four-plane [run]"), (["--version"], "four-plane 0")]
    {
        let output = four_plane(&arguments);

        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).contains(expected), "{output:?}");
    }
}
