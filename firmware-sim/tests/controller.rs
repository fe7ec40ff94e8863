//! The program `controller` over its standard input and output, as another process meets it.

use controller_core::protocol::{Client, InCharge, Reply, Request, Safety};
use std::io::{Read, Write};
use std::process::{Command, Stdio};

#[test]
fn the_program_answers_and_ends_with_its_input() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_controller"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut client = Client::new();
    let mut answer = |client: &mut Client| {
        input.write_all(client.frame()).unwrap();
        input.flush().unwrap();
        let mut byte = [0];
        loop {
            output.read_exact(&mut byte).expect("the program answers");
            if let Some(reply) = client.receive(byte[0]) {
                return reply;
            }
        }
    };
    client.greet(7).unwrap();
    let Reply::Hello(identity) = answer(&mut client) else { panic!() };
    assert_eq!((identity.in_charge, identity.image, identity.configured), (InCharge::TwoRule, 0, false));
    client.ask(&Request::Heartbeat).unwrap();
    let Reply::Status(status) = answer(&mut client) else { panic!() };
    assert_eq!((status.safety, status.link.accepted), (Safety::InSession, 1));
    drop(input);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(said.starts_with("fan_full active 0 us, "), "{said}");
    assert!(said.contains("\npower_cap active 0 us, "), "{said}");
    assert!(said.contains("\nfan_full quiet "), "{said}");
}
