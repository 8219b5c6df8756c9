//! Whether a mail server takes a mail: the plain dialogue of RFC 5321, with one mail that says what it is. Once the server may have it, it is never sent again.

use std::time::{Duration, Instant};

use crds::job::{CheckResult, TestMail};
use crds::run::Verdict;
use jiff::Timestamp;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Desk, positive};
use crate::environment::now;
use crate::failure::Result;

/// How long the server may take for one answer.
const ANSWER: Duration = Duration::from_secs(20);
/// Longest line of an answer, in bytes, and the most lines.
const LONGEST_LINE: u64 = 2048;
const MOST_LINES: usize = 64;
/// The longest wait between two dialogues.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// All of them side by side.
pub(super) async fn all(desk: &Desk, mails: &[TestMail]) -> Result<Vec<CheckResult>> {
    let mut waiting = Vec::with_capacity(mails.len());
    for mail in mails {
        desk.telling.say(format!("send a test mail by {}:{}", mail.host, mail.port));
        waiting.push(one(mail, positive("patience", mail.patience)?));
    }
    Ok(futures::future::join_all(waiting).await)
}

/// How a dialogue ended that did not end well.
enum Broken {
    /// The server has no mail of us: another may follow.
    Unsent(String),
    /// It has it, or may have it.
    Unclear(String),
}

async fn one(mail: &TestMail, patience: Duration) -> CheckResult {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(500);
    let result = |verdict, observed| CheckResult {
        name: mail.name.clone(),
        verdict,
        expected: "a test mail is taken".to_owned(),
        observed,
    };
    loop {
        match dialogue(mail).await {
            Ok(said) => return result(Verdict::Passed, said),
            Err(Broken::Unclear(why)) => return result(Verdict::Inconclusive, why),
            Err(Broken::Unsent(why)) if begun.elapsed() + pause > patience => {
                return result(Verdict::Failed, why);
            }
            Err(Broken::Unsent(_)) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn dialogue(mail: &TestMail) -> std::result::Result<String, Broken> {
    let connect = TcpStream::connect((mail.host.as_str(), mail.port));
    let stream = match tokio::time::timeout(ANSWER, connect).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => return Err(Broken::Unsent(format!("it can't be connected to: {e}"))),
        Err(_) => return Err(Broken::Unsent("it can't be connected to in time".to_owned())),
    };
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let unsent = |(during, why): (&str, String)| Broken::Unsent(format!("{during}: {why}"));
    heard(&mut read, 220).await.map_err(|why| unsent(("the greeting", why)))?;
    let (from, to) = (&mail.from, &mail.to);
    let greeting = "EHLO holdfast.invalid".to_owned();
    for (command, wanted) in [
        (greeting, 250),
        (format!("MAIL FROM:<{from}>"), 250),
        (format!("RCPT TO:<{to}>"), 250),
        ("DATA".into(), 354),
    ] {
        let verb = command.split([' ', ':']).next().unwrap_or_default().to_owned();
        say(&mut write, &format!("{command}\r\n")).await.map_err(|why| unsent((&verb, why)))?;
        heard(&mut read, wanted).await.map_err(|why| unsent((&verb, why)))?;
    }
    let unclear = |why: String| Broken::Unclear(format!("it may have the mail: {why}"));
    say(&mut write, &text(mail, now())).await.map_err(unclear)?;
    let said = match answer(&mut read).await {
        Ok((250, said)) => said,
        // It was told, and does not want it.
        Ok((code, said)) => return Err(Broken::Unsent(format!("the mail: {code} {said}"))),
        Err(why) => return Err(unclear(why)),
    };
    // The mail is taken; how they part changes nothing of that.
    let _ = say(&mut write, "QUIT\r\n").await;
    Ok(format!("250 {said}"))
}

/// The mail. Nobody can mistake it for one that somebody waits for.
fn text(mail: &TestMail, now: Timestamp) -> String {
    let date = now.strftime("%a, %d %b %Y %H:%M:%S +0000");
    format!(
        "From: Holdfast <{from}>\r\nTo: <{to}>\r\nSubject: [Holdfast test] check {name} of {by}\r\nDate: {date}\r\nMessage-ID: <{id}.{millis}@holdfast.invalid>\r\n\
         Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
         This is a test. {by} is validating what it has recovered, and the check {name} sends one mail\r\nto see whether mail is sent again. Nothing has to be done.\r\n.\r\n",
        from = mail.from,
        to = mail.to,
        name = mail.name,
        by = mail.by,
        id = mail.name,
        millis = now.as_millisecond(),
    )
}

async fn say(write: &mut (impl AsyncWrite + Unpin), text: &str) -> std::result::Result<(), String> {
    match tokio::time::timeout(ANSWER, write.write_all(text.as_bytes())).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(e.to_string()),
        Err(_) => Err("it does not read".to_owned()),
    }
}

/// An answer that has to have this code.
async fn heard(read: &mut (impl AsyncBufRead + Unpin), wanted: u16) -> std::result::Result<(), String> {
    match answer(read).await? {
        (code, _) if code == wanted => Ok(()),
        (code, said) => Err(format!("{code} {said}")),
    }
}

/// Code and last line of an answer, of one line or several.
async fn answer(read: &mut (impl AsyncBufRead + Unpin)) -> std::result::Result<(u16, String), String> {
    for _ in 0..MOST_LINES {
        let mut line = Vec::new();
        let mut bounded = (&mut *read).take(LONGEST_LINE);
        match tokio::time::timeout(ANSWER, bounded.read_until(b'\n', &mut line)).await {
            Ok(Ok(0)) => return Err("it hung up".to_owned()),
            Ok(Ok(_)) => {}
            Ok(Err(e)) => return Err(e.to_string()),
            Err(_) => return Err("it does not answer".to_owned()),
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        let code = line.get(..3).and_then(|code| code.parse().ok());
        let Some(code) = code else { return Err(format!("it speaks no SMTP: {line}")) };
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok((code, line.get(4..).unwrap_or_default().to_owned()));
        }
    }
    Err("its answer has no end".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_of_one_line_and_of_several_are_heard_and_nonsense_is_told() {
        let of = async |text: &'static str| answer(&mut text.as_bytes()).await;
        assert_eq!(of("250 fine\r\n").await, Ok((250, "fine".to_owned())));
        assert_eq!(of("250-sink\r\n250-SIZE 10\r\n250 HELP\r\n").await, Ok((250, "HELP".to_owned())));
        assert_eq!(of("221\r\n").await, Ok((221, String::new())));
        assert_eq!(of("").await, Err("it hung up".to_owned()));
        assert!(of("HTTP/1.1 400\r\n").await.unwrap_err().contains("speaks no SMTP"));
    }

    #[test]
    fn the_mail_says_that_it_is_a_test_and_ends() {
        let mail = TestMail {
            name: "sends".into(),
            host: "email".into(),
            port: 25,
            from: "holdfast@arxiv".into(),
            to: "dr-test@yourorg.com".into(),
            by: "RecoveryRun arxiv/db-1".into(),
            patience: jiff::SignedDuration::from_secs(1),
        };
        let text = text(&mail, "2026-11-23T09:30:00Z".parse().unwrap());
        assert!(
            text.contains("Subject: [Holdfast test] check sends of RecoveryRun arxiv/db-1\r\n"),
            "{text}"
        );
        assert!(text.contains("Date: Mon, 23 Nov 2026 09:30:00 +0000\r\n"), "{text}");
        assert!(text.ends_with("\r\n.\r\n") && !text.replace("\r\n", "").contains(['\r', '\n']));
    }
}
