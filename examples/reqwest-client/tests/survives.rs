//! The program as its users start it, against a server that fails at first.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

const FAILURE: &str = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const SUCCESS: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nhello\n";

#[test]
fn a_failure_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for (answer, connection) in [FAILURE, SUCCESS].into_iter().zip(listener.incoming()) {
            let mut connection = connection.unwrap();
            let head = BufReader::new(connection.try_clone().unwrap()).lines();
            let _head: Vec<_> = head.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            connection.write_all(answer.as_bytes()).unwrap();
        }
    });

    let output = Command::new(env!("CARGO_BIN_EXE_reqwest-client")).arg(url).output().unwrap();

    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "200 OK\nhello\n");
}
