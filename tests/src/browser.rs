//! A real browser, to see what a person would see of an HTML file. It is asked nothing that the file does not hold: it runs in a network namespace that
//! is empty.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Shows the file in frames of several widths and says what is wrong with each.
const LOOK: &str = include_str!("browser/look.html");

/// How a page looks at one width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Width of the window, CSS pixels.
    pub width: u64,
    /// What stands out of the window or of its picture, what can't be read against its background, and what was fetched.
    pub faults: Vec<String>,
    /// In dark colours.
    pub dark: bool,
    /// Headings, in their order.
    pub headings: Vec<String>,
    /// Texts in pictures.
    pub picture_texts: u64,
}

/// Opens `file` at each of `widths`, in light colours or dark ones.
///
/// # Errors
/// When the browser can't be started or does not show the page.
pub fn look(file: &Path, widths: &[u64], dark: bool) -> Result<Vec<Shown>> {
    let directory = tempfile::tempdir()?;
    let widths = serde_json::to_string(widths)?;
    let url = serde_json::to_string(&format!("file://{}", file.canonicalize()?.display()))?;
    let host = directory.path().join("look.html");
    std::fs::write(&host, LOOK.replace("WIDTHS", &widths).replace("URL", &url))?;
    let output = browser(directory.path(), dark)
        .args(["--dump-dom", "--virtual-time-budget=5000", "--allow-file-access-from-files"])
        .arg(format!("file://{}", host.display()))
        .output()
        .context("chromium can't be started: apt-get install chromium")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let seen = text.split_once("<pre id=\"seen\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let (seen, _) = seen.with_context(|| {
        format!("the browser shows nothing: {text}{}", String::from_utf8_lossy(&output.stderr))
    })?;
    let plain = seen.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let seen: Vec<Value> = serde_json::from_str(&plain).with_context(|| plain.clone())?;
    seen.iter().map(shown).collect()
}

/// Prints `file` as a PDF, as a person would for the minutes of a meeting. Returns its pages.
///
/// # Errors
/// When the browser can't be started or prints nothing.
pub fn print(file: &Path) -> Result<usize> {
    let directory = tempfile::tempdir()?;
    let pdf = directory.path().join("printed.pdf");
    let output = browser(directory.path(), false)
        .arg(format!("--print-to-pdf={}", pdf.display()))
        .arg(format!("file://{}", file.canonicalize()?.display()))
        .output()
        .context("chromium can't be started: apt-get install chromium")?;
    let bytes = std::fs::read(&pdf).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    let text = String::from_utf8_lossy(&bytes);
    let pages = text.matches("/Type /Page\n").count();
    ensure!(pages > 0, "a PDF without pages");
    Ok(pages)
}

fn browser(home: &Path, dark: bool) -> Command {
    let mut command = Command::new("unshare");
    command.args([
        "--net",
        "--map-root-user",
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
    ]);
    command.args(["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"]);
    // 0 is dark, 1 is light.
    command.arg(format!("--blink-settings=preferredColorScheme={}", if dark { 0 } else { 1 }));
    command.arg(format!("--user-data-dir={}", home.join("profile").display()));
    command.env("HOME", home).stdin(Stdio::null());
    command
}

fn shown(seen: &Value) -> Result<Shown> {
    let texts = |field: &str| -> Vec<String> {
        seen[field].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    Ok(Shown {
        width: seen["width"].as_u64().context("no width")?,
        faults: texts("faults"),
        dark: seen["dark"] == true,
        headings: texts("headings"),
        picture_texts: seen["pictureTexts"].as_u64().context("no pictures")?,
    })
}
